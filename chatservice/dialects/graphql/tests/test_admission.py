"""Who may connect, by POST and by websocket; that Bob cannot access Alice's data; that internal errors are hidden."""

from __future__ import annotations

import asyncio
import json
import uuid
from unittest import mock

import httpx2

from accounts.callers import Principal
from accounts.services import revoke_api_key
from chatservice.dialects.graphql import queries
from chatservice.dialects.graphql.execution import Operation, execute
from chatservice.dialects.graphql.tests.client import FOLLOW_RUN, GraphQLSocket, GraphQLTestCase
from chatservice.testing import running_service, tried_once
from conversations.models import Conversation

ME = "{ me { username isGuest isStaff } }"


class ForeignTest(GraphQLTestCase):
    """Other places that must not show foreign rows; test_contract tries operations with a foreign id."""

    def test_loaders_lists_and_filters_show_nothing_of_others(self):
        talk = self.send("Mine alone")["conversation"]["id"]
        self.send("My own", by=self.bob)
        create = 'mutation($c: ID) { createTodo(title: "Mine", conversationId: $c) { id } }'
        todo = self.data(create, c=talk)["createTodo"]["id"]
        query = "{ conversations(archived: null) { edges { node { id } } totalCount } todos { id } }"
        seen = self.data(query, by=self.bob)
        for pk in (talk, todo):
            self.assertNotIn(pk, json.dumps(seen))
        self.assertEqual(seen["conversations"]["totalCount"], 1)
        query = "query($c: ID!) { todos(conversationId: $c) { id } }"
        self.assertEqual(self.data(query, c=talk), {"todos": [{"id": todo}]})
        for pk in (talk, str(uuid.uuid4()), "0; DROP"):
            self.assertEqual(self.data(query, by=self.bob, c=pk), {"todos": []})


@tried_once
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
            self.assertEqual(socket.hung_up(), (4403, "Send only one key."))

    def test_a_socket_is_closed_when_its_key_is_revoked(self):
        with self.socket(self.alice) as socket:
            socket.subscribe("1", 'subscription { answer(content: "x", model: "fake/slow:20ms:1000") { cursor } }')
            socket.read()
            revoke_api_key(key=self.alice.key)
            self.assertEqual(socket.hung_up()[0], 4403)

    def test_nothing_is_done_on_an_open_socket_whose_key_was_revoked(self):
        with running_service(KEY_CACHE_SECONDS="0") as service:
            url = service.url.replace("http", "ws") + "/graphql"
            with GraphQLSocket(url, headers=self.alice.headers, init=True) as socket:
                self.assertEqual(self.me(socket), self.alice.user.username)
                revoke_api_key(key=self.alice.key)
                socket.subscribe("1", 'mutation { startConversation(title: "Too late") { id } }')
                self.assertEqual(socket.hung_up()[0], 4403)
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())

    def me(self, socket: GraphQLSocket) -> str:
        socket.subscribe("me", ME)
        return socket.until_over("me")[0]["payload"]["data"]["me"]["username"]


@tried_once
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
