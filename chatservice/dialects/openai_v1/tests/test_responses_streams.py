"""A stream that is resumed is the rest of the first one, byte for byte: whenever, on any process, after any end."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from django.utils import timezone

from accounts.services import revoke_api_key
from chatservice.dialects.openai_v1.tests.replay import events_of, frames_of, replay
from chatservice.dialects.openai_v1.tests.responses_case import PATH, ResponsesTestCase, said
from chatservice.testing import Service, running_service, tried_once, wait_until
from completions import services
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from conversations.models import Message

# In an order that no database keeps.
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}]
ASKED = {"tools": TOOLS, "metadata": {"zebra": "1", "a": "2"}, "include": ["message.output_text.logprobs"]}
MODELS = (
    *("fake/ok", "fake/numbered:2ms:40", "fake/reasoning", "fake/tools", "fake/body:calls-at-once", "fake/logprobs"),
    *("fake/refusal", "fake/nothing", "fake/error-mid-stream", "fake/truncated", "fake/usage-on-finish"),
)
ODD = (
    *("bad-utf8", "unknown-fields", "done-then-more", "finish-error", "broken-tools", "json-200", "rich-json", "n2"),
    *("number-content", "negative-usage", "far-choice", "body:lone-half", "body:halves-among-plain", "body:parts"),
    *("body:legacy-call", "body:calls-halves", "body:calls-named-first", "body:thinking-field", "body:error-late"),
    *("body:surrogate.sse", "body:mistral.sse", "body:toolnoindex.sse", "body:whole-as-event", "body:choice-gap"),
    *("body:raw-halves", "body:calls-at-once", "body:reasoning-parts", "huge-text:40000", "body:lines-error"),
)


class StreamsTestCase(ResponsesTestCase):
    def begin(self, model: str, text: str = "Hi", *, url: str = "", **fields: Any) -> dict[str, Any]:
        """Begin a response in the background."""
        body = {"model": model, "input": text, "background": True, **ASKED, **fields}
        answer = self.alice.http.post(f"{url}{PATH}", json=body)
        self.assertEqual(answer.status_code, 200, answer.text)
        response: dict[str, Any] = self.checked(answer)
        self.assertEqual((response["status"], response["background"], response["output"]), ("queued", True, []))
        return response

    def frames(self, response: dict[str, Any], after: int | None = None, *, url: str = "") -> list[str]:
        params = {"stream": "true"} | ({} if after is None else {"starting_after": str(after)})
        answer = self.alice.http.get(f"{url}{PATH}/{response['id']}", params=params)
        self.assertEqual(answer.status_code, 200, answer.text)
        return frames_of(answer.text)

    def assert_resumable(self, response: dict[str, Any], first: list[str], urls: tuple[str, ...] = ("",)) -> None:
        for url in urls:
            for after in range(-1, len(first)):
                given = None if after < 0 else after
                self.assertEqual(self.frames(response, given, url=url), first[after + 1 :] or first[-1:], after)

    def ended(self, response: dict[str, Any]) -> dict[str, Any]:
        def over() -> Any:
            now = self.get(response["id"])
            return now if now["status"] not in ("queued", "in_progress") else None

        return wait_until(over, what="the end")

    @contextmanager
    def following(self, response: dict[str, Any], *, url: str = "") -> Iterator[Iterator[str]]:
        with self.alice.http.stream("GET", f"{url}{PATH}/{response['id']}?stream=true") as stream:
            yield stream.iter_text()


@tried_once
class StreamsTest(StreamsTestCase):
    other: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.other = cls.enterClassContext(running_service())

    def test_a_stream_is_resumed_after_its_end_and_after_its_chunks_were_due(self):
        for background in (False, True):
            for model in MODELS:
                with self.subTest(model, background=background):
                    body = {"model": model, "input": "Hi", "stream": True, "background": background, **ASKED}
                    answer = self.alice.http.post(PATH, json=body)
                    first = frames_of(answer.text)
                    end = replay(events_of(answer.text)).end
                    assert end is not None
                    self.assertEqual(end, self.get(end["id"]))
                    self.assert_resumable(end, first)
                    Run.objects.filter(pk=self.run_of(end).pk).update(
                        finished_at=timezone.now() - dt.timedelta(days=400)
                    )
                    services.prune_chunks()
                    # Its end is the one thing that the test has changed.
                    self.assertEqual(len(self.frames(end)), len(first))
                    self.assertEqual(self.frames(end, 1)[:-2], first[2:-2])

    def test_whatever_the_model_sends_the_stream_is_valid_and_resumed_elsewhere(self):
        for model in ODD:
            with self.subTest(model):
                body = {"model": f"fake/{model}", "input": "Hi", "stream": True, "background": True, **ASKED}
                answer = self.alice.http.post(PATH, json=body)
                first = frames_of(answer.text)
                end = replay(events_of(answer.text)).end
                assert end is not None
                self.assertEqual(self.alice.http.get(f"{PATH}/{end['id']}").json(), end)
                for after in (0, len(first) // 2, len(first) - 2):
                    self.assertEqual(self.frames(end, after, url=self.other.url), first[after + 1 :])

    def test_many_read_it_while_it_is_written_on_two_processes(self):
        for background in (True, False):
            body = {"model": "fake/numbered:10ms:60", "input": "Hi", "stream": True, "background": background}
            parts: dict[tuple[int, str], list[str]] = {}
            with self.alice.http.stream("POST", PATH, json={**body, **ASKED}) as first:
                lines = first.iter_text()
                text = next(lines)
                response = {"id": f"resp_{first.headers['x-run-id'].replace('-', '')}"}

                def read(after: int, url: str, named: Any = response, into: Any = parts) -> None:
                    into[after, url] = self.frames(named, after, url=url)

                readers = [(after, url) for after in (0, 1, 7, 30) for url in ("", self.other.url)]
                threads = [threading.Thread(target=read, args=reader) for reader in readers]
                for thread in threads:
                    thread.start()
                text += "".join(lines)
                for thread in threads:
                    thread.join(30)
            whole = frames_of(text)
            self.assertGreater(len(whole), 20)
            for after, url in readers:
                self.assertEqual(parts[after, url], whole[after + 1 :] or whole[-1:], (after, url))
            self.assert_resumable(response, whole, (self.other.url,))

    def test_what_was_recalled_is_told_alike(self):
        self.ask("The zebra is striped")
        body = {"model": "fake/ok", "input": "What is the zebra like?", "stream": True, "recall": True}
        first = frames_of(self.alice.http.post(PATH, json=body).text)
        end = replay(events_of("\n\n".join([*first, ""]))).end
        assert end is not None
        self.assertIn("recalled", end)
        self.assert_resumable(end, first, ("", self.other.url))

    def test_a_number_that_is_none_is_refused(self):
        response = self.ask("Hi")
        for after in ("", "-1", "x", "1.5", "٣", "9" * 10):
            answer = self.alice.http.get(f"{PATH}/{response['id']}", params={"stream": "true", "starting_after": after})
            self.assertEqual((answer.status_code, answer.json()["error"]["param"]), (400, "starting_after"), after)
        self.assertEqual(self.frames(response, 999_999_999), ["data: [DONE]"])

    def test_whoever_leaves_after_the_first_event_finds_the_answer(self):
        for background in (True, False):
            body = {"model": "fake/slow:5ms:40", "input": "Hi", "stream": True, "background": background}
            with self.alice.http.stream("POST", PATH, json=body) as stream:
                next(stream.iter_text())
                response = {"id": f"resp_{stream.headers['x-run-id'].replace('-', '')}"}
            end = self.ended(response)
            self.assertEqual((end["status"], said(end)), ("completed", "token " * 40))

    def test_a_response_in_the_background_is_stopped_from_another_process_within_a_second(self):
        response = self.begin("fake/slow:20ms:2000")
        wait_until(lambda: said(self.get(response["id"])), what="some text")
        began = time.monotonic()
        answer = self.alice.http.post(f"{self.other.url}{PATH}/{response['id']}/cancel")
        self.assertLess(time.monotonic() - began, 1.5)
        stopped = self.checked(answer)
        self.assertEqual((answer.status_code, stopped["status"]), (200, "cancelled"))
        self.assertTrue(said(stopped).startswith("token "))
        self.assertEqual(stopped["output"][0]["status"], "incomplete")
        self.assertEqual(self.get(response["id"]), stopped)
        # Again, and when it is over: nothing changes.
        self.assertEqual(self.alice.http.post(f"{PATH}/{response['id']}/cancel").json(), stopped)
        frames = self.frames(response)
        self.assertIn("event: response.incomplete", frames[-2])
        self.assertEqual(self.frames(response, 3, url=self.other.url), frames[4:])
        self.assertEqual(self.bob.http.post(f"{PATH}/{response['id']}/cancel").status_code, 404)

    def test_only_what_is_in_the_background_is_cancelled_by_this(self):
        response = self.ask("Hi")
        answer = self.alice.http.post(f"{PATH}/{response['id']}/cancel")
        self.assertEqual(answer.status_code, 400)
        self.checked(answer)
        self.assertEqual(self.get(response["id"])["status"], "completed")

    def test_a_failure_in_the_background_is_told_by_the_response(self):
        response = self.begin("fake/http-400")
        failed = self.ended(response)
        self.assertEqual((failed["status"], failed["output"]), ("failed", []))
        self.assertTrue(failed["error"]["message"])
        body = {"model": "fake/http-400", "input": "Hi", "stream": True, "background": True}
        answer = self.alice.http.post(PATH, json=body)
        end = replay(events_of(answer.text)).end
        assert end is not None
        self.assertEqual(end["status"], "failed")
        self.assert_resumable(end, frames_of(answer.text))

    def test_a_key_begins_one_response(self):
        body = {"model": "fake/slow:5ms:40", "input": "Hi", "background": True, **ASKED}
        headers = {"Idempotency-Key": "begin-once"}
        ids = {self.alice.http.post(PATH, json=body, headers=headers).json()["id"] for _ in range(3)}
        self.assertEqual(len(ids), 1)
        self.assertEqual(Run.objects.filter(user=self.alice.user).count(), 1)

    def test_an_answer_that_was_deleted_meanwhile_ends_its_streams(self):
        response = self.begin("fake/slow:20ms:2000")
        with self.following(response) as lines:
            begun = next(lines)
            conversation_id = self.run_of(response).conversation_id
            self.assertLess(self.alice.http.delete(f"/v1/chat/conversations/{conversation_id}").status_code, 300)
            rest = "".join(lines)
        known = replay(events_of(begun + rest))
        self.assertTrue(known.error or known.end)
        self.assertEqual(self.alice.http.get(f"{PATH}/{response['id']}").status_code, 404)

    def test_whose_key_is_revoked_reads_no_more_and_the_answer_goes_on(self):
        response = self.begin("fake/held", "hold the revoked one")
        with self.following(response) as lines:
            text = next(lines)
            revoke_api_key(key=self.alice.key)
            text += "".join(lines)
        self.assertEqual(replay(events_of(text)).error, "unauthorized")
        self.upstream.release("hold the revoked one")
        wait_until(lambda: self.run_of(response).state == "complete", what="the end")


class KillTest(StreamsTestCase):
    def test_after_kill_9_the_response_is_failed_with_what_was_said_for_all_readers(self):
        service = Service().start()
        self.addCleanup(service.stop)
        told = self.begin("fake/slow:20ms:2000", url=service.url)
        silent = self.begin("fake/no-first-byte", url=service.url)
        body = {"model": "fake/slow:20ms:2000", "input": "Hi", "stream": True, **ASKED}
        with self.following(told) as lines, self.alice.http.stream("POST", f"{service.url}{PATH}", json=body) as first:
            text, begun, parts = "", "", first.iter_text()
            while text.count("output_text.delta") < 6:
                text += next(lines)
            while begun.count("output_text.delta") < 6:
                begun += next(parts)
            service.kill()
            text += "".join(lines)
            try:
                begun += "".join(parts)
            except httpx2.HTTPError:
                pass  # its process is dead
        foreground = {"id": f"resp_{first.headers['x-run-id'].replace('-', '')}"}
        frames = frames_of(text)
        self.assertIn("event: response.failed", frames[-2])
        end = replay(events_of(text)).end
        assert end is not None
        self.assertTrue(said(end).startswith("token "))
        self.assertEqual(end["error"]["code"], "interrupted")
        self.assertEqual(self.get(told["id"]), end)
        self.assertEqual(Message.objects.get(run=self.run_of(told)).content, said(end))
        for after in (None, 0, 2, 5, len(frames) - 2):
            self.assertEqual(self.frames(told, after), frames[0 if after is None else after + 1 :])
        for response in (silent, foreground):
            self.assertEqual(self.ended(response)["status"], "failed")
        # What the client of the dead process had is the beginning of what is there now.
        whole = frames_of("\n\n".join([*self.frames(foreground), ""]))
        had = begun.split("\n\n")[:-1]
        self.assertEqual(whole[: len(had)], had)
        again = self.ask("Go on", previous_response_id=told["id"])
        self.assertEqual([item["content"][0]["text"] for item in self.input_items(again["id"])], ["Go on"])
        self.assertEqual(self.sent["messages"][1]["content"], said(end))
        self.assertEqual(said(self.ask("Go on", previous_response_id=silent["id"])), TEXT)
