"""Who may ask the MCP server what: keys and their scopes, guests, limits; and how what is refused is told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from mcp import Client
from mcp.shared.exceptions import MCPError

from accounts.models import ApiKey, SubjectLimits
from accounts.scopes import Scope
from accounts.services import issue_api_key, revoke_api_key
from accounts.throttling import RateWindow
from chatservice.dialects.mcp.tests.calling import LEGACY, MODERN, call_tool, message, post, tool_message, with_client
from chatservice.dialects.mcp.tests.test_history import URI, HistoryCase
from chatservice.testing import running_service, tried_once, wait_for_minute

READING = ("read_conversation", "list_conversations", "recent")


def reading(uri: str) -> Callable[[Client], Awaitable[Any]]:
    return lambda client: client.read_resource(uri)


@tried_once
class OthersTest(HistoryCase):
    def test_bob_and_staff_find_nothing_of_alices(self) -> None:
        word = f"w{uuid.uuid4().hex[:10]}"
        conversation = self.talk(self.alice, f"The {word} is mine", "Yes")
        asked = self.messages_of(conversation)[0]
        own = self.talk(self.bob, "hello")
        for other in (self.bob, self.carol):
            self.assertEqual(self.told("search_history", by=other, query=f'"{word}"')["passages"], [])
            near = self.call("search_history", by=other, query=word)  # by meaning something is always found
            self.assertNotIn(str(conversation.pk), str(near))
            for pk, around in ((conversation.pk, None), (conversation.pk, asked.pk), (uuid.uuid4(), None)):
                arguments = {"id": str(pk)} | ({"around": str(around)} if around else {})
                self.assertEqual(self.code("read_conversation", by=other, **arguments), "not_found")
            for name in ("list_conversations", "recent"):
                result = self.call(name, by=other)
                self.assertNotIn(str(conversation.pk), str(result))
        self.assertEqual(self.code("read_conversation", by=self.bob, id=str(own.pk), around=str(asked.pk)), "not_found")

    def test_a_foreign_resource_is_as_an_unknown_one(self) -> None:
        conversation = self.talk(self.alice, "mine")
        for mode in (LEGACY, MODERN):
            refusals = []
            for uri in (f"{URI}{conversation.pk}", f"{URI}{uuid.uuid4()}", f"{URI}x", "file:///etc/passwd"):
                with self.assertRaises(MCPError) as caught:
                    with_client(self.service.url, self.bob.headers, reading(uri), mode=mode)
                self.assertEqual(caught.exception.data["code"], "not_found")
                refusals.append((caught.exception.code, caught.exception.message))
            self.assertEqual(len(set(refusals)), 1, refusals)


@tried_once
class KeysTest(HistoryCase):
    def key(self, *scopes: Scope) -> tuple[ApiKey, dict[str, str]]:
        key, secret = issue_api_key(user=self.alice.user, scopes=list(scopes))
        return key, {"Authorization": f"Bearer {secret}"}

    def refused(self, headers: dict[str, str], mode: str = LEGACY) -> MCPError:
        with self.assertRaises(MCPError) as caught:
            call_tool(self.service.url, headers, "search_history", mode=mode, query="x")
        return caught.exception

    def test_a_key_without_the_scope_search_is_refused(self) -> None:
        _, headers = self.key(*(scope for scope in Scope if scope is not Scope.SEARCH))
        for mode in (LEGACY, MODERN):
            refusal = self.refused(headers, mode)
            self.assertEqual(refusal.data["code"], "insufficient_scope")
            self.assertIn("lacks the scope 'search'", refusal.message)

    def test_a_key_that_may_search_alone_opens_and_lists_nothing(self) -> None:
        _, headers = self.key(Scope.SEARCH)
        conversation = self.talk(self.alice, "hello")

        async def ask(client: Any) -> Any:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            found = await client.call_tool("search_history", {"query": "hello"})
            return tools, found, client.server_capabilities

        for mode in (LEGACY, "auto"):
            tools, found, capabilities = with_client(self.service.url, headers, ask, mode=mode)
            self.assertEqual((tools, found.is_error, capabilities.resources), (["search_history"], False, None))
        asked = [tool_message(name, id=str(conversation.pk)) for name in READING]
        asked += [message("resources/list"), message("resources/read", uri=f"{URI}{conversation.pk}")]
        for body in asked:
            with self.subTest(body):
                answer = post(self.guest, body, **headers)
                self.assertEqual(answer.status_code, 403, answer.text)
                self.assertIn("insufficient_scope", answer.headers["www-authenticate"])
                self.assertIn("lacks the scope 'read'", answer.json()["error"]["message"])

    def test_a_revoked_and_a_wrong_key_are_refused(self) -> None:
        key, headers = self.key(Scope.SEARCH)
        self.assertFalse(call_tool(self.service.url, headers, "search_history", query="x").is_error)
        with running_service(KEY_CACHE_SECONDS="0") as service:
            revoke_api_key(key=key)
            for mode in (LEGACY, MODERN):
                for wrong in (headers, {"Authorization": "Bearer cb_x"}):
                    with self.assertRaises(MCPError) as caught:
                        call_tool(service.url, wrong, "search_history", mode=mode, query="x")
                    self.assertEqual(caught.exception.data["code"], "unauthorized")

    def test_the_owner_sees_which_key_asked(self) -> None:
        key, headers = self.key(Scope.SEARCH, Scope.READ)
        call_tool(self.service.url, headers, "search_history", query="x")
        listed = self.alice.http.get("/v1/chat/me/keys").json()["data"]
        [shown] = [each for each in listed if each["id"] == str(key.pk)]
        self.assertIsNotNone(shown["last_used_at"])
        self.assertEqual([each["network"] for each in shown["uses"]], ["127.0.0.0/24"])

    def test_an_account_that_may_not_search_is_told_so(self) -> None:
        SubjectLimits.objects.create(user=self.alice.user, search=False)
        with running_service(KEY_CACHE_SECONDS="0") as service:
            result = call_tool(service.url, self.alice.headers, "search_history", query="x")
        self.assertTrue(result.is_error)
        self.assertEqual(result.meta["code"], "search_not_allowed")


@tried_once
class LimitsTest(HistoryCase):
    def test_each_message_counts_as_a_read_and_the_limit_is_told(self) -> None:
        with running_service(LIMIT_READS_PER_MINUTE="5") as service:
            wait_for_minute(20)
            call_tool(service.url, self.alice.headers, "recent", mode=LEGACY)
            # The handshake is two messages; a client may also have asked for the tools.
            used = RateWindow.objects.get(key=f"reads:{self.alice.user.pk.hex}").count
            self.assertGreaterEqual(used, 3)
            for _ in range(5 - used):
                call = post(self.guest_of(service.url), tool_message("recent"), **self.alice.headers)
                self.assertEqual(call.status_code, 200)
            refused = post(self.guest_of(service.url), tool_message("search_history", query="x"), **self.alice.headers)
            self.assertEqual(refused.status_code, 429)
            self.assertGreaterEqual(int(refused.headers["retry-after"]), 1)
            for mode in (LEGACY, MODERN):
                with self.assertRaisesRegex(MCPError, "At most 5 requests a minute"):
                    call_tool(service.url, self.alice.headers, "search_history", mode=mode, query="x")

    def guest_of(self, url: str) -> httpx2.Client:
        client = httpx2.Client(base_url=url, timeout=30, trust_env=False)
        self.addCleanup(client.close)
        return client


@tried_once
class GuestsTest(HistoryCase):
    def test_guests_of_this_machine_have_their_own_history(self) -> None:
        self.talk(self.alice, "mine alone", title="Alices")
        result = call_tool(self.service.url, {}, "list_conversations")
        self.assertFalse(result.is_error)
        self.assertNotIn("Alices", str(result))

    def test_guests_are_refused_where_none_are_admitted(self) -> None:
        with running_service(ANONYMOUS="off") as service:
            for mode in (LEGACY, MODERN):
                with self.assertRaisesRegex(MCPError, "A key is needed"):
                    call_tool(service.url, {}, "recent", mode=mode)

    def test_guests_who_may_be_strangers_search_and_list_nothing(self) -> None:
        with running_service(ANONYMOUS="on") as service:
            for name, arguments in (("search_history", {"query": "x"}), ("list_conversations", {}), ("recent", {})):
                result = call_tool(service.url, {}, name, **arguments)
                self.assertEqual((result.is_error, result.meta["code"]), (True, "permission_denied"))
            with self.assertRaisesRegex(MCPError, "needs a key"):
                with_client(service.url, {}, lambda client: client.list_resources())


@tried_once
class WireTest(HistoryCase):
    def test_what_is_no_message_is_refused_in_json_rpc(self) -> None:
        for body, status, code in (
            (b"{", 400, -32700),
            (b"[]", 400, -32600),
            (json.dumps([tool_message("recent")] * 2).encode(), 400, -32600),
            (b'{"jsonrpc": "2.0"}', 400, None),
            (b'{"a": ' * 200 + b"1" + b"}" * 200, 400, -32600),
        ):
            with self.subTest(body[:40]):
                headers = {"Content-Type": "application/json", "Accept": "application/json"}
                answer = self.alice.http.post("/mcp", content=body, headers=headers)
                self.assertEqual(answer.status_code, status, answer.text)
                self.assertEqual(answer.json()["jsonrpc"], "2.0")
                if code is not None:
                    self.assertEqual(answer.json()["error"]["code"], code)
                    self.assertEqual(answer.json()["error"]["data"]["request_id"], answer.headers["x-request-id"])

    def test_there_is_no_session_and_no_stream(self) -> None:
        hello = message(
            "initialize",
            protocolVersion="2025-06-18",
            capabilities={},
            clientInfo={"name": "test", "version": "1"},
        )
        answer = post(self.alice.http, hello)
        self.assertEqual((answer.status_code, answer.headers["content-type"]), (200, "application/json"))
        self.assertNotIn("mcp-session-id", answer.headers)
        self.assertEqual(answer.json()["result"]["serverInfo"]["name"], "chat-history")
        for method in ("GET", "DELETE", "PUT"):
            refused = self.alice.http.request(method, "/mcp")
            self.assertEqual((refused.status_code, refused.headers["allow"]), (405, "POST, OPTIONS"))
            self.assertEqual(refused.json()["error"]["data"]["code"], "method_not_allowed")
        noted = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.assertEqual((post(self.alice.http, noted).status_code, post(self.alice.http, noted).text), (202, ""))

    def test_an_unknown_tool_and_method_are_json_rpc_errors(self) -> None:
        for body in (tool_message("drop_tables"), message("no/such"), message("prompts/list")):
            answer = post(self.alice.http, body)
            self.assertEqual((answer.status_code, answer.json()["id"]), (200, 1))
            self.assertIn(answer.json()["error"]["code"], (-32601, -32602))

    def test_a_page_of_another_site_asks_nothing_with_a_cookie_or_as_a_local_guest(self) -> None:
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = post(self.guest, tool_message("recent"), **headers)
            self.assertIn(answer.status_code, (400, 401, 403), headers)

    def test_the_link_names_the_host_that_was_asked(self) -> None:
        self.talk(self.alice, "hello")
        answer = post(self.alice.http, tool_message("recent", limit=1), Host=f"localhost:{self.service.port}")
        [told] = answer.json()["result"]["structuredContent"]["conversations"]
        self.assertTrue(told["url"].startswith(f"http://localhost:{self.service.port}/#"), told["url"])

    def test_a_refusal_never_repeats_the_content_in_the_log(self) -> None:
        marks = ["canary-of-an-argument", "canary-of-a-method"]
        post(self.alice.http, tool_message("search_history", query=5, since=marks[0]))
        post(self.alice.http, message(marks[1]))
        post(self.alice.http, {"jsonrpc": "2.0", "method": f"notifications/{marks[1]}", "params": marks[0]})
        for mark in marks:
            self.assertNotIn(mark, self.service.log())
