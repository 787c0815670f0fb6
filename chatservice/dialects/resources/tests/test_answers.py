"""Answering stored history: once, streamed or not, resumed, stopped, and with clear errors on failures."""

from __future__ import annotations

import json
import threading
import uuid

import httpx2

from chatservice.testing import ServiceTestCase, sse_events
from conversations.models import Message

SLOW = "fake/slow:20ms:40"


def text_of(events: list[dict]) -> str:
    values = [json.loads(event["data"]) for event in events if event["data"] != "[DONE]"]
    return "".join(value["choices"][0]["delta"]["content"] for value in values if "choices" in value)


class AnswersTest(ServiceTestCase):
    def asked(self, marker: str) -> list:
        return self.upstream.asked(marker)

    def conversation(self, content: str, http: httpx2.Client | None = None) -> str:
        client = http or self.alice.http
        path = f"/conversations/{client.post('/conversations', json={'title': 'x'}).json()['id']}"
        self.assertEqual(client.post(f"{path}/messages", json={"role": "user", "content": content}).status_code, 201)
        return path

    def complete(self, path: str, **body: object) -> httpx2.Response:
        return self.alice.http.post(f"{path}/messages:complete", json=body)

    def answers_in(self, path: str) -> int:
        return Message.objects.of(uuid.UUID(path.rsplit("/", 1)[1])).answers().count()

    def test_a_message_id_in_the_body_is_a_key(self):
        body = {"message": "Once", "model": "fake/ok", "client_message_id": "m-1"}
        first, second = (self.alice.http.post("/conversations/start", json=body) for _ in range(2))
        self.assertEqual(first.json(), second.json())
        path = f"/conversations/{first.json()['conversation_id']}"
        for send in (f"{path}/message", f"{path}/messages:complete"):
            refused = self.alice.http.post(send, json={**body, "message": "Twice"})
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (422, "idempotency_mismatch"))
        self.assertEqual(self.answers_in(path), 1)

    def test_nothing_to_answer_is_a_conflict(self):
        empty = f"/conversations/{self.alice.http.post('/conversations', json={}).json()['id']}"
        answered = self.conversation("Once")
        self.assertEqual(self.complete(answered, model="fake/ok").status_code, 200)
        for path in (empty, answered):
            for stream in (False, True):
                refused = self.complete(path, stream=stream)
                self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (409, "nothing_to_answer"))
        self.assertEqual(self.answers_in(answered), 1)

    def test_parallel_calls_are_billed_once_and_answered_the_same(self):
        path = self.conversation("all together now")
        barrier, answers = threading.Barrier(8), []

        def call(stream: bool) -> None:
            barrier.wait()
            response = self.complete(path, stream=stream, model="fake/slow:5ms:20")
            whole = (
                text_of(sse_events(response.text)) if stream else response.json()["choices"][0]["message"]["content"]
            )
            answers.append(whole)

        threads = [threading.Thread(target=call, args=(number % 2 == 0,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(answers, ["token " * 20] * 8)
        self.assertEqual(len(self.asked("all together now")), 1)

    def test_an_idempotency_key_repeats_the_answer_even_when_more_was_said(self):
        path = self.conversation("paid once")
        headers = {"Idempotency-Key": "order-7"}
        body = {"stream": False, "model": "fake/ok"}
        first = self.alice.http.post(f"{path}/messages:complete", json=body, headers=headers)
        self.alice.http.post(f"{path}/messages", json={"role": "user", "content": "and this?"})
        again = self.alice.http.post(f"{path}/messages:complete", json=body, headers=headers)
        self.assertEqual((again.status_code, again.json()), (200, first.json()))
        self.assertEqual(len(self.asked("paid once")), 1)
        other = self.alice.http.post(f"{path}/messages:complete", json={"stream": True}, headers=headers)
        self.assertEqual((other.status_code, other.json()["error"]["code"]), (422, "idempotency_mismatch"))

    def test_what_broke_off_is_kept_and_can_be_answered_anew(self):
        path = self.conversation("try again")
        failed = self.complete(path, model="fake/truncated")
        self.assertEqual((failed.status_code, failed.json()["error"]["code"]), (502, "upstream_truncated"))
        self.assertEqual(self.alice.http.get(f"{path}/messages").json()[1]["content"], "Hello")
        self.assertEqual(self.complete(path, model="fake/ok").status_code, 200)
        shown = [message["content"] for message in self.alice.http.get(f"{path}/messages").json()]
        self.assertEqual(shown, ["try again", "Hello wörld 🙂!"])
        self.assertEqual(self.alice.http.get(f"{path}/messages/2").json()["content"], "Hello")

    def test_a_dropped_stream_continues_by_its_run(self):
        path = self.conversation("dropped and continued")
        body = {"stream": True, "model": SLOW}
        with self.alice.http.stream("POST", f"{path}/messages:complete", json=body) as response:
            run, buffer = response.headers["x-run-id"], ""
            for piece in response.iter_text():
                buffer += piece
                first = sse_events(buffer[: buffer.rfind("\n\n") + 2])
                if len(text_of(first)) > 30:
                    break
        after = {"Last-Event-ID": first[-1]["id"]}
        rest = sse_events(self.alice.http.get(f"/runs/{run}/stream", headers=after).text)
        self.assertEqual(text_of(first) + text_of(rest), "token " * 40)
        self.assertEqual(rest[-1]["data"], "[DONE]")
        over = sse_events(self.alice.http.get(f"/runs/{run}/stream", params={"after": first[-1]["id"]}).text)
        self.assertEqual(text_of(first) + text_of(over), "token " * 40)
        self.assertEqual(text_of(sse_events(self.alice.http.get(f"/runs/{run}/stream").text)), "token " * 40)
        self.assertEqual(len(self.asked("dropped and continued")), 1)
        self.assertEqual(self.alice.http.get(f"/runs/{run}").json()["status"], "complete")

    def test_a_cursor_of_another_run_is_refused(self):
        runs = [self.complete(self.conversation("x"), model="fake/ok").headers["x-run-id"] for _ in range(2)]
        cursor = f"{runs[0].replace('-', '')}.1.1"
        response = self.alice.http.get(f"/runs/{runs[1]}/stream", headers={"Last-Event-ID": cursor})
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "bad_cursor"))

    def test_a_message_during_an_answer_waits_its_turn(self):
        path = self.conversation("being answered")
        body = {"stream": True, "model": "fake/held"}
        with self.alice.http.stream("POST", f"{path}/messages:complete", json=body) as response:
            next(response.iter_bytes())
            busy = self.alice.http.post(f"{path}/message", json={"message": "second"})
            self.assertEqual((busy.status_code, busy.json()["error"]["code"]), (409, "conversation_busy"))
            locked = self.alice.http.delete(f"{path}/messages/2")
            self.assertEqual((locked.status_code, locked.json()["error"]["code"]), (409, "conversation_busy"))
            self.upstream.release("being answered")

    def test_a_failed_start_says_where_to_try_again(self):
        body = {"user_id": "123", "message": "Hello!", "model": "fake/http-500"}
        failed = self.guest.post("/conversations/start", json=body)
        self.assertEqual(failed.status_code, 502)
        path = f"/conversations/{failed.headers['x-conversation-id']}"
        self.assertEqual(self.guest.get(path).json()["messages"], [{"role": "user", "content": "Hello!"}])
        again = self.guest.post(f"{path}/messages:complete", json={"stream": False})
        self.assertEqual(again.status_code, 200, again.text)
