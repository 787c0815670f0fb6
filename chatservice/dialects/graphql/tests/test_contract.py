"""The contract of every dialect, in GraphQL operations. An error's `status` is the HTTP status that it stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx2

from accounts.callers import IdentityChanged
from chatservice.dialects import contract_refusals
from chatservice.dialects.contract import Call, Ids, Streamed
from chatservice.dialects.contract_sockets import LINES, frames_in
from chatservice.dialects.graphql.schema import schema
from chatservice.dialects.graphql.tests.calling import LAST, operation, subscription
from chatservice.testing import ApiUser
from conversations.models import Todo

SEND = """mutation($content: String!, $model: String, $key: String) {
    it: sendMessage(content: $content, model: $model, idempotencyKey: $key) { message { content emptyReason } }
}"""
SEND_FILES = """mutation($content: String!, $files: [ID!]) {
    it: sendMessage(content: $content, model: "fake/ok", fileIds: $files) { message { content } }
}"""
ANSWER = """subscription($content: String!, $model: String, $key: String) {
    it: answer(content: $content, model: $model, idempotencyKey: $key) {
        __typename ... on AnswerChunk { text } ... on AnswerError { code reason }
        ... on AnswerComplete { message { emptyReason } }
    }
}"""
LIST = """query($first: Int!, $after: String) {
    it: conversations(first: $first, after: $after) { edges { node { id } } pageInfo { endCursor } totalCount }
}"""
CLOSED_FORBIDDEN = 4403
# Every operation that takes an id, under the name of its field. `mine` is a conversation of Bob's.
BY_ID: dict[str, str] = {
    "Query.conversation": "query($c: ID!) { it: conversation(id: $c) { id } }",
    "Query.message": "query($m: ID!) { it: message(id: $m) { id } }",
    "Query.run": "query($r: ID!) { it: run(id: $r) { id } }",
    "Query.todo": "query($t: ID!) { it: todo(id: $t) { id } }",
    "Conversation.messages": "query($mine: ID!, $m: ID!) { it: conversation(id: $mine) {"
    " messages(branch: $m) { edges { cursor } } } }",
    "Mutation.createTodo": 'mutation($c: ID!) { it: createTodo(title: "x", conversationId: $c) { id } }',
    "Mutation.updateTodo": 'mutation($t: ID!) { it: updateTodo(id: $t, title: "x") { id } }',
    "Mutation.completeTodo": "mutation($t: ID!) { it: completeTodo(id: $t) { id } }",
    "Mutation.deleteTodo": "mutation($t: ID!) { it: deleteTodo(id: $t) }",
    "Mutation.sendMessage": 'mutation($c: ID!) { it: sendMessage(content: "x", conversationId: $c) { runId } }',
    "Mutation.sendMessage parent": "mutation($mine: ID!, $m: ID!) {"
    ' it: sendMessage(content: "x", conversationId: $mine, parentId: $m) { runId } }',
    "Mutation.regenerate": "mutation($m: ID!) { it: regenerate(messageId: $m) { runId } }",
    "Mutation.continueAnswer": "mutation($m: ID!) { it: continueAnswer(messageId: $m) { runId } }",
    "Mutation.editMessage": 'mutation($m: ID!) { it: editMessage(id: $m, content: "x") { id } }',
    "Mutation.showBranch": "mutation($m: ID!) { it: showBranch(messageId: $m) { id } }",
    "Mutation.stopRun": "mutation($r: ID!) { it: stopRun(runId: $r) { id } }",
    "Mutation.renameConversation": 'mutation($c: ID!) { it: renameConversation(id: $c, title: "x") { id } }',
    "Mutation.archiveConversation": "mutation($c: ID!) { it: archiveConversation(id: $c) { id } }",
    "Mutation.pinConversation": "mutation($c: ID!) { it: pinConversation(id: $c) { id } }",
    "Mutation.setGeneration": "mutation($c: ID!) { it: setGeneration(id: $c) { id } }",
    "Mutation.setTags": "mutation($c: ID!) { it: setTags(id: $c, tags: []) { id } }",
    "Mutation.deleteConversation": "mutation($c: ID!) { it: deleteConversation(id: $c) }",
    "Mutation.deleteMessage": "mutation($m: ID!) { it: deleteMessage(id: $m) }",
    "Mutation.setFeedback": "mutation($m: ID!) { it: setFeedback(messageId: $m, rating: UP) { rating } }",
    "Mutation.deleteFeedback": "mutation($m: ID!) { it: deleteFeedback(messageId: $m) }",
    "Mutation.shareConversation": "mutation($m: ID!) { it: shareConversation(messageId: $m) { id } }",
    "Mutation.revokeSharedLink": "mutation($m: ID!) { it: revokeSharedLink(id: $m) }",
    "Subscription.answer": 'subscription($c: ID!) { it: answer(content: "x", conversationId: $c) { cursor } }',
    "Subscription.answer parent": "subscription($mine: ID!, $m: ID!) {"
    ' it: answer(content: "x", conversationId: $mine, parentId: $m) { cursor } }',
    "Subscription.followRun": "subscription($r: ID!) { it: followRun(runId: $r) { cursor } }",
}
# A filter by a foreign id matches nothing (test_admission, the matrix).
FILTERS = {"Query.search", "Query.todos", "Query.sharedLinks"}


@dataclass(frozen=True, slots=True)
class GraphIds(Ids):
    todo: str


class GraphQLContractTest(contract_refusals.DialectContract):
    dialect = "graphql"
    done = LAST
    stream_type = LINES

    def setUp(self) -> None:
        super().setUp()
        # Here a caller without a key is a guest, unless the request shows that it comes from another site.
        self.guest.headers["X-Forwarded-For"] = "203.0.113.7"

    def create_call(self, title: str) -> Call:
        return operation("mutation($title: String!) { it: startConversation(title: $title) { id } }", title=title)

    def list_call(self, *, page: int, limit: int) -> Call:
        after = None
        for _ in range(page - 1):  # pages have cursors here, not numbers
            seen = operation(LIST, first=limit, after=after).by(self.alice.http).json()["data"]["it"]
            after = seen["pageInfo"]["endCursor"] or after
        return operation(LIST, first=limit, after=after)

    def delete_call(self, conversation: str) -> Call:
        return operation("mutation($id: ID!) { it: deleteConversation(id: $id) }", id=conversation)

    def cancel_call(self, ids: Ids) -> Call:
        return operation("mutation($id: ID!) { it: stopRun(runId: $id) { state } }", id=ids.run)

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return operation(SEND, content=text, model=model)

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return subscription(ANSWER, content=text, model=model)

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        return operation(SEND_FILES, content=text, files=[file_id])

    def created_id(self, response: httpx2.Response) -> str:
        return response.json()["data"]["it"]["id"]

    def listed(self, response: httpx2.Response) -> tuple[list[str], int]:
        page = response.json()["data"]["it"]
        return [edge["node"]["id"] for edge in page["edges"]], page["totalCount"]

    def answer_of(self, response: httpx2.Response) -> str:
        return response.json()["data"]["it"]["message"]["content"]

    def streamed(self, body: str) -> Streamed:
        *frames, last = [json.loads(line) for line in body.splitlines()]
        self.assertEqual((last, {frame["type"] for frame in frames}), (json.loads(LAST), {"next"}))
        events = [frame["payload"]["data"]["it"] for frame in frames]
        ends = [event for event in events if event["__typename"] in ("AnswerComplete", "AnswerError")]
        self.assertEqual(ends[-1:], events[-1:], "nothing comes after the end")
        text = "".join(event["text"] for event in events if event["__typename"] == "AnswerChunk")
        return Streamed(text, len(ends), ends[-1].get("code", "") if ends else "")

    def status_of(self, response: httpx2.Response) -> int:
        """Return an error's status; a null result for something requested by id counts as 404."""
        if response.status_code != 200:
            return response.status_code
        errors = self.errors_in(response)
        if errors:
            return errors[0]["extensions"]["status"]
        return 404 if self.is_null(response) else 200

    def error_code(self, response: httpx2.Response) -> str:
        if self.is_null(response) and not self.errors_in(response):
            return "not_found"
        [error] = self.errors_in(response)
        self.assertLessEqual(set(error), {"message", "locations", "path", "extensions"})
        self.assertTrue(isinstance(error["message"], str) and error["message"])
        self.assertIsInstance(error["extensions"]["status"], int)
        if response.status_code != 200:
            self.assertEqual(error["extensions"]["status"], response.status_code)
            self.assertEqual(set(response.json()), {"errors"})
        return error["extensions"]["code"]

    def assert_turned_away(self, response: httpx2.Response, code: str = "") -> None:
        if response.headers["content-type"] != LINES:
            super().assert_turned_away(response, code)
            return
        [closed] = frames_in(response)
        self.assertEqual((closed["type"], closed["code"]), ("close", CLOSED_FORBIDDEN))
        self.assertTrue(closed["reason"])
        if code == IdentityChanged.code:
            self.assertEqual(closed["reason"], IdentityChanged().message)

    def errors_in(self, response: httpx2.Response) -> list[dict[str, Any]]:
        if response.headers["content-type"] == LINES:
            last = frames_in(response)[-1]
            return last["payload"] if last["type"] == "error" else []
        return response.json().get("errors", [])

    def is_null(self, response: httpx2.Response) -> bool:
        if response.headers["content-type"] == LINES:
            return False
        return response.json().get("data", {}) == {"it": None}

    def ids_of(self, api_user: ApiUser) -> Ids:
        ids = super().ids_of(api_user)
        todo, _ = Todo.objects.get_or_create(owner=api_user.user, title="Mine")
        return GraphIds(ids.conversation, ids.message, ids.run, str(todo.pk))

    def stored_of(self, api_user: ApiUser) -> tuple[Any, ...]:
        return (*super().stored_of(api_user), list(Todo.objects.filter(owner=api_user.user).order_by("id").values()))

    def calls_with(self, ids: Ids) -> list[Call]:
        own = self.created_id(self.create_call("").by(self.bob.http))
        todo = ids.todo if isinstance(ids, GraphIds) else ids.conversation
        known = {"c": ids.conversation, "m": ids.message, "r": ids.run, "t": todo, "mine": own}
        calls: list[Call] = []
        for query in BY_ID.values():
            make = subscription if query.startswith("subscription") else operation
            calls.append(make(query, **{name: value for name, value in known.items() if f"${name}:" in query}))
        return calls

    def calls_with_body(self) -> list[Call]:
        return [operation(SEND, content="x")]

    def wrong_calls(self) -> list[Call]:
        run = self.sent_run()
        contents: tuple[Any, ...] = (None, 5, True, [], {}, ["x"], "", " \n", "x" * 262_145, "a\x00b")
        models: tuple[Any, ...] = (5, True, [], {}, "", "x" * 201)
        titles: tuple[Any, ...] = (None, 5, [], "x" * 201)
        generation = 'mutation($g: Generation) { it: sendMessage(content: "x", generation: $g) { runId } }'
        generations: tuple[Any, ...] = (
            5,
            [5],
            {"temperature": "0.5"},
            {"maxTokens": 1.5},
            {"maxTokens": 2**31},
            {"seed": "1"},
            {"stop": ["a"] * 17},
            {"stop": [1]},
            {"unknown": 1},
        )
        rated = "mutation($m: ID!, $r: FeedbackRating!, $w: String!) {"
        rated += " it: setFeedback(messageId: $m, rating: $r, comment: $w) { rating } }"
        answer = self.ids_of(self.alice).message
        ratings: tuple[Any, ...] = (None, 5, "up", "GOOD", [], {})
        words: tuple[Any, ...] = (None, 5, [], "x" * 2_001, "a\x00b")
        file_ids: tuple[Any, ...] = (True, {}, [None], [[]], [1.5], ["file-abc"], ["file-abc"] * 21)
        follow = "subscription($run: ID!, $at: String) { it: followRun(runId: $run, cursor: $at) { cursor } }"
        cursors = ("", "x", "0", f"{'0' * 32}.1.1", f"{run.replace('-', '')}.-1.0", "a" * 500, 5)
        windows = ({"first": 51}, {"first": -1}, {"first": "1"}, {"first": 1.5}, {"first": 2**31}, {"first": None})
        return [
            *(make(query, content=content) for make, query in ASKING for content in contents),
            *(make(query, content="x", model=model) for make, query in ASKING for model in models),
            *(operation(SEND_FILES, content="x", files=ids) for ids in file_ids),
            operation(SEND_FILES, content="", files=[]),
            operation(SEND_FILES, content=""),
            *(operation(generation, g=value) for value in generations),
            *(operation(rated, m=answer, r=rating, w="") for rating in ratings),
            *(operation(rated, m=answer, r="UP", w=word) for word in words),
            *(self.create_call(title) for title in titles),
            *(subscription(follow, run=run, at=cursor) for cursor in cursors),
            *(operation(LIST, **window) for window in windows),
            *(operation(LIST, first=1, after=cursor) for cursor in ("", "x", "é", "A" * 5000)),
        ]

    def sent_run(self) -> str:
        self.send_call(self.alice, "A run to follow").by(self.alice.http)
        return self.ids_of(self.alice).run

    def test_no_route_with_an_id_is_forgotten(self):
        """In GraphQL: BY_ID has every field that takes an id argument."""
        known = {name.split()[0] for name in BY_ID} | FILTERS
        for kind in ("Query", "Mutation", "Subscription", "Conversation", "Message", "Todo"):
            for field in schema.get_type_by_name(kind).fields:  # type: ignore[union-attr]
                annotations = [each.type_annotation for each in field.arguments if each.type_annotation]
                if any("ID" in str(each.annotation) for each in annotations):
                    self.assertIn(f"{kind}.{schema.config.name_converter.get_graphql_name(field)}", known)


ASKING: tuple[tuple[Any, str], ...] = ((operation, SEND), (subscription, ANSWER))
