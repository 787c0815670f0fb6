"""`/v1/chat/search`: hits in the envelope, filters, and no hit of Alice's for Bob."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from accounts.callers import Principal
from accounts.services import register_user
from chatservice.dialects.chat_v1.searching import _page
from chatservice.dialects.searching import read_search
from chatservice.testing import ServiceTestCase, wait_until
from conversations.models import Conversation, Message
from conversations.services import append_message, start_conversation, update_conversation
from search.embedders import loading
from search.indexing import catch_up
from search.models import PendingMessage
from search.queries import Mode, search_messages

URL = "/v1/chat/search"
HIT = {"message", "conversation", "branch", "snippet", "highlights", "before", "after"}
WHY = {"score", "text_score", "semantic_score", "matched", "found", "others"}
STATEMENTS = 11


class SearchTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.word = f"w{uuid.uuid4().hex[:10]}"

    def ask(self, **params: Any) -> dict[str, Any]:
        response = self.alice.http.get(URL, params={"q": self.word, "mode": "text", **params})
        self.assertEqual(response.status_code, 200, response.text)
        return response.json()

    def contents(self, **params: Any) -> list[str]:
        return sorted(hit["message"]["content"] for hit in self.ask(**params)["data"])

    def test_a_hit_says_where_it_is_and_why(self):
        talk = start_conversation(owner_id=self.alice.user.pk, title="Sea")
        for role, text in (("user", "Hello " * 100), ("assistant", f"The 🐋 {self.word} sleeps"), ("user", "Thanks")):
            last = append_message(conversation=talk, role=role, content=text)
        body = self.ask()
        self.assertEqual(set(body), {"success", "data", "meta"})
        meta = body["meta"]
        self.assertGreaterEqual(meta.pop("took_ms"), 0)
        self.assertEqual(
            meta, {"asked": "text", "mode": "text", "why": None, "excluded": [], "limit": 20, "next_cursor": None}
        )
        [hit] = body["data"]
        self.assertEqual(set(hit), HIT | WHY)
        shown = self.alice.http.get(f"/v1/chat/messages/{hit['message']['id']}").json()["data"]
        self.assertEqual(hit["message"], shown)
        self.assertEqual(hit["conversation"], {"id": str(talk.pk), "title": "Sea"})
        self.assertEqual((hit["branch"], hit["matched"], hit["semantic_score"]), ("shown", "words", None))
        [[start, end]] = hit["highlights"]
        self.assertEqual(hit["snippet"][start:end], self.word)
        self.assertEqual((len(hit["before"]["excerpt"]), hit["before"]["excerpt"][-1]), (200, "…"))
        self.assertEqual(hit["after"], {"id": str(last.pk), "role": "user", "excerpt": "Thanks"})

    def test_every_api_says_what_was_excluded(self):
        talk = start_conversation(owner_id=self.alice.user.pk)
        for text in ("a boat", "a ship", "ein größeres Boot"):
            append_message(conversation=talk, role="user", content=f"{self.word} {text}")
        query = f"{self.word} -ship -größeres -Boat --dry-run"
        body = self.ask(q=query)
        self.assertEqual(body["meta"]["excluded"], ["ship", "größeres"])
        self.assertEqual([hit["message"]["content"] for hit in body["data"]], [f"{self.word} a boat"])
        asked = 'query ($q: String!) { search(query: $q, mode: "text") { excluded edges { node { snippet } } } }'
        answer = self.alice.http.post("/graphql", json={"query": asked, "variables": {"q": query}}).json()
        self.assertEqual(answer["data"]["search"]["excluded"], ["ship", "größeres"])
        response = self.alice.http.get("/search", params={"q": query, "mode": "text"})
        self.assertEqual(response.headers["x-search-excluded"], "ship,gr%C3%B6%C3%9Feres")

    def test_every_api_folds_the_hits_of_a_conversation(self):
        talks = [start_conversation(owner_id=self.alice.user.pk, title=title) for title in ("one", "two", "three")]
        for number, talk in enumerate(talks):
            for turn in range(3 - number):
                append_message(conversation=talk, role="user", content=f"{self.word} {turn}")
        plain = self.ask()["data"]
        self.assertEqual((len(plain), {(hit["found"], hit["others"]) for hit in plain}), (6, {(True, None)}))
        wanted = {str(talk.pk): 2 - number for number, talk in enumerate(talks)}
        first = self.ask(group="conversation", limit=2)
        rest = self.ask(group="conversation", limit=2, cursor=first["meta"]["next_cursor"])
        self.assertEqual((len(first["data"]), rest["meta"]["next_cursor"]), (2, None))
        seen = {hit["conversation"]["id"]: hit["others"] for hit in first["data"] + rest["data"]}
        self.assertEqual(seen, wanted)
        params = {"mode": "text", "group": "conversation"}
        hits = self.alice.http.get("/search", params={"q": self.word, **params}).json()
        self.assertEqual({hit["conversation_id"]: hit["others"] for hit in hits}, wanted)
        items = self.alice.http.get("/v1/conversations", params={"query": self.word, **params}).json()["data"]
        self.assertEqual(sorted((item["found"], item["others"]) for item in items), [(True, 0), (True, 1), (True, 2)])
        asked = """query ($q: String!, $after: String) {
            search(query: $q, mode: "text", group: "conversation", first: 2, after: $after) {
                pageInfo { endCursor hasNextPage } edges { node { found others conversation { id } } } } }"""
        seen, after = {}, None
        for more in (True, False):
            body = {"query": asked, "variables": {"q": self.word, "after": after}}
            page = self.alice.http.post("/graphql", json=body).json()["data"]["search"]
            seen |= {edge["node"]["conversation"]["id"]: edge["node"]["others"] for edge in page["edges"]}
            self.assertEqual(page["pageInfo"]["hasNextPage"], more)
            after = page["pageInfo"]["endCursor"]
        self.assertEqual(seen, wanted)

    def test_every_filter_narrows(self):
        old, new = (start_conversation(owner_id=self.alice.user.pk, title=title) for title in ("old", "new"))
        Conversation.objects.filter(pk=old.pk).update(end_user="eve")
        update_conversation(conversation=old, archived_at=dt.datetime.now(dt.UTC), tags=["Old ones"])
        first = append_message(conversation=old, role="user", content=f"{self.word} one")
        append_message(conversation=new, role="assistant", content=f"{self.word} two", model="m-2")
        append_message(conversation=new, role="system", content=f"{self.word} three")
        Message.objects.filter(pk=first.pk).update(created_at=dt.datetime(2020, 1, 31, 23, 30, tzinfo=dt.UTC))
        one, two, three = (f"{self.word} {number}" for number in ("one", "two", "three"))
        for params, wanted in (
            ({}, [one, two, three]),
            ({"conversation_id": str(old.pk)}, [one]),
            ({"conversation_id": old.pk.hex.upper()}, [one]),
            ({"role": "assistant"}, [two]),
            ({"role": ["assistant", "user"]}, [one, two]),
            ({"model": "m-2"}, [two]),
            ({"model": "m"}, []),
            ({"end_user": "eve"}, [one]),
            ({"tag": " OLD  ones"}, [one]),
            ({"tag": "old"}, []),
            ({"archived": "true"}, [one]),
            ({"archived": "false"}, [two, three]),
            ({"archived": "all", "role": ""}, [one, two, three]),
            ({"until": "2020-01-31"}, [one]),
            ({"until": "2020-01-30"}, []),
            ({"until": "2020-01-31T23:30:00Z"}, []),
            ({"until": "2020-02-01T00:31:00+01:00"}, [one]),
            ({"since": "2020-01-31T23:30:00", "until": "2020-12-31"}, [one]),
            ({"since": "2020-02-01"}, [two, three]),
        ):
            with self.subTest(params):
                self.assertEqual(self.contents(**params), sorted(wanted))

    def test_what_is_bobs_is_as_if_it_were_not(self):
        talk = start_conversation(owner_id=self.bob.user.pk, title=self.word)
        append_message(conversation=talk, role="user", content=f"{self.word} of Bob's")
        self.bob.http.get(URL, params={"q": self.word})
        answers = []
        for params in ({}, {"conversation_id": str(talk.pk)}, {"conversation_id": str(uuid.uuid4())}):
            for mode in ("text", "hybrid", "semantic"):
                body = self.ask(mode=mode, **params)
                body["meta"].pop("took_ms")
                answers.append((mode, body))
        for mode, body in answers:
            self.assertEqual(body, dict(answers[:3])[mode])
            self.assertEqual(body["data"], [])

    def test_what_cannot_be_read_is_named_all_of_it(self):
        wrong = {
            "mode": "fast",
            "conversation_id": "x",
            "role": "king",
            "since": "soon",
            "until": "2020-13-01",
            "archived": "maybe",
            "limit": "0",
            "model": "m" * 201,
            "end_user": "\x00",
            "tag": "t" * 201,
        }
        response = self.alice.http.get(URL, params={"q": " ", **wrong})
        error = response.json()["error"]
        self.assertEqual((response.status_code, error["code"]), (400, "validation_error"))
        self.assertEqual(set(error["details"]), {"q", *wrong})
        for since in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2020-01-01T25:00", "1e9"):
            self.assertEqual(self.alice.http.get(URL, params={"q": "x", "since": since}).status_code, 400, since)
        self.assertEqual(self.alice.http.get(URL, params={"q": "x", "until": "9999-12-31"}).status_code, 400)
        self.assertEqual(self.guest.get(URL, params={"q": "x"}).status_code, 401)


class CostTest(TestCase):
    def counted(self, *, conversations: int, messages: int) -> int:
        user = register_user(username=f"alice-{conversations}-{messages}")
        for number in range(conversations):
            talk = start_conversation(owner_id=user.pk, title=f"Talk {number}")
            for _ in range(messages):
                append_message(conversation=talk, role="user", content="whale")
        search_request = read_search({"q": "whale", "mode": "text"})
        catch_up(Principal(user.pk, user.username))  # the first search indexes the new messages
        with CaptureQueriesContext(connection) as queries:
            self.assertTrue(_page(Principal(user.pk, user.username), search_request)["data"])
        return len(queries)

    def test_statements_do_not_grow_with_what_is_found(self):
        few = self.counted(conversations=1, messages=3)
        self.assertLessEqual(few, STATEMENTS)
        self.assertEqual(self.counted(conversations=12, messages=3), few)


class SameTest(ServiceTestCase):
    def test_by_http_the_same_is_found_as_by_the_function(self):
        words = [f"w{uuid.uuid4().hex[:6]}" for _ in range(8)]
        for number in range(12):
            talk = start_conversation(owner_id=self.alice.user.pk, title=words[number % 3])
            for turn in range(4):
                text = " ".join(words[(number * turn + step) % len(words)] for step in range(turn + 2))
                append_message(conversation=talk, role="user", content=text)
        wait_until(lambda: not PendingMessage.objects.filter(owner_id=self.alice.user.pk).exists(), what="the index")
        principal = Principal(self.alice.user.pk, self.alice.user.username)
        loading.current()
        for question in (words[0], f"{words[1]} {words[4]}", " ".join(words)):
            for mode in Mode:
                hits = search_messages(principal, question, mode=mode, limit=10)
                self.assertEqual(hits.mode, mode, hits.why)
                body = self.alice.http.get(URL, params={"q": question, "mode": str(mode), "limit": 10}).json()
                self.assertEqual(
                    [(hit["message"]["id"], hit["score"]) for hit in body["data"]],
                    [(str(hit.message.pk), hit.score) for hit in hits.hits],
                )
