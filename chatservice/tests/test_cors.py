"""CORS: pages of the origins in the setting call the APIs with a key, errors included; cookies never count."""

from __future__ import annotations

from typing import Any

import httpx2
from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, override_settings
from websockets.exceptions import InvalidStatus

from chatservice.cors import CorsMiddleware
from chatservice.dialects import DIALECTS
from chatservice.environment import is_origin
from chatservice.handler import ChatHandler
from chatservice.testing import ServiceTestCase, needs_dialect, running_service, tried_on
from chatservice.testing.sockets import Socket
from conversations.models import Conversation

APP, LOCAL = "https://app.example.org", "http://localhost:3000"
STRANGERS = ("https://evil.example", "https://app.example.org.evil.example", "http://app.example.org", "null")
PATHS = {
    "chat_v1": "/v1/chat/conversations",
    "openai_v1": "/v1/models",
    "chat": "/chat/conversation",
    "graphql": "/graphql",
    "mcp": "/mcp",
    "resources": "/conversations",
}
ASKED = (
    "authorization,content-type,idempotency-key,last-event-id,x-on-disconnect,x-request-id,"
    "x-stainless-arch,x-stainless-retry-count,openai-organization,traceparent"
)
READ = (
    *("x-run-id", "x-conversation-id", "x-message-id", "x-request-id", "retry-after", "x-should-retry"),
    *(f"x-ratelimit-{each}-requests" for each in ("limit", "remaining", "reset")),
)


def names(header: str) -> set[str]:
    return {each.strip().lower() for each in header.split(",")}


@tried_on("sqlite")
class CorsTest(ServiceTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        allowed = {"CORS_ALLOWED_ORIGINS": f"{APP.upper()}, {LOCAL}", "LIMIT_RUN_STARTS_PER_MINUTE": "1"}
        cls.open = cls.enterClassContext(running_service(**allowed))

    def ask(self, method: str, path: str, origin: str = APP, **more: Any) -> httpx2.Response:
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", **more.pop("headers", {})}
        return httpx2.request(method, self.open.url + path, headers=headers, trust_env=False, **more)

    def preflight(self, path: str, method: str, origin: str = APP) -> httpx2.Response:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ASKED}
        return self.ask("OPTIONS", path, origin, headers=asked)

    def assert_readable(self, response: httpx2.Response, status: int, origin: str = APP) -> None:
        self.assertEqual(response.status_code, status, response.text)
        self.assertEqual(response.headers.get("access-control-allow-origin"), origin)
        self.assertNotIn("access-control-allow-credentials", response.headers)
        self.assertIn("origin", names(response.headers["vary"]))
        self.assertLessEqual(set(READ), names(response.headers["access-control-expose-headers"]))

    def test_a_preflight_needs_no_key_on_any_api(self) -> None:
        for name, path in PATHS.items():
            for there in (path, f"{path}/123") if name in DIALECTS else ():
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                    for origin in (APP, LOCAL):
                        with self.subTest(f"{method} {there}", origin=origin):
                            response = self.preflight(there, method, origin)
                            self.assert_readable(response, 204, origin)
                            self.assertIn(method.lower(), names(response.headers["access-control-allow-methods"]))
                            granted = names(response.headers["access-control-allow-headers"])
                            self.assertLessEqual(names(ASKED), granted)
                            self.assertFalse(granted & {"x-requested-with", "x-page-user", "*"})

    def test_what_marks_our_own_pages_is_not_granted(self) -> None:
        needs_dialect("resources")
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "X-Requested-With, X-Page-User, bad header, x\ty",
        }
        granted = names(self.ask("OPTIONS", "/conversations", headers=asked).headers["access-control-allow-headers"])
        self.assertFalse(granted & {"x-requested-with", "x-page-user", "bad header"})

    def test_other_origins_get_nothing(self) -> None:
        for origin in STRANGERS:
            for response in (
                self.preflight("/v1/models", "GET", origin),
                self.ask("GET", "/v1/models", origin, headers=self.alice.headers),
            ):
                self.assertFalse([name for name in response.headers if name.startswith("access-control-")], origin)
                self.assertEqual(response.headers["vary"], "Origin")

    def test_pages_and_the_admin_are_no_api(self) -> None:
        for path in ("/admin/", "/login", "/logout", "/profile", "/docs"):
            for response in (self.preflight(path, "GET"), self.ask("GET", path)):
                self.assertNotIn("access-control-allow-origin", response.headers, path)

    def test_answers_and_streams_can_be_read(self) -> None:
        needs_dialect("openai_v1", "chat_v1", "chat")
        self.assert_readable(self.ask("GET", "/v1/models", headers=self.alice.headers), 200)
        question = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        response = self.ask("POST", "/v1/chat/completions", json=question, headers=self.bob.headers)
        self.assert_readable(response, 200)
        self.assertTrue(response.headers["x-run-id"])
        self.assertIn("[DONE]", response.text)
        # What a link of another site must not do, a page with a key may.
        self.assert_readable(self.ask("GET", "/chat/conversation", headers=self.alice.headers), 200)
        self.assertEqual(
            self.ask("GET", "/chat/conversation", STRANGERS[0], headers=self.alice.headers).status_code, 403
        )
        # Three, because a new minute may have begun.
        again = [self.ask("POST", "/v1/chat/completions", json=question, headers=self.bob.headers) for _ in range(3)]
        limited = next(each for each in again if each.status_code != 200)
        self.assert_readable(limited, 429)
        self.assertTrue(limited.headers["retry-after"])

    def test_errors_can_be_read(self) -> None:
        needs_dialect("openai_v1")
        path, key = "/v1/chat/completions", self.alice.headers
        self.assert_readable(self.ask("GET", "/v1/models"), 401)
        self.assert_readable(self.ask("GET", "/v1/models", headers={"Authorization": "Bearer cb_wrong"}), 401)
        self.assert_readable(self.ask("POST", path, content=b"x" * 4_194_305, headers=key), 413)
        self.assert_readable(self.ask("POST", path, content=b"{", headers=key), 400)
        self.assert_readable(self.ask("POST", path, content=b"{}", headers={**key, "Content-Encoding": "br"}), 415)
        self.assert_readable(self.ask("PATCH", path, content=b"{}", headers=key), 405)
        self.assert_readable(self.ask("GET", "/v1/nothing", headers=key), 404)
        self.assert_readable(self.ask("GET", "/nothing"), 404)
        self.assert_readable(self.ask("GET", "/v1/models", headers={**key, "Host": "evil.example"}), 400)

    def test_a_cookie_counts_for_nothing(self) -> None:
        needs_dialect("resources", "graphql")
        Conversation.objects.create(owner=self.alice.user, title="Mine")
        client = Client()
        client.force_login(self.alice.user)
        cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}
        query = {"query": 'mutation { startConversation(title: "Stolen") { id } }'}
        for headers in (cookie, {**cookie, "X-Requested-With": "chat"}):
            read = self.ask("GET", "/conversations", headers=headers)
            self.assert_readable(read, 401)
            self.assertNotIn("Mine", read.text)
            self.assertEqual(self.ask("POST", "/graphql", json=query, headers=headers).status_code, 401)
        self.assertFalse(Conversation.objects.filter(title="Stolen").exists())

    def test_a_socket_may_be_opened_and_needs_a_key(self) -> None:
        needs_dialect("websocket")
        url = self.open.websocket_url
        offered = ["chat.v1", f"key.{self.alice.secret}"]
        with Socket(url, origin=APP, subprotocols=offered) as socket:
            socket.expect_silence()
        client = Client()
        client.force_login(self.alice.user)
        cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}
        with Socket(url, origin=APP, subprotocols=["chat.v1"], additional_headers=cookie) as socket:
            self.assertEqual(socket.closed()[1], 4401)
        for origin in STRANGERS:
            with self.assertRaises(InvalidStatus), Socket(url, origin=origin, subprotocols=offered):
                pass

    def test_without_the_setting_nothing_is_said(self) -> None:
        for response in (
            self.guest.get("/v1/models", headers={"Origin": APP}),
            self.guest.options("/v1/models", headers={"Origin": APP, "Access-Control-Request-Method": "GET"}),
        ):
            self.assertFalse([name for name in response.headers if name.startswith("access-control-")])
            self.assertNotIn("vary", response.headers)


