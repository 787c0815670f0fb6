"""The whole service under a path, behind a real nginx that passes the prefix on or removes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import httpx2
from django.test import SimpleTestCase, override_settings

from accounts.services import register_user
from chatservice import url_prefix
from chatservice.dialects import DIALECTS
from chatservice.dialects.problems import NOT_FOUND
from chatservice.docs import documented_dialects
from chatservice.testing import ServiceTestCase, needs_dialect, rendered, running_service, sse_data, tried_on
from chatservice.testing.sockets import Socket
from conversations.models import Conversation
from tests.nginx import USUAL_HEADERS, nginx

PREFIX = "/chat"  # the worst one: a dialect of ours is mounted at the same word
UPGRADE = {"Upgrade": "$http_upgrade", "Connection": "upgrade"}
HTTP = "proxy_http_version 1.1;"
PASSWORD = "a long enough phrase"
LINK = re.compile(r'(?:href|src|action|data-root)="([^"#?]+)')


@tried_on("sqlite")
class UrlPrefixTest(ServiceTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        env = {"URL_PREFIX": PREFIX, "TRUSTED_PROXIES": "1", "ADMIN_ENABLED": "true"}
        cls.prefixed = cls.enterClassContext(running_service(**env))

        # Removes the prefix, or passes it on.
        cls.proxies = [
            cls.enterClassContext(
                nginx(
                    cls.prefixed.url,
                    headers={**USUAL_HEADERS, **UPGRADE},
                    path=f"{PREFIX}/",
                    strips=strips,
                    location=HTTP,
                )
            )
            for strips in (True, False)
        ]

    def fronts(self) -> Iterator[httpx2.Client]:
        """Yield a client of each proxy."""
        for url in self.proxies:
            http = httpx2.Client(base_url=url, timeout=30, trust_env=False)
            self.addCleanup(http.close)
            yield http

    def test_apis_answer_below_it(self) -> None:
        needs_dialect("openai_v1", "chat", "resources", "graphql", "chat_v1")
        for http in self.fronts():
            http.headers.update(self.alice.headers)
            self.assertEqual(http.get("/chat/v1/models").status_code, 200)
            self.assertEqual(http.get("/chat/v1/models/").status_code, 200)
            question = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
            answer = http.post("/chat/v1/chat/completions", json=question)
            self.assertEqual(sse_data(answer.text)[-1], "[DONE]")
            self.assertEqual(http.get("/chat/healthz").json()["status"], "ok")
            talk = http.get("/chat/chat/conversation").json()["id"]
            self.assertEqual(http.get(f"/chat/chat/conversation/{talk}").json()["id"], talk)
            sent = http.post("/chat/graphql", json={"query": "{ me { username } }"}).json()
            self.assertEqual(sent["data"]["me"]["username"], self.alice.user.username)
            for path, dialect in (("v1/nothing", "openai_v1"), ("chat/nothing", "chat"), ("nothing", "resources")):
                refused = http.get(f"/chat/{path}")
                self.assertEqual(
                    (refused.status_code, refused.json()),
                    (404, rendered(dialect, NOT_FOUND, refused.headers["x-request-id"])),
                )
            many = http.get("/chat/v1/models", headers={f"X-{number}": "x" for number in range(101)})
            self.assertEqual((many.status_code, many.json()["error"]["code"]), (431, "too_many_headers"))

    def test_links_to_further_pages_have_it(self) -> None:
        needs_dialect("resources")
        for number in range(3):
            Conversation.objects.create(owner=self.alice.user, title=f"Number {number}")
        for http in self.fronts():
            response = http.get("/chat/conversations?limit=1", headers=self.alice.headers)
            [link] = re.findall(r'<([^>]+)>; rel="next"', response.headers["link"])
            self.assertTrue(link.startswith("/chat/conversations?"), link)
            self.assertEqual(http.get(link, headers=self.alice.headers).status_code, 200)

    def test_sockets_open_below_it(self) -> None:
        needs_dialect("websocket", "graphql")
        for http in self.fronts():
            there = str(http.base_url).replace("http", "ws", 1).rstrip("/")
            with Socket(f"{there}/chat/ws/chat", additional_headers=self.alice.headers) as socket:
                self.assertEqual(socket.ask("Hi")[-1]["type"], "ai_complete")
            offered = ["graphql-transport-ws"]
            with Socket(f"{there}/chat/graphql", additional_headers=self.alice.headers, subprotocols=offered) as socket:
                socket.say(type="connection_init")
                self.assertEqual(socket.read()["type"], "connection_ack")

    def test_pages_name_only_addresses_below_it(self) -> None:
        needs_dialect("graphql")
        for http in self.fronts():
            for page in ("", "login", "profile", "docs", "graphql", "admin/login/"):
                response = http.get(f"/chat/{page}", headers={"Accept": "text/html"})
                self.assertEqual(response.status_code, 200, page)
                links = {urljoin(f"/chat/{page}", link) for link in LINK.findall(response.text)}
                self.assertTrue(links, page)
                for link in links:
                    self.assertTrue(link.startswith("/chat/"), f"{page}: {link}")
                    if "/static/" in link:
                        self.assertEqual(http.get(link).status_code, 200, link)

    def test_schemas_name_it_as_their_server(self) -> None:
        for http in self.fronts():
            for dialect in documented_dialects():
                document = http.get(f"/chat/schema/{dialect}").json()
                self.assertEqual(document["servers"], [{"url": "/chat"}], dialect)
                self.assertFalse([path for path in document["paths"] if path.startswith("/chat/v1")])
        self.assertNotIn("servers", self.guest.get("/schema/chat_v1").json())

    def test_signing_in_and_out_and_the_admin_stay_below_it(self) -> None:
        for http in self.fronts():
            user = register_user(username=f"carol-{http.base_url.port}", password=PASSWORD, superuser=True)
            turned = http.get("/chat/admin/conversations/conversation/")
            self.assertEqual(urlsplit(turned.headers["location"]).path, "/chat/admin/login/")
            self.assertIn("next=/chat/admin/conversations/conversation/", turned.headers["location"])
            form = http.get("/chat/login?next=/chat/profile")
            [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
            data = {"csrfmiddlewaretoken": token, "username": user.username, "password": PASSWORD}
            shown = {"Origin": str(http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
            done = http.post("/chat/login", data=data, headers=shown)
            self.assertEqual((done.status_code, done.headers["location"]), (302, "/chat/"))
            self.assertIn("chat_session", http.cookies)
            self.assertEqual({cookie.path for cookie in http.cookies.jar}, {"/chat"})
            page = http.get("/chat/admin/")
            self.assertEqual(page.status_code, 200)
            links = {urljoin("/chat/admin/", link) for link in LINK.findall(page.text)}
            self.assertFalse([link for link in links if not link.startswith("/chat/")])
            self.assertIn("/chat/", links)  # "View site"
            listed = http.get("/chat/admin/accounts/user/")
            self.assertIn("/chat/admin/accounts/user/", listed.text)
            out = http.post("/chat/logout", headers={**shown, "X-Requested-With": "chat"})
            self.assertEqual(out.status_code, 204)
            self.assertNotIn("chat_session", http.cookies)

    def test_without_a_proxy_both_addresses_answer(self) -> None:
        for path in ("/healthz", "/readyz", "/chat/healthz", "/", "/chat", "/chat/", "/docs", "/chat/docs"):
            self.assertEqual(httpx2.get(self.prefixed.url + path, trust_env=False).status_code, 200, path)
        self.assertIn('data-root="/"', self.guest.get("/").text)


class PathTest(SimpleTestCase):
    def test_the_prefix_is_taken_off_once(self) -> None:
        cases = {
            "/chat": {"/chat": "/", "/chat/": "/", "/chatter": "/chatter", "/chat/v1/models": "/v1/models"},
            "/apps/chat": {"/apps/chat/docs": "/docs", "/apps/chatter": "/apps/chatter", "/apps": "/apps"},
            "": {"/chat/v1": "/chat/v1", "/": "/", "": ""},
        }
        if "openai_v1" in DIALECTS:
            cases["/v1"] = {"/v1/models": "/v1/models", "/v1/v1/models": "/v1/models"}
        if "chat" in DIALECTS:
            cases["/chat"] |= {
                "/chat/chat/conversation": "/chat/conversation",
                "/chat/conversation/": "/chat/conversation/",
            }
        for prefix, paths in cases.items():
            with override_settings(URL_PREFIX=prefix):
                for path, ours in paths.items():
                    self.assertEqual(url_prefix.without(path), ours, f"{prefix}: {path}")
