"""Text written in a user's tab never becomes anybody else's: not a guest's, not the next user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Route, WebSocket, expect

from accounts.models import User
from chatservice.testing import needs_dialect, tried_once, wait_until
from completions.models import Run
from tests.browser.chatting import HELD, flat
from tests.browser.identity import IdentityCase
from tests.browser.line import Line

# This answer takes a minute, longer than any test here.
WRITING = "fake/slow:50ms:1200"


@tried_once
class RequestTest(IdentityCase):
    """The user presses Enter in a tab that does not know of the change."""

    def press_enter_after(self, happening: Callable[[], None], title: str) -> None:
        self.talk("Hello", "Hi there", title="Private plans")
        self.deaf()
        self.open()
        happening()
        self.ask(self.text)
        dialog = self.dialog(title)
        expect(dialog).to_contain_text(self.user.username)
        self.is_kept_and_stored_for_nobody()
        # The page keeps showing the same until Alice decides.
        expect(self.page.get_by_role("link", name="Private plans", include_hidden=True)).to_be_attached()
        self.is_sent_after_signing_in_again()

    def test_after_signing_out_in_another_tab(self) -> None:
        self.press_enter_after(self.sign_out_elsewhere, "You are signed out")

    def test_after_the_browser_dropped_the_cookie(self) -> None:
        self.press_enter_after(self.cookie_runs_out, "You are signed out")

    def test_after_the_session_expired(self) -> None:
        self.press_enter_after(self.session_runs_out, "You are signed out")

    def test_after_the_account_was_deactivated(self) -> None:
        self.press_enter_after(self.account_is_deactivated, "You are signed out")

    def test_after_somebody_else_signed_in(self) -> None:
        self.press_enter_after(self.bob_signs_in_elsewhere, f"You are signed in as {self.bob.user.username}")

    def test_whoever_goes_on_instead_is_given_nothing_of_it(self) -> None:
        for happening, button in (
            (self.bob_signs_in_elsewhere, f"Reload as {self.bob.user.username}"),
            (self.cookie_runs_out, "Continue as a guest"),
        ):
            with self.subTest(button):
                self.sign_in(self.user)
                self.talk("Hello", "Hi there", title="Private plans")
                self.deaf()
                self.open()
                happening()
                self.ask(self.text)
                self.page.get_by_role("alertdialog").get_by_role("button", name=button).click()
                expect(self.page.get_by_role("link", name="Private plans")).to_have_count(0)
                self.is_ready()
                expect(self.field()).to_have_value("")
                self.assertNotIn(self.text, self.page.content())
                self.is_stored_for_nobody()

    def test_what_was_on_its_way_when_the_page_was_left_does_not_go_out_as_a_guests(self) -> None:
        self.deaf()
        self.open()
        held: list[Route] = []

        def hold_the_first(route: Route) -> None:
            if self.text in (route.request.post_data or "") and not held:
                held.append(route)
            else:
                route.continue_()

        self.page.route("**/graphql", hold_the_first)
        with self.page.expect_request(lambda request: self.text in (request.post_data or "")):
            self.ask(self.text)
        self.cookie_runs_out()
        self.open()
        expect(self.page.get_by_text("You are a guest")).to_be_visible()
        expect(self.field()).to_have_value("")
        self.is_stored_for_nobody()
        self.sign_in(self.user)
        self.open()
        self.is_answered()  # the page continues by itself, because nobody has answered yet
        self.assertEqual(self.owners(), [self.user.pk])

    def test_a_changed_message_is_kept_too(self) -> None:
        talk = self.talk("Hello", "Hi there")
        self.deaf()
        self.open(f"/#{talk.pk}")
        self.page.get_by_role("button", name="Edit message").click()
        self.cookie_runs_out()
        editor = self.page.get_by_role("textbox", name="Edit message")
        editor.fill(self.text)
        editor.press("Enter")
        dialog = self.dialog("You are signed out")
        self.is_stored_for_nobody()
        dialog.get_by_role("button", name="Not now").click()
        expect(editor).to_have_value(self.text)
        expect(self.page.get_by_text("Hi there")).to_be_visible()
        editor.press("Enter")
        self.dialog("You are signed out").get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/login?next=**")
        self.sign_in_by_form(self.user, self.page)
        expect(editor).to_have_value(self.text)
        editor.press("Enter")
        self.is_answered()
        self.assertEqual(self.owners(), [self.user.pk])

    def test_the_same_user_again_goes_on_where_the_tab_was_left(self) -> None:
        self.deaf()
        self.open()
        self.sign_out_elsewhere()
        self.sign_in_by_form(self.user)
        self.ask(self.text)
        self.is_answered()
        expect(self.page.get_by_role("alertdialog")).to_have_count(0)
        self.assertEqual(self.owners(), [self.user.pk])


@tried_once
class SocketTest(IdentityCase):
    """The same during an answer by websocket, without a key press and without messages from other tabs."""

    def setUp(self) -> None:
        super().setUp()
        self.sockets: list[WebSocket] = []
        self.frames: list[str] = []
        self.page.on("websocket", self._note_socket)

    def _note_socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framereceived", lambda payload: self.frames.append(str(payload)))

    def open_by_a_line(self) -> Line:
        """Put the tab behind a line that the test can cut."""
        line = Line(self.service.port)
        self.addCleanup(line.close)
        self.context = self.new_context(base_url=line.url)
        self.home = line.url
        self.sign_in(self.user)
        self.page = self.context.new_page()
        return line

    def begin(self) -> None:
        self.deaf()
        self.open(model=WRITING)
        self.ask("Take your time")
        self.says_a_part()
        self.field().fill(self.text)

    def socket_is_closed_after(self, happening: Callable[[], None], title: str) -> None:
        self.begin()
        run = Run.objects.get(conversation__owner=self.user)
        happening()
        self.dialog(title)
        self.is_kept_and_stored_for_nobody()
        self.assertTrue(all(socket.is_closed() for socket in self.sockets))
        # The tab also cannot open a new socket for the user who is signed in now.
        told = self.page.evaluate(OPEN_SOCKET, f"user.{self.user.pk}")
        self.assertEqual(told["code"], 4401)
        self.assertIn(told["told"], (["identity_changed"], ["unauthorized"]))
        # The tab gets no further frames, although the answer continues.
        heard = len(self.frames)
        shown = self.shown(self.answers().last)
        run.refresh_from_db()
        self.assertEqual(run.state, Run.State.RUNNING)
        self.assertEqual((len(self.frames), self.shown(self.answers().last)), (heard, shown))
        self.page.get_by_role("alertdialog").get_by_role("button", name="Not now").click()
        self.page.get_by_role("button", name="Stop the answer").click()
        self.dialog(title)
        run.refresh_from_db()
        self.assertEqual(run.state, Run.State.RUNNING)
        User.objects.filter(pk=self.user.pk).update(is_active=True)
        self.alice.http.post("/graphql", json={"query": f'mutation {{ stopRun(runId: "{run.pk}") {{ id }} }}'})
        self.is_sent_after_signing_in_again()

    def test_after_signing_out_in_another_tab(self) -> None:
        self.socket_is_closed_after(self.sign_out_elsewhere, "You are signed out")

    def test_after_the_session_expired(self) -> None:
        self.socket_is_closed_after(self.session_runs_out, "You are signed out")

    def test_after_the_account_was_deactivated(self) -> None:
        """Deactivating the account also stops the answer."""
        self.begin()
        run = Run.objects.get(conversation__owner=self.user)
        self.account_is_deactivated()
        self.dialog("You are signed out")
        self.is_kept_and_stored_for_nobody()
        self.assertTrue(all(socket.is_closed() for socket in self.sockets))
        run.refresh_from_db()
        self.assertEqual(run.state, Run.State.CANCELLED)
        User.objects.filter(pk=self.user.pk).update(is_active=True)
        self.is_sent_after_signing_in_again()

    def test_after_somebody_else_signed_in(self) -> None:
        self.socket_is_closed_after(self.bob_signs_in_elsewhere, f"You are signed in as {self.bob.user.username}")

    def test_an_event_stream_that_comes_back_to_somebody_else_is_refused(self) -> None:
        needs_dialect("websocket")
        line = self.open_by_a_line()
        self.page.route_web_socket("**/ws/chat", lambda socket: socket.close())
        self.begin()
        wait_until(lambda: any("/stream" in url for url in self.requests), what="the event stream")
        line.cut()
        self.cookie_runs_out()
        line.mend()
        self.dialog("You are signed out")
        self.is_kept_and_stored_for_nobody()

    def test_a_line_that_comes_back_to_somebody_else_brings_nothing_and_takes_nothing(self) -> None:
        line = self.open_by_a_line()
        self.deaf()
        self.open()
        self.ask("First")
        self.is_answered()
        line.cut()
        self.ask(self.text)  # the page retries until the line is back
        expect(self.page.locator("#status")).to_have_text("No connection. Trying again.")
        self.cookie_runs_out()
        line.mend()
        self.dialog("You are signed out")
        self.is_kept_and_stored_for_nobody()
        self.is_sent_after_signing_in_again()

    def test_the_answer_goes_on_in_the_tab_once_its_user_is_signed_in_again_elsewhere(self) -> None:
        needs_dialect("websocket")
        self.open(model=HELD)
        self.ask("Take your time")
        self.says_a_part()
        self.sign_out_elsewhere()
        self.dialog("You are signed out")
        self.sign_in_by_form(self.user)
        expect(self.page.get_by_role("alertdialog")).to_have_count(0)
        self.release()
        self.is_answered()
        self.assertEqual(self.shown(self.answers().last), flat(self.stored()[-1].content))


OPEN_SOCKET: Any = """(user) => new Promise((done) => {
  const told = [];
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/chat", ["chat.v1", user]);
  socket.onmessage = (event) => told.push(JSON.parse(event.data).data.code);
  socket.onclose = (event) => done({ code: event.code, told });
})"""
