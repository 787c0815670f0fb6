"""Continuing an answer that was cut off: the new answer, next to the old one, begins with the old text."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2

from chatservice.dialects.chat_v1.tests.test_streams import BASE, parsed, said
from chatservice.testing import ServiceTestCase, tried_once, without_request_id
from completions.models import Chunk, Run
from completions.tests.invariants import invariants
from completions.tests.upstream_wire import TEXT
from conversations.models import Message

PARTIAL = "Hello"


@tried_once
class ContinueTest(ServiceTestCase):
    def resume_point(self, model: str = "fake/truncated", **fields: Any) -> Message:
        """Start a conversation with an answer that fails midway; return that answer."""
        body = {"content": "Go on", "model": model, **fields}
        response = self.alice.http.post(f"{BASE}/conversations/stream", json=body)
        return Message.objects.get(pk=response.headers["x-message-id"])

    def continue_answer(self, message: Message, *, stream: bool = True, **body: Any) -> httpx2.Response:
        where = f"{BASE}/messages/{message.pk}/continue{'/stream' if stream else ''}"
        headers = body.pop("headers", {})
        return self.alice.http.post(where, json={"model": "fake/ok", **body}, headers=headers)

    def test_the_new_answer_begins_with_the_old_text_and_nothing_is_overwritten(self):
        old = self.resume_point()
        response = self.continue_answer(old)
        events = parsed(response.text)
        self.assertTrue(events[0]["data"].startswith(PARTIAL))  # the first new words may be in the same event
        self.assertEqual(said(response.text), PARTIAL + TEXT)
        new = Message.objects.get(pk=events[-1]["data"]["id"])
        self.assertEqual((new.content, new.status, new.parent_id), (PARTIAL + TEXT, "complete", old.parent_id))
        self.assertEqual(new.conversation.head_id, new.pk)
        before = (old.content, old.status)
        old.refresh_from_db()
        self.assertEqual((old.content, old.status), before)
        sent = self.upstream.posts[-1].body["messages"]
        self.assertEqual(
            [(each["role"], each["content"]) for each in sent], [("user", "Go on"), ("assistant", PARTIAL)]
        )
        pieces = Chunk.objects.filter(run__message=new).order_by("seq").values_list("text", flat=True)
        self.assertEqual("".join(pieces), new.content)
        self.assertEqual(invariants([self.alice.user]), [])

    def test_it_can_be_waited_for_and_asked_twice(self):
        old = self.resume_point()
        before = len(self.upstream.posts)
        first, second = (self.continue_answer(old, stream=False, headers={"Idempotency-Key": "more"}) for _ in range(2))
        self.assertEqual((first.status_code, first.json()["data"]["content"]), (201, PARTIAL + TEXT))
        self.assertEqual(second.json()["data"]["id"], first.json()["data"]["id"])
        self.assertEqual(len(self.upstream.posts), before + 1)

    def test_what_breaks_off_again_is_kept_and_continued_again_by_the_same_model(self):
        broken = self.continue_answer(self.resume_point(), model="fake/truncated")
        self.assertEqual(parsed(broken.text)[-1]["data"]["code"], "upstream_truncated")
        second = Message.objects.get(pk=broken.headers["x-message-id"])
        self.assertEqual((second.content, second.status), (PARTIAL * 2, "failed"))
        where = f"{BASE}/messages/{second.pk}/continue/stream"
        third = self.alice.http.post(where)
        self.assertEqual(Run.objects.get(pk=third.headers["x-run-id"]).model, "fake/truncated")
        self.assertEqual(said(third.text), PARTIAL * 3)

    def test_an_answer_that_ended_by_length_goes_on(self):
        short = self.resume_point("echo", max_tokens=3)
        self.assertEqual((short.status, short.finish_reason), ("complete", "length"))
        self.assertEqual(self.continue_answer(short, stream=False).json()["data"]["content"], short.content + TEXT)

    def test_its_stream_resumes_from_any_event(self):
        response = self.continue_answer(self.resume_point())
        run = response.headers["x-run-id"]
        cursors = [line[4:] for line in response.text.splitlines() if line.startswith("id: ")]
        for at, cursor in enumerate(cursors[:-2]):
            rest = self.alice.http.get(f"{BASE}/runs/{run}/stream", headers={"Last-Event-ID": cursor})
            before = "".join(event["data"] for event in parsed(response.text)[: at + 1])
            self.assertEqual(before + said(rest.text), PARTIAL + TEXT)

    def test_nothing_else_can_be_continued(self):
        whole = self.resume_point("fake/ok")
        silent = self.resume_point("fake/http-500")
        assert whole.parent is not None
        for message in (whole, whole.parent, silent):
            for stream in (True, False):
                refused = self.continue_answer(message, stream=stream)
                self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (409, "nothing_to_continue"))
        foreign = self.bob.http.post(f"{BASE}/messages/{self.resume_point().pk}/continue", json={})
        unknown = self.alice.http.post(f"{BASE}/messages/{uuid.uuid4()}/continue", json={})
        self.assertEqual((foreign.status_code, unknown.status_code), (404, 404))
        self.assertEqual(without_request_id(foreign.text), without_request_id(unknown.text))
