"""The base class of browser tests: a new context per test, and a final check of what no page may ever do."""

from __future__ import annotations

import contextlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.test import Client
from playwright._impl._api_structures import SetCookieParam
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, expect

from accounts.models import User
from chatservice.testing import ServiceTestCase
from tests.staff import REASON

RESULTS = Path(settings.BASE_DIR) / "test-results"
WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
# Browser messages about cut or refused requests; a test that causes these on purpose ignores them.
NETWORK_NOISE = re.compile(
    r"Failed to load resource|net::ERR_|WebSocket connection to|status of 4\d\d|blocked by CORS policy"
)

expect.set_options(timeout=10_000)


class BrowserTestCase(ServiceTestCase):
    """`self.page` is a page in a fresh context.

    At the end of a test, no other host may have been contacted, no dialog opened, no script failed and no
    Content-Security-Policy violated. Set `network_may_fail` if the test cuts connections.
    """

    browser: Browser
    viewport: dict[str, int] = WIDE
    options: dict[str, Any] = {}
    network_may_fail = False
    home = ""

    def setUp(self) -> None:
        super().setUp()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context = self.new_context()
        self.page = self.context.new_page()

    def new_context(self, **options: Any) -> BrowserContext:
        """Open one more browser profile: no cookies, no storage."""
        wanted: dict[str, Any] = {
            "base_url": self.service.url,
            "viewport": self.viewport,
            "color_scheme": "light",
            "reduced_motion": "reduce",
            **self.options,
            **options,
        }
        context = self.browser.new_context(**wanted)
        context.set_default_timeout(10_000)
        context.on("request", self._note_request)
        context.on("page", self._watch)
        self.addCleanup(context.close)
        return context

    def _watch(self, page: Page) -> None:
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("dialog", self._note_dialog)
        page.on("websocket", lambda socket: self.requests.append(socket.url))

    def _note_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        noise = self.network_may_fail and NETWORK_NOISE.search(message.text)
        if message.type in ("error", "warning") and not noise:
            self.complaints.append(f"console: {message.text}")

    def tearDown(self) -> None:
        failed = self._outcome is not None and not self._outcome.success
        if failed:
            for number, page in enumerate(page for context in self.browser.contexts for page in context.pages):
                with contextlib.suppress(Exception):
                    print(f"--- shown at {page.url}:\n{page.inner_text('body')[-1_500:]}")
                    self.shot(f"failed-{self.id().rpartition('.')[2]}-{number}", page)
            print("--- the browser's complaints:", *self.complaints, sep="\n")
        else:
            self.assertEqual(self.complaints, [])
            self.assertEqual(self.elsewhere(), [])
        super().tearDown()

    def elsewhere(self) -> list[str]:
        """Return the URLs requested from any other host."""
        homes = {urlsplit(url).netloc for url in (self.service.url, self.home)}
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob", "about") and urlsplit(url).netloc not in homes
        ]

    def sign_in(self, user: User, context: BrowserContext | None = None) -> None:
        """Give a browser the session of a signed-in user."""
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        value = client.cookies[name].value
        cookie = SetCookieParam(
            name=name, value=value, url=self.home or self.service.url, httpOnly=True, sameSite="Lax"
        )
        (context or self.context).add_cookies([cookie])

    def give_reason(self, button: str) -> None:
        """Say why what users said is to be read, and go on with `button`."""
        self.page.get_by_label("Why do you need to read this?").fill(REASON)
        self.page.get_by_role("button", name=button).click()

    def shot(self, name: str, page: Page | None = None) -> Path:
        """Save a screenshot of the visible part in test-results/."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.png"
        (page or self.page).screenshot(path=path, animations="disabled")
        return path

    def assert_accessible(
        self, page: Page | None = None, *, moderate: bool = False, without: tuple[str, ...] = ()
    ) -> None:
        """Fail on problems that axe rates serious or critical, and on all if `moderate`; `without` names rules."""
        looked_at = page or self.page
        # During a transition a colour is neither the old nor the new one.
        looked_at.evaluate(
            "Promise.allSettled(document.getAnimations()"
            ".filter(each => each instanceof CSSTransition).map(each => each.finished))"
        )
        looked_at.evaluate(axe_source())
        # Preloading, axe itself would add styles, which the policy of our pages forbids.
        found = looked_at.evaluate("axe.run({resultTypes: ['violations'], preload: false})")
        serious = [
            f"{each['id']} ({each['impact']}): {each['help']}\n    "
            + "\n    ".join(f"{node['html'][:160]} {node.get('failureSummary', '')}" for node in each["nodes"][:4])
            for each in found["violations"]
            if each["id"] not in without and (moderate or each["impact"] in ("serious", "critical"))
        ]
        self.assertFalse(serious, "\n".join(serious))


@cache
def axe_source() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
