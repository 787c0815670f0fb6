"""Behind a real nginx: its clients do not count as this machine, and missing headers are reported."""

from __future__ import annotations

import dataclasses
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import httpx2
from django.urls import resolve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from accounts.principal import KEY_NEEDED, guests_refused
from accounts.services import register_user
from chatservice.dialects import DIALECTS
from chatservice.dialects.problems import Problem
from chatservice.testing import Service, ServiceTestCase, needs_dialect, running_service, tried_on
from chatservice.testing.sockets import Socket
from conversations.models import Conversation
from foundation.logs.context import LogContext, background_context
from scripts.replay_documents import DOCUMENTS, Replay, replay
from scripts.replaying import Answer
from tests.nginx import USUAL_HEADERS, nginx
from tests.test_replay import SERVED_BY

OTHERS, OURS = "www-data", "root"
UPGRADE = {"Upgrade": "$http_upgrade", "Connection": "upgrade"}
PASSWORD = "a long enough phrase"


class Sent(NamedTuple):
    method: str
    path: str
    body: str | None
    headers: Mapping[str, str]


class Recorder(Replay):
    """Sends the documents' requests, and records them."""

    def send(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        self.__dict__.setdefault("sent", []).append(Sent(method, path, body, headers or {}))
        return super().send(method, path, body, headers)


@tried_on("postgresql")
class GuestsTest(ServiceTestCase):
    def documents(self) -> list[str]:
        return [name for name, dialects in SERVED_BY.items() if dialects <= set(DIALECTS)]

    def printed_calls(self) -> list[Sent]:
        """Replay the documents without the proxy, where they must work; return the recorded requests."""
        lines: list[str] = []
        recorder = Recorder(self.service.url, self.alice.secret, lines.append)
        for name in self.documents():
            DOCUMENTS[name](recorder)
        self.assertEqual(recorder.failures, 0, "\n".join(lines))
        return recorder.__dict__["sent"]

    def assert_all_refused(self, proxy: str, calls: list[Sent]) -> None:
        stored = Conversation.objects.count()
        with httpx2.Client(base_url=proxy, timeout=30, trust_env=False) as client:
            for call in calls:
                headers = {name: value for name, value in call.headers.items() if name != "Authorization"}
                response = client.request(call.method, call.path, content=call.body, headers=headers)
                view = getattr(resolve(call.path.partition("?")[0]).func, "cls", None)
                if view is None:  # the documentation
                    continue
                message = guests_refused() if view.authentication.allow_guest else KEY_NEEDED
                with self.subTest(f"{call.method} {call.path}"):
                    self.assertEqual(response.status_code, 401, response.text)
                    problem = Problem(401, "unauthorized", message)
                    context = background_context(LogContext(response.headers["x-request-id"]))
                    self.assertEqual(response.json(), context.run(view.render, problem))
        self.assertEqual(Conversation.objects.count(), stored)
        for word in ("ANONYMOUS", "TRUSTED_PROXIES", "key that the first start printed"):
            self.assertIn(word, guests_refused())

    def test_what_comes_through_another_users_plain_nginx_is_no_guest_and_a_key_works(self) -> None:
        calls = self.printed_calls()
        self.assertGreater(len(calls), 10)
        with nginx(self.service.url, user=OTHERS) as proxy:
            self.assert_all_refused(proxy, calls)
            lines: list[str] = []
            keyed = [name for name in self.documents() if name in ("1-v1", "2-openai")]
            self.assertEqual(replay(proxy, self.alice.secret, keyed, lines.append).failures, 0, "\n".join(lines))
            self.printed_calls()  # without the proxy nothing has changed

    def test_nor_through_our_own_that_listens_to_others(self) -> None:
        calls = self.printed_calls()
        with nginx(self.service.url, user=OURS, address="0.0.0.0") as proxy:
            self.assert_all_refused(proxy, calls)
            self.printed_calls()

    def test_nor_by_websocket(self) -> None:
        needs_dialect("websocket")
        hello = {"type": "send", "content": "Hi"}
        with Socket(self.service.websocket_url) as direct:
            self.assertEqual(direct.ask("Hi")[-1]["type"], "ai_complete")
        with nginx(self.service.url, user=OTHERS, headers=UPGRADE) as proxy:
            there = proxy.replace("http", "ws", 1)
            with Socket(f"{there}/ws/chat") as socket:
                socket.say(**hello)
                frames, code = socket.closed()
                self.assertEqual(code, 4401)
                self.assertIn("ANONYMOUS=auto", frames[-1]["data"]["message"])
            with Socket(f"{there}/ws/chat", additional_headers=self.alice.headers) as socket:
                self.assertEqual(socket.ask("Hi")[-1]["type"], "ai_complete")
            if "graphql" in DIALECTS:
                with connect(f"{there}/graphql", subprotocols=["graphql-transport-ws"], proxy=None) as link:  # type: ignore[list-item]
                    link.send(json.dumps({"type": "connection_init"}))
                    with self.assertRaisesRegex(ConnectionClosed, "ANONYMOUS=auto"):
                        link.recv(30)

    def test_a_service_that_listens_to_others_has_no_guests_by_itself(self) -> None:
        with running_service(HOST="0.0.0.0") as service:
            answer = httpx2.post(f"{service.url}/graphql", json={"query": "{ todos { id } }"}, trust_env=False)
            self.assertIn("ANONYMOUS=auto", answer.text)

    def test_the_admin_is_closed_to_what_comes_through_a_proxy_unless_it_is_opened(self) -> None:
        pages = ("/admin/", "/admin/login/", "/admin/logout/", "/admin/accounts/user/", "/admin/jsi18n/")
        with nginx(self.service.url, user=OTHERS) as proxy:
            for page in pages:
                answer = httpx2.get(f"{proxy}{page}", trust_env=False)
                self.assertEqual((answer.status_code, "ADMIN_ENABLED=true" in answer.text), (403, True), page)
                self.assertNotIn("csrfmiddlewaretoken", answer.text)
                self.assertNotEqual(self.guest.get(page).status_code, 403, page)
        with running_service(ADMIN_ENABLED="true") as open_to_all, nginx(open_to_all.url, user=OTHERS) as proxy:
            self.assertIn("csrfmiddlewaretoken", httpx2.get(f"{proxy}/admin/login/", trust_env=False).text)


class Redirecting(Service):
    """With HTTPS the readiness probe may be redirected: any response means ready."""

    def _is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        try:
            return bool(httpx2.get(f"{self.url}/readyz", timeout=2).status_code)
        except httpx2.HTTPError:
            return False


@dataclasses.dataclass(slots=True)
class Front:
    """A service behind nginx that terminates TLS, and a client that trusts the certificate."""

    service: Service
    url: str
    http: httpx2.Client


@tried_on("postgresql")
class HttpsTest(ServiceTestCase):
    def serving(self, **env: str) -> Service:
        service = Redirecting(env=env).start()
        self.addCleanup(service.stop)
        return service

    @contextmanager
    def front(self, *headers: str, service: Service) -> Iterator[Front]:
        """Put nginx, which sets these of the usual headers, in front of a service."""
        sent = {name: USUAL_HEADERS[name] for name in headers}
        with nginx(service.url, user=OTHERS, headers=sent, tls=True) as url:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            with httpx2.Client(base_url=url, verify=trusting, timeout=30, trust_env=False) as http:
                yield Front(service, url, http)

    def test_an_endless_redirect_is_answered_with_the_setting_that_is_missing(self) -> None:
        service = self.serving(HTTPS="true")
        for headers in (tuple(USUAL_HEADERS), ("Host",), ()):
            with self.subTest(headers), self.front(*headers, service=service) as front:
                for path in ("/", "/v1/models", "/conversations", "/admin/", "/login"):
                    answer = front.http.get(path, headers=self.alice.headers)
                    self.assertEqual(answer.status_code, 500, answer.headers)
                    self.assertIn("TRUSTED_PROXIES=1", answer.text)
                if "openai_v1" in DIALECTS:
                    told = front.http.get("/v1/models").json()["error"]
                    self.assertEqual(told["code"], "proxy_not_configured")
                self.assertEqual(service.log().count("TRUSTED_PROXIES=1"), 1, service.log())
        direct = f"{service.url}/v1/models"
        self.assertEqual(httpx2.get(direct).status_code, 301)
        self.assertEqual(httpx2.get(direct, headers={"X-Forwarded-For": "192.0.2.1"}).status_code, 500)

    def test_a_proxy_that_does_not_say_https_is_told_to_and_with_both_settings_it_works(self) -> None:
        service = self.serving(HTTPS="true", TRUSTED_PROXIES="1")
        with self.front("Host", "X-Forwarded-For", service=service) as front:
            answer = front.http.get("/docs")
            self.assertEqual(answer.status_code, 500)
            self.assertIn("X-Forwarded-Proto $scheme", answer.text)
        with self.front(*USUAL_HEADERS, service=service) as front:
            self.assertEqual(front.http.get("/v1/chat/conversations", headers=self.alice.headers).status_code, 200)
            self.assertEqual(self.sign_in(front).status_code, 302)
            for headers in ({}, {"X-Forwarded-Proto": "http"}):
                plain = httpx2.get(f"{front.service.url}/docs", headers=headers)
                self.assertEqual((plain.status_code, plain.headers["location"][:5]), (301, "https"))

    def sign_in(self, front: Front, **headers: str) -> httpx2.Response:
        user = register_user(username=f"alice-{front.service.port}", password=PASSWORD)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', front.http.get("/login").text)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "username": user.username, "password": PASSWORD}
        sent = {"Origin": front.url, "Referer": f"{front.url}/login", "Sec-Fetch-Site": "same-origin", **headers}
        return front.http.post("/login", data=form, headers=sent)

    def test_a_form_that_is_refused_for_want_of_https_says_so(self) -> None:
        for env, missing in (({"TRUSTED_PROXIES": "1"}, "HTTPS=true"), ({}, "HTTPS=true and TRUSTED_PROXIES=1")):
            with self.subTest(missing), self.front(*USUAL_HEADERS, service=self.serving(**env)) as front:
                answer = self.sign_in(front)
                self.assertEqual(answer.status_code, 403)
                self.assertIn(missing, answer.text)
                self.assertIn("no-store", answer.headers["cache-control"])

    def test_a_form_and_a_session_whose_host_the_proxy_changed_say_so(self) -> None:
        with self.front(service=self.serving()) as front:
            answer = self.sign_in(front)
            self.assertEqual(answer.status_code, 403)
            self.assertIn("proxy_set_header Host $http_host", answer.text)
            shown = {"Origin": front.url, "Sec-Fetch-Site": "same-origin", "Cookie": "chat_session=" + "x" * 32}
            refused = front.http.post("/logout", headers={**shown, "X-Requested-With": "chat"})
            self.assertEqual(refused.status_code, 403)
            self.assertIn("proxy_set_header Host $http_host", refused.text)
