"""The store as a graph: pages in both directions, branches and versions, search, and the cost of queries."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

from django.core.files.base import ContentFile
from django.db import connection
from django.test import override_settings

from accounts.callers import Principal
from chatservice.dialects.graphql.execution import Operation, execute
from chatservice.dialects.graphql.tests.client import GraphQLTestCase
from conversations.file_parts import extras_with, part_of
from conversations.services import append_message, edit_message, start_conversation
from files.public_ids import public_id
from files.services import store_file
from foundation import database

LIST = """
    query($first: Int, $after: String, $last: Int, $before: String) {
        conversations(first: $first, after: $after, last: $last, before: $before) {
            edges { cursor node { title } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
            totalCount
        }
    }
"""
MESSAGES = """
    query($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $branch: ID) {
        conversation(id: $id) {
            messages(first: $first, after: $after, last: $last, before: $before, branch: $branch) {
                edges { cursor node { id content siblings { id content } parent { id } } }
                pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
                totalCount
            }
        }
    }
"""


class PagingTest(GraphQLTestCase):
    def test_conversations_are_paged_forward_and_back(self):
        for number in range(5):
            start_conversation(owner_id=self.alice.user.pk, title=f"T{number}")
        self.assert_pages(
            lambda **window: self.data(LIST, **window)["conversations"],
            lambda node: node["title"],
            ["T4", "T3", "T2", "T1", "T0"],
        )
        self.assertEqual(self.data(LIST, by=self.bob)["conversations"]["totalCount"], 0)

    def test_messages_are_paged_forward_and_back(self):
        talk = start_conversation(owner_id=self.alice.user.pk)
        for number in range(5):
            append_message(conversation=talk, role="user", content=f"M{number}")
        self.assert_pages(
            lambda **window: self.data(MESSAGES, id=str(talk.pk), **window)["conversation"]["messages"],
            lambda node: node["content"],
            ["M0", "M1", "M2", "M3", "M4"],
        )

    def test_search_is_paged_and_finds_only_ones_own(self):
        talk = start_conversation(owner_id=self.alice.user.pk)
        for text in ("A Whale swims", "no fish", "the WHALE sleeps", "100% whale"):
            append_message(conversation=talk, role="user", content=text)
        query = (
            'query($q: String!, $n: Int, $a: String) { search(query: $q, first: $n, after: $a, mode: "text") '
            "{ edges { cursor node {"
        )
        query += " snippet matched branch highlights message { content conversation { id } } } }"
        query += " pageInfo { hasNextPage } } }"
        first = self.data(query, q="whale", n=2)["search"]
        found = [edge["node"]["message"]["content"] for edge in first["edges"]]
        self.assertEqual((len(found), first["pageInfo"]), (2, {"hasNextPage": True}))
        self.assertEqual(first["edges"][0]["node"]["message"]["conversation"], {"id": str(talk.pk)})
        rest = self.data(query, q="whale", n=2, a=first["edges"][-1]["cursor"])["search"]
        [last] = [edge["node"]["snippet"] for edge in rest["edges"]]
        self.assertEqual({*found, last}, {"A Whale swims", "the WHALE sleeps", "100% whale"})
        # A page can begin after any hit, not only after the last one of a page.
        middle = self.data(query, q="whale", n=2, a=first["edges"][0]["cursor"])["search"]
        self.assertEqual([edge["node"]["snippet"] for edge in middle["edges"]], [found[1], last])
        past = self.data(query, q="whale", n=2, a=rest["edges"][-1]["cursor"])["search"]
        self.assertEqual((past["edges"], past["pageInfo"]), ([], {"hasNextPage": False}))
        for cursor in ("", "x", "0.x", "999.", "9" * 40 + ".", first["edges"][1]["cursor"] + "x"):
            self.assertEqual(self.code(query, q="whale", n=2, a=cursor), "bad_cursor", cursor)
        self.assertEqual(self.code(query, q="other", n=2, a=first["edges"][-1]["cursor"]), "bad_cursor")
        self.assertEqual(len(self.data(query, q="100%")["search"]["edges"]), 1)
        self.assertEqual(self.data(query, q="whale", by=self.bob)["search"]["edges"], [])

    def test_pages_and_cursors_that_are_none_are_refused(self):
        windows: tuple[dict[str, Any], ...] = ({"first": 51}, {"first": -1}, {"last": 51}, {"first": 1, "last": 1})
        for window in windows:
            self.assertEqual(self.code(LIST, **window), "validation_error", window)
        self.assertEqual(self.data(LIST, first=0)["conversations"]["edges"], [])
        self.assertEqual(self.data(LIST, first=50)["conversations"]["edges"], [])
        for cursor in ("", "x", "YzoxOng", "é", "A" * 5000, "YzoxMDAwMDAwMDAwMDAwMDAwMDA6" + "MDAw" * 11):
            self.assertEqual(self.code(LIST, after=cursor), "bad_cursor", cursor)
            talk = start_conversation(owner_id=self.alice.user.pk)
            self.assertEqual(self.code(MESSAGES, id=str(talk.pk), before=cursor), "bad_cursor", cursor)

    def assert_pages(self, page: Any, name: Any, everything: list[str]) -> None:
        seen, after = [], None
        for size, more in ((2, True), (2, True), (1, False)):
            got = page(first=2, after=after)
            info = got["pageInfo"]
            self.assertEqual((len(got["edges"]), info["hasNextPage"], got["totalCount"]), (size, more, 5))
            self.assertEqual(info["hasPreviousPage"], after is not None)
            self.assertEqual(info["startCursor"], got["edges"][0]["cursor"])
            seen += [name(edge["node"]) for edge in got["edges"]]
            after = info["endCursor"]
        self.assertEqual(seen, everything)
        seen, before = [], None
        for size, more in ((2, True), (2, True), (1, False)):
            got = page(last=2, before=before)
            self.assertEqual((len(got["edges"]), got["pageInfo"]["hasPreviousPage"]), (size, more))
            seen = [name(edge["node"]) for edge in got["edges"]] + seen
            before = got["pageInfo"]["startCursor"]
        self.assertEqual(seen, everything)


class BranchTest(GraphQLTestCase):
    def test_an_answer_that_was_cut_off_goes_on_beside_itself(self):
        query = """mutation { sendMessage(content: "One", model: "echo", generation: {maxTokens: 3}) {
            question { id } message { id content finishReason } } }"""
        first = self.data(query)["sendMessage"]
        short = first["message"]
        query = "mutation($id: ID!) { continueAnswer(messageId: $id) { message { id content siblings { id } } } }"
        longer = self.data(query, id=short["id"])["continueAnswer"]["message"]
        self.assertTrue(longer["content"].startswith(short["content"]))
        self.assertGreater(len(longer["content"]), len(short["content"]))
        self.assertEqual(longer["siblings"], [{"id": short["id"]}])
        for whole in (longer["id"], first["question"]["id"]):
            self.assertEqual(self.code(query, id=whole), "nothing_to_continue")

    def test_editing_and_regenerating_make_versions_and_the_shown_branch_follows(self):
        first = self.send("One")
        talk, question, answer = first["conversation"]["id"], first["question"]["id"], first["message"]["id"]
        query = "mutation($id: ID!) { regenerate(messageId: $id) { message { id siblings { id } } question { id } } }"
        again = self.data(query, id=answer)["regenerate"]
        self.assertEqual(again["message"]["siblings"], [{"id": answer}])
        self.assertEqual(again["question"]["id"], question)
        self.assertEqual(self.branch(talk), [question, again["message"]["id"]])
        self.assertEqual(self.branch(talk, branch=answer), [question, answer])
        query = 'mutation($id: ID!) { editMessage(id: $id, content: "Two") { id content siblings { id content } } }'
        edited = self.data(query, id=question)["editMessage"]
        self.assertEqual(edited["siblings"], [{"id": question, "content": "One"}])
        self.assertEqual(self.branch(talk), [edited["id"]])
        query = "mutation($id: ID!) { regenerate(messageId: $id) { message { content parent { id } } } }"
        answered = self.data(query, id=edited["id"])["regenerate"]["message"]
        self.assertIn("Two", answered["content"])
        self.assertEqual(answered["parent"]["id"], edited["id"])
        query = "mutation($id: ID!) { showBranch(messageId: $id) { id } }"
        self.data(query, id=question)
        self.assertEqual(self.branch(talk), [question, again["message"]["id"]])
        beside = self.send("Three", to=talk, after=None)
        self.assertEqual(self.branch(talk), [beside["question"]["id"], beside["message"]["id"]])

    def test_a_branch_of_another_conversation_is_not_found(self):
        mine, other = self.send("One"), self.send("Two")
        for branch in (other["message"]["id"], "nonsense", "00000000-0000-7000-8000-000000000000"):
            code = self.code(MESSAGES, id=mine["conversation"]["id"], branch=branch)
            self.assertEqual(code, "not_found", branch)

    def test_a_deleted_message_is_gone_and_what_follows_stays(self):
        said = self.send("One")
        pk, talk = said["question"]["id"], said["conversation"]["id"]
        self.assertEqual(self.data("mutation($id: ID!) { deleteMessage(id: $id) }", id=pk), {"deleteMessage": pk})
        self.assertEqual(self.branch(talk), [said["message"]["id"]])
        self.assertEqual(self.data("query($id: ID!) { message(id: $id) { id } }", id=pk), {"message": None})

    def branch(self, talk: str, **variables: Any) -> list[str]:
        page = self.data(MESSAGES, id=talk, **variables)["conversation"]["messages"]
        return [edge["node"]["id"] for edge in page["edges"]]


class QueryCountTest(GraphQLTestCase):
    """These run in this process, so that queries can be counted."""

    QUERY = """
        query($n: Int!) {
            conversations(first: $n) {
                edges {
                    node {
                        activeRun { id }
                        messages(last: 5) {
                            edges {
                                node {
                                    content files { name } run { id } conversation { id } parent { id }
                                    siblings(first: 2) { id }
                                }
                            }
                        }
                    }
                }
            }
        }
    """

    def test_a_long_list_costs_as_many_queries_as_a_short_one(self):
        user = self.alice.user
        file = store_file(owner_id=user.pk, content=ContentFile(b"Hello"), name="a.txt", purpose="user_data")
        extras = extras_with("Hello", [part_of(public_id(file.pk), file.media_type)])
        for number in range(8):
            talk = start_conversation(owner_id=user.pk, title=str(number))
            first = append_message(conversation=talk, role="user", content="Hello", extras=extras)
            edit_message(message=first, content="Hello!")
            append_message(conversation=talk, role="assistant", content="Hi")
        principal = Principal(user_id=user.pk, username=user.username)
        # The list, active runs, branches, messages, their parts, files, runs, conversations, parents and versions.
        self.assertEqual([self.count(principal, number) for number in (1, 2, 8)], [10, 10, 10])

    @override_settings(LIMIT_READS_PER_MINUTE=0)
    def count(self, principal: Principal, number: int) -> int:
        statements: list[str] = []

        def note(execute: Any, sql: str, *rest: Any) -> Any:
            statements.append(sql)
            return execute(sql, *rest)

        call = database.call_and_release

        def counted(*arguments: Any) -> Any:
            with connection.execute_wrapper(note):
                return call(*arguments)

        with mock.patch.object(database, "call_and_release", counted):
            status, payload = asyncio.run(execute(Operation(self.QUERY, {"n": number}, None), principal))
        self.assertEqual((status, payload.get("errors")), (200, None))
        self.assertEqual(len(payload["data"]["conversations"]["edges"]), number)
        return len([each for each in statements if each.startswith("SELECT")])
