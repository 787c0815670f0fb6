"""Who is let in, by POST and by websocket; that Bob reaches nothing of Alice's; that our own errors stay ours."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from unittest import mock

import httpx2

from accounts.principal import Principal
from accounts.services import revoke_api_key
from chatservice.dialects.graphql import queries
from chatservice.dialects.graphql.execution import Operation, execute
from chatservice.dialects.graphql.schema import schema
from chatservice.dialects.graphql.tests.client import FOLLOW_RUN, GraphQLSocket, GraphQLTestCase
from chatservice.testing import Person, running_service
from conversations.models import Conversation, Message, Todo

ME = "{ me { username isGuest isStaff } }"
# Every operation that takes an id: its document, and whether a foreign id is null (or no rows) or an error.
BY_ID: dict[str, tuple[str, Any]] = {
    "Query.conversation": ("query($c: ID!) { it: conversation(id: $c) { id } }", None),
    "Query.message": ("query($m: ID!) { it: message(id: $m) { id } }", None),
    "Query.run": ("query($r: ID!) { it: run(id: $r) { id } }", None),
    "Query.todo": ("query($t: ID!) { it: todo(id: $t) { id } }", None),
    "Query.todos": ("query($c: ID!) { it: todos(conversationId: $c) { id } }", []),
    "Conversation.messages": (
        "query($mine: ID!, $m: ID!) { it: conversation(id: $mine) { messages(branch: $m) { edges { cursor } } } }",
        "not_found",
    ),
    "Mutation.createTodo": ('mutation($c: ID!) { it: createTodo(title: "x", conversationId: $c) { id } }', "not_found"),
    "Mutation.updateTodo": ('mutation($t: ID!) { it: updateTodo(id: $t, title: "x") { id } }', "not_found"),
    "Mutation.completeTodo": ("mutation($t: ID!) { it: completeTodo(id: $t) { id } }", "not_found"),
    "Mutation.deleteTodo": ("mutation($t: ID!) { it: deleteTodo(id: $t) }", "not_found"),
    "Mutation.sendMessage": (
        'mutation($c: ID!) { it: sendMessage(content: "x", conversationId: $c) { runId } }',
        "not_found",
    ),
    "Mutation.sendMessage parent": (
        'mutation($mine: ID!, $m: ID!) { it: sendMessage(content: "x", conversationId: $mine, parentId: $m) { runId }}',
        "not_found",
    ),
    "Mutation.regenerate": ("mutation($m: ID!) { it: regenerate(messageId: $m) { runId } }", "not_found"),
    "Mutation.editMessage": ('mutation($m: ID!) { it: editMessage(id: $m, content: "x") { id } }', "not_found"),
    "Mutation.showBranch": ("mutation($m: ID!) { it: showBranch(messageId: $m) { id } }", "not_found"),
    "Mutation.stopRun": ("mutation($r: ID!) { it: stopRun(runId: $r) { id } }", "not_found"),
    "Mutation.renameConversation": (
        'mutation($c: ID!) { it: renameConversation(id: $c, title: "x") { id } }',
        "not_found",
    ),
    "Mutation.archiveConversation": ("mutation($c: ID!) { it: archiveConversation(id: $c) { id } }", "not_found"),
    "Mutation.deleteConversation": ("mutation($c: ID!) { it: deleteConversation(id: $c) }", "not_found"),
    "Mutation.deleteMessage": ("mutation($m: ID!) { it: deleteMessage(id: $m) }", "not_found"),
    "Subscription.answer": (
        'subscription($c: ID!) { it: answer(content: "x", conversationId: $c) { cursor } }',
        "not_found",
    ),
    "Subscription.followRun": ("subscription($r: ID!) { it: followRun(runId: $r) { cursor } }", "not_found"),
}


class ForeignTest(GraphQLTestCase):
    def setUp(self) -> None:
        super().setUp()
        said = self.send("Mine alone")
        todo = self.data('mutation { createTodo(title: "Mine") { id } }')["createTodo"]["id"]
        self.hers = {"c": said["conversation"]["id"], "m": said["message"]["id"], "r": said["runId"], "t": todo}
        self.own = {
            person.user.pk: self.send("My own", by=person)["conversation"]["id"] for person in (self.bob, self.carol)
        }

    def test_every_operation_with_an_id_is_tried(self):
        named = {name.split()[0] for name in BY_ID}
        for kind in ("Query", "Mutation", "Subscription", "Conversation", "Message", "Todo"):
            for field in schema.get_type_by_name(kind).fields:  # type: ignore[union-attr]
                if any(
                    "ID" in str(each.type_annotation.annotation) for each in field.arguments if each.type_annotation
                ):
                    name = f"{kind}.{schema.config.name_converter.get_graphql_name(field)}"
                    self.assertIn(name, named)

    def test_what_is_somebody_elses_is_as_if_it_were_not(self):
        stored = self.stored()
        unknown = {name: str(uuid.uuid4()) for name in self.hers}
        malformed = dict.fromkeys(self.hers, "0; DROP")
        for name, (query, expected) in BY_ID.items():
            for person in (self.bob, self.carol):
                with self.subTest(f"{name} by {person.user.username}"):
                    if name.startswith("Subscription"):
                        seen = [self.told(person, query, ids) for ids in (self.hers, unknown, malformed)]
                        self.assertEqual(seen[0]["payload"][0]["extensions"]["code"], expected)
                    else:
                        seen = [
                            self.post(person.http, query, **self.only(person, query, ids)).json()
                            for ids in (self.hers, unknown, malformed)
                        ]
                        if expected == "not_found":
                            self.assertEqual(seen[0]["errors"][0]["extensions"]["code"], expected)
                        else:
                            self.assertEqual(seen[0], {"data": {"it": expected}})
                    self.assertEqual(seen[0], seen[1])
                    self.assertEqual(seen[0], seen[2])
        self.assertEqual(self.stored(), stored)

    def test_loaders_and_lists_show_nothing_of_others(self):
        query = "{ conversations(archived: null) { edges { node { id } } totalCount } todos { id } }"
        seen = json.dumps(self.data(query, by=self.bob))
        for pk in self.hers.values():
            self.assertNotIn(pk, seen)
        self.assertEqual(self.data(query, by=self.bob)["conversations"]["totalCount"], 1)

    def told(self, person: Person, query: str, ids: dict[str, str]) -> dict:
        with self.socket(person) as socket:
            socket.subscribe("1", query, **self.only(person, query, ids))
            [frame] = socket.until_over("1")
            return frame

    def only(self, person: Person, query: str, ids: dict[str, str]) -> dict[str, str]:
        known = {**ids, "mine": self.own[person.user.pk]}
        return {name: value for name, value in known.items() if f"${name}:" in query}

    def stored(self) -> list:
        owner = self.alice.user
        return [
            list(Conversation.objects.filter(owner=owner).values()),
            list(Message.objects.filter(conversation__owner=owner).order_by("id").values()),
            list(Todo.objects.filter(owner=owner).values()),
        ]


class AdmissionTest(GraphQLTestCase):
    def test_a_key_makes_its_user_none_a_guest_and_a_wrong_one_nobody(self):
        me = self.data(ME)["me"]
        self.assertEqual(me, {"username": self.alice.user.username, "isGuest": False, "isStaff": False})
        self.assertTrue(self.post(self.guest, ME).json()["data"]["me"]["isGuest"])
        for header in ("Bearer cb_wrong", "Bearer", "Basic YTpi", self.alice.secret):
            response = self.guest.post("/graphql", json={"query": ME}, headers={"Authorization": header})
            self.assertEqual(self.code_of(response, 401), "unauthorized")
            self.assertEqual(response.headers["www-authenticate"], "Bearer")
        response = self.guest.post("/graphql", json={"query": ME}, headers={"X-Forwarded-For": "1.2.3.4"})
        self.assertEqual(self.code_of(response, 401), "unauthorized")

    def test_guests_among_strangers_list_nothing(self):
        with running_service(ANONYMOUS="on") as service:
            for query in (
                "{ todos { id } }",
                "{ conversations { totalCount } }",
                '{ search(query: "x") { edges { cursor } } }',
            ):
                response = httpx2.post(f"{service.url}/graphql", json={"query": query}, trust_env=False)
                self.assertEqual(self.code_of(response, 200), "forbidden")

    def test_a_socket_takes_its_key_from_the_header_or_the_first_frame(self):
        with self.socket(self.alice) as socket:
            self.assertEqual(self.me(socket), self.alice.user.username)
        with self.socket(init=False) as socket:
            socket.say(type="connection_init", payload={"authorization": f"Bearer {self.alice.secret}"})
            self.assertEqual(socket.read(), {"type": "connection_ack"})
            self.assertEqual(self.me(socket), self.alice.user.username)
        with self.socket() as socket:
            self.assertEqual(self.me(socket), "guest")

    def test_a_socket_with_a_wrong_key_is_closed(self):
        for payload in (
            {"authorization": "Bearer cb_wrong"},
            {"authorization": 5},
            {"Authorization": self.alice.secret},
        ):
            with self.socket(init=False) as socket:
                socket.say(type="connection_init", payload=payload)
                self.assertEqual(socket.hung_up()[0], 4403, payload)
        with self.socket(self.bob, init=False) as socket:
            socket.say(type="connection_init", payload={"authorization": f"Bearer {self.alice.secret}"})
            self.assertEqual(socket.hung_up(), (4403, "Offer one key."))

    def test_a_socket_is_closed_when_its_key_is_revoked(self):
        with self.socket(self.alice) as socket:
            socket.subscribe("1", 'subscription { answer(content: "x", model: "fake/slow:20ms:1000") { cursor } }')
            socket.read()
            revoke_api_key(key=self.alice.key)
            self.assertEqual(socket.hung_up()[0], 4403)

    def me(self, socket: GraphQLSocket) -> str:
        socket.subscribe("me", ME)
        return socket.until_over("me")[0]["payload"]["data"]["me"]["username"]


class MaskingTest(GraphQLTestCase):
    def test_what_is_not_ours_is_masked_and_logged_without_values(self):
        principal = Principal(user_id=self.alice.user.pk, username="alice")
        secret = ValueError("the prompt was: secret")
        with (
            mock.patch.object(queries, "conversation_with", side_effect=secret),
            self.assertLogs("chatservice", "ERROR") as logs,
        ):
            query = f'{{ conversation(id: "{uuid.uuid4()}") {{ id }} }}'
            status, payload = asyncio.run(execute(Operation(query, {}, None), principal))
        [error] = payload["errors"]
        self.assertEqual((status, payload["data"], error["path"]), (200, {"conversation": None}, ["conversation"]))
        self.assertEqual(error["extensions"], {"code": "internal_error", "status": 500})
        self.assertNotIn("secret", json.dumps(payload) + "".join(logs.output))

    def test_nothing_of_what_was_asked_is_logged_by_the_service(self):
        canary = f"canary-{uuid.uuid4().hex}"
        self.post(self.alice.http, f'{{ nothing(of: "{canary}") }}')
        self.code(FOLLOW_RUN.replace("subscription", "query"), status=400, run=canary)
        self.post(self.alice.http, "query($n: Int) { todos(first: $n) { id } }", n=canary)
        self.assertNotIn(canary, self.service.log())
