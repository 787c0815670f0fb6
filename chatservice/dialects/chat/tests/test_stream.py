"""The stream as EventSource uses it: EventSource reconnects by itself, which must not cost a second answer."""

from __future__ import annotations

import json
import threading
import uuid

import httpx2

from chatservice.dialects.chat.tests.chatting import ask, read, read_until, start, text_of
from chatservice.testing import ServiceTestCase, second_service, sse_events, tried_once, wait_until
from conversations.models import Message

SLOW = "fake/slow:20ms:40"
HELD = "fake/held:20ms:40"


@tried_once
class StreamTest(ServiceTestCase):
    def asked(self, marker: str) -> list:
        """The completions requested from the upstream with `marker` among their messages."""
        return self.upstream.asked(marker)

    def answers_in(self, path: str) -> int:
        return Message.objects.of(uuid.UUID(path.rsplit("/", 1)[1])).answers().count()

    def test_the_stream_says_what_is_stored(self):
        path = start(self.alice.http)
        text = text_of(read(self.alice.http, path, model="fake/ok"))
        self.assertEqual(text, "Hello wörld 🙂!")
        self.assertEqual(self.alice.http.get(f"{path}/messages").json()[1]["content"], text)

    def test_newlines_and_leading_spaces_survive(self):
        path = start(self.alice.http, " a\n\n  b\n")
        text = text_of(read(self.alice.http, path, model="echo"))
        self.assertEqual(text, self.alice.http.get(f"{path}/messages").json()[1]["content"])
        self.assertIn("a\n\n  b", text)

    def test_an_answered_question_gets_204_and_is_not_answered_again(self):
        path = start(self.alice.http)
        events = read(self.alice.http, path, model="fake/ok")
        for headers in ({}, {"Last-Event-ID": events[-1]["id"]}):
            response = self.alice.http.get(f"{path}/stream", headers=headers)
            self.assertEqual((response.status_code, response.content), (204, b""))
        self.assertEqual(self.answers_in(path), 1)

    def test_an_answer_without_text_ends_with_an_event_that_says_why(self):
        for model, code, content in (("refusal", "refusal", "I cannot."), ("reasoning-only", "reasoning_only", "")):
            path = start(self.alice.http)
            [last] = read(self.alice.http, path, model=f"fake/{model}")
            opening = {"id": f"{last['id'].partition('.')[0]}.0.0"}
            self.assertEqual((last["event"], json.loads(last["data"])["code"]), ("empty", code))
            for seen, status in ((opening, 200), (last, 204)):
                again = self.alice.http.get(f"{path}/stream", headers={"Last-Event-ID": seen["id"]})
                self.assertEqual((again.status_code, "event: empty" in again.text), (status, status == 200))
            listed = self.alice.http.get(f"{path}/messages").json()[1]
            self.assertEqual((listed["content"], listed["emptyReason"]), (content, code))
            self.assertEqual(self.answers_in(path), 1)

    def test_the_same_message_id_is_the_same_answer_whatever_was_said_since(self):
        path = start(self.alice.http)
        before = len(self.upstream.posts)
        asked = {"model": "fake/ok", "client_message_id": "m-1"}
        first = self.alice.http.get(f"{path}/stream", params=asked)
        ask(self.alice.http, path, "And now?")
        again = self.alice.http.get(f"{path}/stream", params=asked)
        self.assertEqual((again.status_code, again.headers["x-run-id"]), (200, first.headers["x-run-id"]))
        self.assertEqual(text_of(sse_events(again.text)), text_of(sse_events(first.text)))
        self.assertEqual(len(self.upstream.posts), before + 1)
        other = self.alice.http.get(f"{path}/stream", params={**asked, "model": "fake/tools"})
        self.assertEqual((other.status_code, other.json()["error"]["code"]), (422, "idempotency_mismatch"))
        for key in ("", "a b", "x" * 256):
            refused = self.alice.http.get(f"{path}/stream", params={"client_message_id": key})
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (400, "invalid_idempotency_key"))

    def test_an_empty_conversation_gets_204(self):
        self.assertEqual(self.alice.http.get(f"{start(self.alice.http, '')}/stream").status_code, 204)

    def test_a_reader_that_comes_back_during_the_run_misses_nothing(self):
        path = start(self.alice.http, "coming back early")
        first = read_until(self.alice.http, path, 30, model=SLOW)
        rest = read(self.alice.http, path, after=first[-1]["id"], model=SLOW)
        self.assertEqual(text_of(first) + text_of(rest), "token " * 40)
        self.assertEqual(len(self.asked("coming back early")), 1)

    def test_a_reader_that_comes_back_after_the_run_gets_what_it_missed_then_204(self):
        path = start(self.alice.http, "coming back late")
        first = read_until(self.alice.http, path, 30, model=SLOW)
        wait_until(lambda: len(self.alice.http.get(f"{path}/messages").json()) == 2, what="the end of the answer")
        rest = read(self.alice.http, path, after=first[-1]["id"], model=SLOW)
        self.assertEqual(text_of(first) + text_of(rest), "token " * 40)
        last = self.alice.http.get(f"{path}/stream", headers={"Last-Event-ID": rest[-1]["id"]})
        self.assertEqual(last.status_code, 204)
        self.assertEqual(len(self.asked("coming back late")), 1)

    def test_a_reader_without_a_cursor_joins_the_run_from_its_start(self):
        path = start(self.alice.http, "joining")
        read_until(self.alice.http, path, 30, model=HELD)
        joined = read_until(self.alice.http, path, 30, model=HELD)
        self.upstream.release("joining")
        rest = read(self.alice.http, path, after=joined[-1]["id"], model=HELD)
        self.assertEqual(text_of(joined) + text_of(rest), "token " * 40)
        self.assertEqual(len(self.asked("joining")), 1)

    def test_parallel_streams_are_billed_once_and_read_the_same(self):
        path = start(self.alice.http, "all at once")
        barrier, begun = threading.Barrier(12), threading.Semaphore(0)
        texts: list[str] = []

        def follow() -> None:
            barrier.wait()
            with self.alice.http.stream("GET", f"{path}/stream", params={"model": HELD}) as response:
                pieces = response.iter_text()
                first = next(pieces)
                begun.release()
                texts.append(text_of(sse_events(first + "".join(pieces))))

        threads = [threading.Thread(target=follow) for _ in range(12)]
        for thread in threads:
            thread.start()
        self.assertTrue(all(begun.acquire(timeout=30) for _ in threads))
        self.upstream.release("all at once")
        for thread in threads:
            thread.join(30)
        self.assertEqual(texts, ["token " * 40] * 12)
        self.assertEqual(len(self.asked("all at once")), 1)
        self.assertEqual(self.answers_in(path), 1)

    def test_parallel_streams_of_an_instant_answer_are_billed_once(self):
        path = start(self.alice.http, "in no time")
        barrier = threading.Barrier(12)
        statuses: list[int] = []

        def follow() -> None:
            barrier.wait()
            for _ in range(3):
                statuses.append(self.alice.http.get(f"{path}/stream", params={"model": "fake/ok"}).status_code)

        threads = [threading.Thread(target=follow) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(len(statuses), 36)
        self.assertLessEqual(set(statuses), {200, 204})
        self.assertEqual(len(self.asked("in no time")), 1)

    def test_streams_on_two_processes_are_billed_once(self):
        other = second_service()
        elsewhere = httpx2.Client(base_url=other.url, headers=self.alice.headers, timeout=30, trust_env=False)
        with elsewhere:
            # The quick answers end while other clients still check whether there is an answer.
            for number, model in enumerate(["fake/slow:5ms:20", *["fake/ok"] * 20]):
                marker = f"two houses, number {number} of them"
                path = start(self.alice.http, marker)
                barrier = threading.Barrier(8)
                statuses: list[int] = []

                def follow(http: httpx2.Client, address: str = f"{path}/stream?model={model}") -> None:
                    barrier.wait()  # noqa: B023
                    statuses.append(http.get(address).status_code)  # noqa: B023

                clients = [self.alice.http, elsewhere] * 4
                threads = [threading.Thread(target=follow, args=(http,)) for http in clients]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
                self.assertEqual(len(statuses), 8)
                self.assertLessEqual(set(statuses), {200, 204})
                self.assertEqual(len(self.asked(marker)), 1)
                self.assertEqual(self.answers_in(path), 1)

    def test_a_reset_in_the_middle_of_many_answers_always_succeeds(self):
        for _ in range(8):
            path = start(self.alice.http, "reset me")
            read_until(self.alice.http, path, 6, model="fake/slow:1ms:4000")
            self.assertEqual(self.alice.http.delete(path).status_code, 200)
            self.assertEqual(self.alice.http.get(f"{path}/messages").json(), [])

    def test_a_message_sent_during_the_answer_is_answered_by_the_next_stream(self):
        path = start(self.alice.http, "first question")
        first = read_until(self.alice.http, path, 30, model=HELD)
        ask(self.alice.http, path, "second question")
        self.upstream.release("first question")
        rest = read(self.alice.http, path, after=first[-1]["id"], model=HELD)
        self.assertEqual(text_of(first) + text_of(rest), "token " * 40)
        self.assertEqual(text_of(read(self.alice.http, path, after=rest[-1]["id"], model="fake/ok")), "Hello wörld 🙂!")
        roles = [message["role"] for message in self.alice.http.get(f"{path}/messages").json()]
        self.assertEqual(roles, ["user", "assistant", "user", "assistant"])

    def test_a_failure_before_the_first_word_has_its_own_status_and_can_be_tried_again(self):
        path = start(self.alice.http)
        failed = self.alice.http.get(f"{path}/stream", params={"model": "fake/http-500"})
        self.assertEqual(failed.status_code, 502)
        self.assertEqual(set(failed.json()["error"]), {"code", "message", "request_id"})
        self.assertEqual(len(self.alice.http.get(f"{path}/messages").json()), 1)
        self.assertEqual(text_of(read(self.alice.http, path, model="fake/ok")), "Hello wörld 🙂!")

    def test_a_failure_during_the_stream_is_an_error_event_and_never_asked_again_by_itself(self):
        path = start(self.alice.http, "breaking off")
        events = read(self.alice.http, path, model="fake/truncated")
        self.assertEqual(text_of(events), "Hello")
        self.assertEqual(events[-1]["event"], "error")
        self.assertIn("upstream_truncated", events[-1]["data"])
        again = read(self.alice.http, path, after=events[-2]["id"])
        self.assertEqual([event.get("event") for event in again], ["error"])
        for headers in ({"Last-Event-ID": events[-1]["id"]}, {}):
            self.assertEqual(self.alice.http.get(f"{path}/stream", headers=headers).status_code, 204)
        self.assertEqual(len(self.asked("breaking off")), 1)
        self.assertEqual(self.alice.http.get(f"{path}/messages").json()[1]["content"], "Hello")

    def test_a_bad_cursor_is_refused_before_any_header_of_a_stream(self):
        path = start(self.alice.http)
        mine = read(self.alice.http, path, model="fake/ok")[-1]["id"]
        for cursor in ("-1", "1e9", "../x", "x" * 10_000, mine + "0" * 12, "%00"):
            response = self.alice.http.get(f"{path}/stream", headers={"Last-Event-ID": cursor})
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "bad_cursor"), cursor[:20])

    def test_a_cursor_of_another_conversation_is_unknown(self):
        theirs = read(self.bob.http, start(self.bob.http), model="fake/ok")[-1]["id"]
        path = start(self.alice.http)
        response = self.alice.http.get(f"{path}/stream", headers={"Last-Event-ID": theirs})
        self.assertEqual(response.status_code, 404)
        self.assertEqual(self.answers_in(path), 0)

    def test_a_reset_stops_the_answer_and_its_upstream(self):
        path = start(self.alice.http, "to be stopped")
        read_until(self.alice.http, path, 12, model="fake/slow:50ms:600")
        self.assertEqual(self.alice.http.delete(path).status_code, 200)
        [post] = self.asked("to be stopped")
        wait_until(lambda: post.hung_up is not None, timeout=1, what="the upstream's hang-up")
        self.assertEqual(self.alice.http.get(f"{path}/messages").json(), [])
        self.assertEqual(self.alice.http.get(f"{path}/stream").status_code, 204)
        ask(self.alice.http, path, "and now?")
        self.assertEqual(text_of(read(self.alice.http, path, model="fake/ok")), "Hello wörld 🙂!")
