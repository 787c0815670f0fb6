"""The pages under a path, behind a proxy that removes it: nothing is asked for outside of it."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import expect

from chatservice.testing import needs_dialect, running_service, tried_once, wait_until
from tests.browser.chatting import HELD, ChatCase
from tests.browser.test_imports import SAMPLES
from tests.nginx import USUAL_HEADERS, nginx

HEADERS = {**USUAL_HEADERS, "Upgrade": "$http_upgrade", "Connection": "upgrade"}


@tried_once
class PrefixTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        service = self.enterContext(running_service(URL_PREFIX="/chat", TRUSTED_PROXIES="1", ADMIN_ENABLED="true"))
        front = nginx(service.url, headers=HEADERS, path="/chat/", strips=True, location="proxy_http_version 1.1;")
        self.home = self.enterContext(front)
        self.user = self.carol.user
        self.sign_in(self.user)

    def goto(self, path: str) -> None:
        self.page.goto(f"{self.home}/chat/{path}")

    def socket_url(self) -> str:
        return f"{self.home.replace('http', 'ws', 1)}/chat/ws/chat"

    def test_every_page_works_there(self) -> None:
        needs_dialect("websocket", "chat_v1")
        self.page.add_init_script(f"localStorage.setItem('model', '\"{HELD}\"')")
        self.goto("")
        self.is_ready()
        self.ask("Hello there")
        self.says_a_part()
        wait_until(lambda: self.socket_url() in self.requests, what="a websocket")
        self.release()
        self.is_answered()
        self.page.reload()
        expect(self.page.locator("article.mine")).to_contain_text("Hello there")

        self.page.get_by_role("link", name="Admin").click()
        expect(self.page.get_by_role("heading", name="Site administration")).to_be_visible()
        self.page.get_by_role("link", name="View site").click()
        self.is_ready()
        self.page.get_by_role("link", name="Profile").click()
        expect(self.page.locator("#name")).to_have_text(self.user.username)
        self.page.get_by_label("File to import").set_input_files(SAMPLES / "canvas.json")
        self.page.get_by_role("button", name="Import", exact=True).click()
        expect(self.page.locator("#import-state")).to_contain_text("is finished")
        self.goto("docs")
        expect(self.page.locator(".servers option").first).to_contain_text("/chat")
        self.goto("graphql")
        expect(self.page.get_by_label("Key")).to_have_attribute("placeholder", f"empty: {self.user.username}")
        for operation, told in (
            ("{ me { username } }", self.user.username),
            ('subscription { answer(content: "Hello") { cursor } }', "cursor"),
        ):
            self.page.get_by_label("Query").fill(operation)
            self.page.get_by_role("button", name="Run").click()
            expect(self.page.locator("#answer")).to_contain_text(told)

        self.goto("")
        self.is_ready()
        self.page.get_by_role("button", name="Sign out").click()
        self.page.wait_for_url("**/chat/login?next=%2Fchat%2F")
        self.assertFalse([url for url in self.requests if not urlsplit(url).path.startswith("/chat/")])
