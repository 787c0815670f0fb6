"""Asking and reading the answer: live, after a refresh, after a cut, in two tabs, stopped, failed, retried."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import Route, expect

from chatservice.testing import needs_dialect, tried_once, wait_until
from completions.models import Run
from conversations.models import Message
from tests.browser.chatting import HELD, ChatCase, flat
from tests.browser.line import Line

RECITED = "fake/recited:1ms:40"
RICH = """## A *heading*

A paragraph with **bold**, `code`,
a [link](https://a.example) and [later][].

- one
- **two**

  with more

1. first
   - nested

```python
def area(r):

    return 3 * r * r
```

| a | b |
|---|--:|
| one | **2** |

> said, and \\(not\\) so

This paragraph is open
"""

COUNT_ADDED = """
let records = [];
window.mostOfFrame = 0;
const observer = new MutationObserver((found) => records.push(...found));
addEventListener("DOMContentLoaded", () => {
  observer.observe(document.getElementById("messages"), { childList: true, subtree: true });
});
requestAnimationFrame(function count() {
  const added = new Set();
  for (const node of [...records, ...observer.takeRecords()].flatMap(({ addedNodes }) => [...addedNodes])) {
    if (!node.isConnected || node.nodeType !== Node.ELEMENT_NODE) continue;
    for (const each of [node, ...node.querySelectorAll("*")]) added.add(each);
  }
  records = [];
  window.mostOfFrame = Math.max(mostOfFrame, added.size);
  requestAnimationFrame(count);
});
"""
"""Finds how many elements were added to the messages between two frames, at most."""


@tried_once
class AnswerTest(ChatCase):
    def assert_shown_is_stored(self) -> None:
        """Fail unless the page shows the whole stored answer once, and the upstream was asked for it once."""
        answer = self.stored()[-1]
        self.assertEqual(answer.status, Message.Status.COMPLETE)
        self.assertEqual(self.shown(self.answers().last), flat(answer.content))
        self.assertEqual(Run.objects.filter(conversation=self.conversation()).count(), 1)

    def test_a_first_answer(self) -> None:
        self.open()
        self.ask("What is **this**?")
        self.is_answered()
        self.says("You wrote:")
        self.assert_shown_is_stored_as_markdown()
        talk = self.conversation()
        self.assertTrue(self.page.url.endswith(f"/#{talk.pk}"))
        expect(self.page).to_have_title(f"{talk.title} · Chat")
        link = self.page.get_by_role("navigation").get_by_role("link", name=talk.title)
        expect(link).to_have_attribute("aria-current", "page")

    def assert_shown_is_stored_as_markdown(self) -> None:
        expect(self.page.locator("article.mine strong")).to_have_text("this")
        self.assertEqual([row.role for row in self.stored()], ["user", "assistant"])

    def test_an_answer_without_text_says_why_live_and_later(self) -> None:
        for model, sentence in (
            ("fake/refusal", "The model refused."),
            ("fake/reasoning-only", "The model only reasoned and reached the token limit."),
            ("fake/nothing", "The model gave an empty answer."),
        ):
            page = self.context.new_page()
            self.open(page=page, model=model)
            self.ask("Well?", page)
            expect(page.locator("article.theirs .state")).to_contain_text(sentence)
            page.reload()
            self.is_ready(page)
            expect(page.locator("article.theirs .state")).to_contain_text(sentence)
            page.close()

    def test_an_answer_that_was_cut_says_so_live_and_later_and_is_continued(self) -> None:
        self.open(model="fake/nothing:length:half a")
        self.ask("Go on")
        state = self.page.locator("article.theirs .state")
        expect(state).to_contain_text("The answer reached the token limit.")
        self.page.reload()
        self.is_ready()
        expect(state).to_contain_text("The answer reached the token limit.")
        state.get_by_role("button", name="Continue").click()
        self.says("half ahalf a")
        self.is_answered()
        expect(self.page.get_by_text("2/2")).to_be_visible()
        self.assertEqual([row.content for row in self.stored()[1:]], ["half a", "half ahalf a"])

    def test_a_failed_answer_says_what_happened_and_what_to_do(self) -> None:
        broken = "The answer broke off. The model's server ended the answer early. Try again, or choose another model."
        busy = "The model's server is receiving too many requests. "
        long = "The conversation is too long for this model. Begin a new chat, or choose a model that reads more."
        for model, live, later, continued in (
            ("fake/truncated", broken, broken, 1),
            ("fake/429:110", f"{busy}Try again in 2 min.", f"{busy}Try again in 2 min.", 0),
            ("fake/context-length", long, long, 0),
            ("fake/gone", "The model's server does not know this model. Choose another one.", "", 0),
        ):
            page = self.context.new_page()
            page.clock.install()
            self.open(page=page, model=model)
            self.ask("Well?", page)
            state = page.locator("article.theirs .state")
            expect(state.locator("span")).to_have_text(live)
            expect(page.locator("#status")).to_have_text(live)
            expect(state.get_by_role("button", name="Continue")).to_have_count(continued)
            expect(state.get_by_role("button", name="Try again")).to_be_visible()
            if later:
                page.reload()
                expect(state.locator("span")).to_have_text(later)
            if "2 min" in later:
                page.clock.fast_forward("01:55")
                expect(state.locator("span")).to_have_text(f"{busy}Try again.")
            page.close()

    def test_what_a_model_thinks_is_folded_while_it_does_and_later(self) -> None:
        needs_dialect("websocket")
        self.open(model="fake/thinking")
        self.ask("Well?")
        thought = self.page.locator("article.theirs .thought")
        expect(thought.locator(".thoughts")).to_be_hidden()
        expect(thought.locator("summary")).to_contain_text("Thinking…")
        thought.locator("summary").click()
        expect(thought.locator(".thoughts")).to_have_text("Let me ")
        self.network_may_fail = True
        for _ in range(2):  # by websocket, and without
            self.page.reload()  # in the middle of it
            self.is_ready()
            expect(thought.locator(".thoughts")).to_have_text("Let me ")
            self.page.route_web_socket("**/ws/chat", lambda socket: socket.close())
        thought.locator("summary").click()
        wait_until(lambda: "2 s" in (thought.locator("summary").text_content() or ""), what="two seconds")
        self.release()
        self.is_answered()
        expect(thought.locator(".thoughts")).to_be_visible()  # as it was left
        run = Run.objects.get(conversation=self.conversation())
        for _ in range(2):
            expect(thought.locator(".thoughts")).to_have_text("Let me think.")
            expect(thought.locator("summary")).to_have_text(f"Thought for {round(run.reasoning_seconds or 0)} s")
            self.page.reload()
            self.is_ready()
        self.assertGreaterEqual(run.reasoning_seconds or 0, 2)

    def test_a_tool_call_is_shown_as_one_live_and_later(self) -> None:
        self.open(model="fake/tools")
        self.ask("How is the weather?")
        call = self.page.get_by_role("region", name="Tool call: weather")
        for _ in range(2):
            expect(call.locator("pre")).to_have_text('{\n  "city": "Paris"\n}')
            expect(self.page.locator("article.theirs .state")).to_have_count(0)
            self.assert_accessible()
            self.page.reload()
            self.is_ready()

    def test_an_answer_that_is_being_written_is_followed_by_websocket(self) -> None:
        needs_dialect("websocket")
        self.open(model=HELD)
        self.ask("Take your time")
        self.says_a_part()
        self.assertIn(self.service.websocket_url, self.requests)
        self.release()
        self.is_answered()
        self.assert_shown_is_stored()
        self.assertFalse([url for url in self.requests if "/stream?" in url])

    def test_an_answer_that_is_over_before_the_page_hears_of_its_beginning_is_shown(self) -> None:
        self.open()

        def answer_late(route: Route) -> None:
            if "sendMessage" not in (route.request.post_data or ""):
                return route.continue_()
            route.fetch()
            wait_until(lambda: not Run.objects.running().filter(user=self.user).exists(), what="the end of the answer")
            return route.fulfill(response=route.fetch())  # the same question, with the same key

        self.page.route("**/graphql", answer_late)
        self.ask("Are you quick?")
        self.is_answered()
        self.says("Are you quick?")
        self.assert_shown_is_stored()
        # The answer is complete, so no stream is opened.
        self.assertNotIn(self.service.websocket_url, self.requests)

    def test_a_refresh_in_the_middle_loses_and_repeats_nothing(self) -> None:
        self.open(model=HELD)
        self.ask("Take your time")
        self.says_a_part()
        self.page.reload()
        self.says_a_part()
        expect(self.page.locator("article.writing")).to_be_visible()
        self.release()
        self.is_answered()
        self.assert_shown_is_stored()

    def test_a_line_that_is_cut_in_the_middle_loses_and_repeats_nothing(self) -> None:
        self.network_may_fail = True
        line = Line(self.service.port)
        self.addCleanup(line.close)
        self.context = self.new_context(base_url=line.url)
        self.sign_in(self.user)
        self.page = self.context.new_page()
        self.home = line.url
        self.open(model=HELD)
        self.ask("Take your time")
        self.says_a_part()
        line.cut()
        expect(self.page.get_by_text("Reconnecting")).to_be_visible()
        line.mend()
        self.release()
        self.is_answered()
        expect(self.page.get_by_text("Reconnecting")).to_be_hidden()
        self.assert_shown_is_stored()

    def test_a_question_asked_while_the_line_is_down_is_asked_once_when_it_is_back(self) -> None:
        self.network_may_fail = True
        self.open()
        self.context.set_offline(True)
        self.ask("Can you hear me?")
        expect(self.page.locator("article.mine")).to_be_visible()
        expect(self.page.locator("#status")).to_have_text("No connection. Trying again.")
        self.context.set_offline(False)
        self.is_answered()
        self.assertEqual([row.role for row in self.stored()], ["user", "assistant"])

    def test_a_page_that_is_left_before_it_hears_of_its_question_does_not_ask_it_twice(self) -> None:
        self.network_may_fail = True
        self.open()
        heard: list[int] = []

        def swallow(route: Route) -> None:
            if "sendMessage" in (route.request.post_data or "") and not heard:
                heard.append(route.fetch().status)  # the service got the request, but the page does not learn of it
            else:
                route.continue_()

        self.page.route("**/graphql", swallow)
        self.ask("Did you get this?")
        # Playwright runs its handlers only during calls to the page.
        wait_until(lambda: self.page.evaluate("1") and heard, what="the question on its way")
        self.page.reload()
        self.is_answered()
        self.says("Did you get this?")
        self.assertEqual([row.role for row in self.stored()], ["user", "assistant"])
        self.assert_asked_once()

    def assert_asked_once(self) -> None:
        self.assertEqual(Run.objects.filter(user=self.user).count(), 1)

    def test_without_websockets_the_answer_comes_by_server_sent_events(self) -> None:
        needs_dialect("websocket")
        self.network_may_fail = True
        self.page.route_web_socket("**/ws/chat", lambda socket: socket.close())
        self.open(model=HELD)
        self.ask("Take your time")
        self.says_a_part()
        self.page.reload()
        self.says_a_part()
        self.release()
        self.is_answered()
        self.assert_shown_is_stored()
        self.assertTrue(any("/stream?" in url for url in self.requests))

    def test_two_tabs_see_the_same_answer(self) -> None:
        self.open(model=HELD)
        self.ask("Take your time")
        self.says_a_part()
        expect(self.page.locator("article.writing")).to_be_visible()
        wait_until(lambda: "#" in self.page.url, what="the conversation's address")
        other = self.context.new_page()
        self.open(f"/#{self.conversation().pk}", page=other)
        expect(other.locator("article.writing")).to_be_visible()
        self.release()
        self.is_answered()
        self.is_answered(other)
        self.assert_shown_is_stored()
        self.assertEqual(self.shown(self.answers(other).last), self.shown(self.answers().last))

    def test_what_is_asked_in_one_tab_appears_in_the_other(self) -> None:
        talk = self.talk("One", "Two", title="Shared")
        other = self.context.new_page()
        self.open(f"/#{talk.pk}", page=other)
        self.open(f"/#{talk.pk}")
        self.ask("And three?")
        self.is_answered()
        expect(other.get_by_text("And three?").first).to_be_visible()
        self.is_answered(other)

    def test_stopping_keeps_what_was_said(self) -> None:
        self.open(model=HELD)
        self.ask("Go on and on")
        self.says_a_part()
        self.page.keyboard.press("Escape")
        expect(self.page.locator(".state").first).to_have_text(re.compile("^Stopped."))
        self.is_answered()
        answer = self.stored()[-1]
        self.assertEqual(answer.status, Message.Status.CANCELLED)
        self.assertEqual(self.shown(self.answers().last), flat(answer.content))

    def test_asking_something_else_stops_the_answer_if_one_says_so(self) -> None:
        self.open(model=HELD)
        self.ask("Go on and on")
        self.says_a_part()
        self.page.get_by_label("Model").select_option("")
        self.ask("Rather this")
        expect(self.page.get_by_label("Message", exact=True)).to_have_value("Rather this")
        expect(self.page.locator("article.writing")).to_have_count(1)
        self.page.get_by_role("button", name="Stop it and ask").click()
        self.says("Rather this")
        self.is_answered()
        expect(self.page.locator(".state").first).to_have_text(re.compile("^Stopped."))
        expect(self.page.get_by_label("Message", exact=True)).to_have_value("")
        stopped, answer = [row for row in self.stored() if row.role == Message.Role.ASSISTANT]
        self.assertEqual((stopped.status, answer.status), (Message.Status.CANCELLED, Message.Status.COMPLETE))
        self.assertEqual(self.shown(self.answers().first), flat(stopped.content))

    def test_what_is_offered_stays_under_the_pointer_until_it_is_pressed(self) -> None:
        self.page.clock.install()
        self.open(model=HELD)
        self.ask("Go on and on")
        self.says_a_part()
        self.page.get_by_label("Model").select_option("")
        self.ask("Rather this")
        button = self.page.get_by_role("button", name="Stop it and ask")
        button.hover()
        self.page.clock.fast_forward(14_000)
        self.page.mouse.down()
        self.page.keyboard.press("Control+Shift+C")  # which is told as well, above
        expect(self.page.locator(".toast")).to_have_count(2)
        self.page.mouse.up()
        self.says("Rather this")
        self.is_answered()

    def test_an_answer_that_the_page_does_not_know_of_can_be_stopped_for_a_question(self) -> None:
        self.open()
        self.ask("Begin")
        self.is_answered()
        path = f"/conversations/{self.conversation().pk}/message"
        body = {"message": "From elsewhere", "model": HELD}
        with ThreadPoolExecutor(1) as threads:
            elsewhere = threads.submit(self.alice.http.post, path, json=body)
            wait_until(lambda: self.upstream.asked("From elsewhere"), what="the other question")
            self.ask("Rather this")
            self.page.get_by_role("button", name="Stop it and ask").click()
            self.says("Rather this")
            self.is_answered()
            self.assertEqual(elsewhere.result(10).status_code, 409)

    def test_an_answer_that_failed_says_so_and_can_be_asked_for_again(self) -> None:
        self.open(model="fake/error-mid-stream")
        self.ask("Will this work?")
        state = self.page.locator(".state.failed")
        expect(state).to_be_visible()
        code = Run.objects.get(conversation=self.conversation()).error_code
        expect(state).to_contain_text(code)
        self.page.get_by_label("Model").select_option("")
        state.get_by_role("button", name="Try again").click()
        self.is_answered()
        self.says("You wrote:")
        expect(self.page.get_by_text("2/2")).to_be_visible()

    def test_the_end_of_an_answer_leaves_readers_where_they_are(self) -> None:
        lines = [f"Paragraph {number}, of many" for number in range(120)]
        self.open(model=RECITED)
        self.ask("\n\n".join([*lines[:100], "⏸", *lines[100:]]))
        self.says("Paragraph 99,")
        other = self.context.new_page()
        self.open(f"/#{self.conversation().pk}", page=other)
        self.says("Paragraph 99,", other)
        for page in (self.page, other):
            read = self.answers(page).get_by_text("Paragraph 50,")
            expect(read).to_be_attached()
            read.evaluate("each => each.scrollIntoView({ block: 'center' })")
            expect(page.locator("#to-end")).to_be_visible()
        self.release()
        for page in (self.page, other):
            self.is_answered(page)
            self.says("Paragraph 119,", page)
            expect(self.answers(page).get_by_text("Paragraph 50,")).to_be_in_viewport()
            expect(page.locator("#to-end")).to_be_visible()
        # Nor does what is done in another tab.
        self.page.get_by_label("Model").select_option("")
        self.ask("And now?")
        self.is_answered()
        expect(other.locator("article.theirs:not(.writing)")).to_have_count(2)
        expect(self.answers(other).get_by_text("Paragraph 50,")).to_be_in_viewport()

    def test_an_answer_is_shown_as_a_reload_shows_it_while_it_is_written(self) -> None:
        self.open(model=RECITED)
        self.ask(f"{RICH}⏸{RICH}\n[later]: https://later.example\n")
        self.says("is open")
        body, early = "article.theirs .body", "article.theirs .body > :not(.draft)"
        expect(self.page.locator(early)).to_have_count(7)
        expect(self.page.locator(f"{early} .k")).not_to_have_count(0)
        self.assertNotIn("**", self.shown(self.answers().last))
        self.page.locator(early).evaluate_all("all => all.forEach((each) => (each.isEarly = true))")
        late = self.context.new_page()
        # Whoever is told by it that the answer is over loads the conversation again.
        late.add_init_script("BroadcastChannel.prototype.postMessage = () => {}")
        self.open(f"/#{self.conversation().pk}", page=late)
        expect(late.locator(early)).to_have_count(7)
        shown = [
            page.locator(early).evaluate_all("all => all.map((each) => each.outerHTML)") for page in (self.page, late)
        ]
        self.assertEqual(*shown)
        self.release()
        for page in (self.page, late):
            self.is_answered(page)
            expect(page.locator(".draft")).to_have_count(0)
        expect(self.answers().last.get_by_role("link", name="later")).to_have_count(2)
        # All but the one with the reference that was not known yet.
        self.assertEqual(
            self.page.locator(body).evaluate("body => [...body.children].filter((each) => each.isEarly).length"), 6
        )
        whole = "body => [...body.children].map((each) => each.outerHTML)"
        live = [page.locator(body).evaluate(whole) for page in (self.page, late)]
        self.page.reload()
        expect(self.answers().last.locator(".katex")).to_have_count(2)
        self.assertEqual(live, [self.page.locator(body).evaluate(whole)] * 2)

    def test_a_long_answer_is_whole_and_comes_in_steps_that_nobody_feels(self) -> None:
        times = 50_000 // len(RICH) + 1
        self.page.add_init_script(COUNT_ADDED)
        self.open(model=f"fake/recited:1ms:40:{times}")
        self.ask(f"Well.\n\n⏸{RICH}\n")
        self.says("Well.")
        self.release()
        expect(self.page.locator(".writing, .draft")).to_have_count(0, timeout=60_000)
        expect(self.page.locator("article.theirs h2")).to_have_count(times)

        # Rendering it takes a few times as long as adding it.
        self.assertLess(self.page.evaluate("mostOfFrame"), 900)

    def test_a_question_that_is_refused_stays_in_the_field(self) -> None:
        self.open()
        self.page.route("**/graphql", lambda route: route.fulfill(status=429, json=REFUSED))
        self.network_may_fail = True
        self.ask("Too much")
        expect(self.page.get_by_text("Too many requests. Try again in 7 s.")).to_be_visible()
        expect(self.page.get_by_label("Message", exact=True)).to_have_value("Too much")
        expect(self.page.locator("article")).to_have_count(0)

    def test_a_draft_survives_a_refresh(self) -> None:
        self.open()
        self.page.get_by_label("Message", exact=True).type("Half a thou")
        self.page.reload()
        self.is_ready()
        expect(self.page.get_by_label("Message", exact=True)).to_have_value("Half a thou")


REFUSED = {"errors": [{"message": "Slow down.", "extensions": {"code": "rate_limit_exceeded", "retryAfter": 7}}]}
