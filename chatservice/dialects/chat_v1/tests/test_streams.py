"""Resuming a stream: from any event, during the answer and after it, without repetition."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from chatservice.testing import ServiceTestCase, sse_data, sse_events, tried_once, wait_until
from completions.models import Run

BASE = "/v1/chat"


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sse_data(text) if line != "[DONE]"]


def said(text: str) -> str:
    return "".join(event["data"] for event in parsed(text) if event["type"] == "ai_chunk")


@tried_once
class StreamsTest(ServiceTestCase):
    def start(self, model: str = "fake/slow:2ms:20", **headers: str) -> httpx2.Response:
        body = {"content": "Go on", "model": model}
        return self.alice.http.post(f"{BASE}/conversations/stream", json=body, headers=headers)

    def resume(self, run: str, cursor: str = "", **params: str) -> httpx2.Response:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        return self.alice.http.get(f"{BASE}/runs/{run}/stream", headers=headers, params=params)

    def test_the_headers_name_run_conversation_and_message(self):
        response = self.start()
        events = parsed(response.text)
        self.assertEqual(response.headers["x-conversation-id"], events[0]["data"]["conversationId"])
        self.assertEqual(response.headers["x-message-id"], events[-1]["data"]["id"])
        self.assertEqual(str(Run.objects.get(pk=response.headers["x-run-id"]).message_id), events[-1]["data"]["id"])

    def test_after_any_event_nothing_is_missing_and_nothing_comes_twice(self):
        response = self.start()
        run, whole = response.headers["x-run-id"], said(response.text)
        events = sse_events(response.text)
        self.assertGreater(len(events), 5)
        seen = ""
        for event in events[:-1]:
            data = json.loads(event["data"])
            seen += data["data"] if data["type"] == "ai_chunk" else ""
            for again in (self.resume(run, event["id"]), self.resume(run, after=event["id"])):
                self.assertEqual(seen + said(again.text), whole)
                self.assertEqual([each["type"] for each in parsed(again.text)][-1], "ai_complete")
                self.assertEqual(sse_data(again.text)[-1], "[DONE]")
                self.assertNotIn("user_message", again.text)

    def test_without_a_cursor_it_begins_at_the_beginning(self):
        response = self.start()
        again = parsed(self.resume(response.headers["x-run-id"]).text)
        self.assertEqual((again[0]["type"], again[-1]["type"]), ("user_message", "ai_complete"))
        self.assertEqual(again[-1], parsed(response.text)[-1])

    def test_a_stream_that_is_under_way_is_followed(self):
        body = {"content": "Go on", "model": "fake/slow:20ms:40"}
        with self.alice.http.stream("POST", f"{BASE}/conversations/stream", json=body) as response:
            run, before = response.headers["x-run-id"], ""
            for line in response.iter_lines():
                before += f"{line}\n"
                if before.count("ai_chunk") == 3 and not line:
                    break
        cursor = sse_events(before)[-1]["id"]
        again = self.resume(run, cursor)
        self.assertEqual(said(before) + said(again.text), "token " * 40)

    def test_a_cursor_that_no_piece_answers_to_gets_the_whole_text(self):
        response = self.start()
        run = response.headers["x-run-id"]
        events = parsed(self.resume(run, f"{run.replace('-', '')}.1.999").text)
        self.assertEqual([event["type"] for event in events], ["resync", "ai_complete"])
        self.assertEqual(events[0]["data"], said(response.text))

    def test_a_failed_answer_fails_the_same_way_again(self):
        response = self.start("fake/truncated")
        again = self.resume(response.headers["x-run-id"])
        # The split into chunks is not promised; the whole text and the ending are.
        self.assertEqual(said(again.text), said(response.text))
        self.assertEqual(parsed(again.text)[-1], parsed(response.text)[-1])
        self.assertEqual(parsed(again.text)[-1]["type"], "error")

    def test_the_same_key_shows_the_same_stream(self):
        first, second = (self.start(**{"Idempotency-Key": "once"}) for _ in range(2))
        self.assertEqual(parsed(first.text)[0], parsed(second.text)[0])
        self.assertEqual(parsed(first.text)[-1], parsed(second.text)[-1])
        self.assertEqual(said(first.text), said(second.text))
        self.assertEqual(Run.objects.filter(user=self.alice.user).count(), 1)

    def test_a_message_id_in_the_body_is_a_key_and_belongs_to_one_route(self):
        body = {"content": "Go on", "model": "fake/ok", "client_message_id": "m-1"}
        whole = f"{BASE}/conversations/stream"
        first, second = (self.alice.http.post(where, json=body) for where in (whole, f"{whole}/"))
        self.assertEqual(first.headers["x-run-id"], second.headers["x-run-id"])
        self.assertNotIn("client_message_id", self.upstream.posts[-1].body)
        conversation = first.headers["x-conversation-id"]
        other = self.alice.http.post(f"{BASE}/conversations/{conversation}/messages", json=body)
        self.assertEqual((other.status_code, other.json()["error"]["code"]), (422, "idempotency_mismatch"))

    def test_a_client_that_asked_for_it_stops_the_answer_by_leaving(self):
        body = {"content": "Go on", "model": "fake/slow:20ms:1000"}
        headers = {"X-On-Disconnect": "cancel"}
        with self.alice.http.stream("POST", f"{BASE}/conversations/stream", json=body, headers=headers) as response:
            run = response.headers["x-run-id"]
            next(line for line in response.iter_lines() if "ai_chunk" in line)
        wait_until(lambda: Run.objects.get(pk=run).state == Run.State.CANCELLED, timeout=5, what="the end of the run")

    def test_a_second_question_waits_for_the_first_answer(self):
        body = {"content": "Go on", "model": "fake/slow:20ms:40"}
        with self.alice.http.stream("POST", f"{BASE}/conversations/stream", json=body) as response:
            pk, message = response.headers["x-conversation-id"], response.headers["x-message-id"]
            for path in ("messages", "messages/stream"):
                second = self.alice.http.post(f"{BASE}/conversations/{pk}/{path}", json={"content": "And?"})
                self.assertEqual((second.status_code, second.json()["error"]["code"]), (409, "conversation_busy"))
            deleted = self.alice.http.delete(f"{BASE}/messages/{message}")
            self.assertEqual((deleted.status_code, deleted.json()["error"]["code"]), (409, "conversation_busy"))
            stopped = self.alice.http.post(f"{BASE}/runs/{response.headers['x-run-id']}/cancel")
            self.assertEqual((stopped.status_code, stopped.json()["data"]["status"]), (200, "cancelled"))