class OriginsTest(SimpleTestCase):
    @override_settings(CORS_ALLOWED_ORIGINS=["*"])
    def test_a_star_allows_everybody_and_varies_with_nobody(self) -> None:
        async def view(request: Any) -> HttpResponse:
            return HttpResponse("read", status=404)

        ask = async_to_sync(CorsMiddleware(view))
        for origin in (APP, "null", ""):
            response = ask(RequestFactory().get("/v1/models", headers={"Origin": origin}))
            self.assertEqual(response.headers["Access-Control-Allow-Origin"], "*")
            self.assertNotIn("Vary", response.headers)
        asked = {"Origin": APP, "Access-Control-Request-Method": "DELETE"}
        self.assertEqual(ask(RequestFactory().options("/v1/models", headers=asked)).status_code, 204)
        self.assertNotIn("Access-Control-Allow-Origin", ask(RequestFactory().get("/login")).headers)

    @override_settings(CORS_ALLOWED_ORIGINS=[APP], MAX_ARRIVING_BYTES=1)
    def test_a_process_without_room_for_the_body_says_so_readably(self) -> None:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": "/v1/models", "headers": [(b"origin", APP.encode())]}
        async_to_sync(ChatHandler())(scope, receive, send)
        self.assertEqual(sent[0]["status"], 503)
        self.assertIn((b"access-control-allow-origin", APP.encode()), sent[0]["headers"])

    def test_only_what_a_browser_sends_is_an_origin(self) -> None:
        for good in ("*", APP, LOCAL, "http://[::1]:3000", "http://10.0.0.1", "app://obsidian.md", "tauri://localhost"):
            self.assertTrue(is_origin(good), good)
        for bad in (
            *("", "null", "app.example.org", "https://", "https://app.example.org/", "https://app.example.org/x"),
            *("https://*.example.org", "*.example.org", "https://app.example.org:443", "http://a:80", "https://a:0"),
            *(
                "https://a:70000",
                "'https://a'",
                "https://a b",
                "https://user@a",
                "https://a?x",
                "http://[::1",
                "http://[x]",
            ),
        ):
            self.assertFalse(is_origin(bad), bad)
