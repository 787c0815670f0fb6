"""A retry under the same key: a failure before the upstream sent anything is forgotten, any other is told again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
from django.test import TestCase
from openai import OpenAI

from chatservice.testing import CLOSED_PORT, ServiceTestCase, running_service, second_service, wait_until
from completions.exceptions import ConversationBusy, IdempotencyMismatch, TooManyRuns
from completions.models import IdempotencyKey, Run
from completions.run_requests import RunHandle, RunRequest
from completions.run_results import RunResult
from completions.tests.asking import accept_all, accept_one, assistant_says, end_run, question, somebody, user_says
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of
from conversations.models import Conversation, Message


def end(handle: RunHandle, status: str = "failed", *, retryable: bool = True, content: str = "") -> None:
    result = RunResult(
        run_id=handle.run_id,
        message_id=handle.message_id,
        conversation_id=handle.conversation_id,
        status=status,
        content=content,
        retryable=retryable,
    )
    assert end_run(result) is not None


class AcceptedAgainTest(TestCase):
    def setUp(self) -> None:
        self.alice = somebody("alice")

    def keyed(self, *messages: Any, **fields: Any) -> RunRequest:
        return question(self.alice, *messages, idempotency_key="k", fingerprint="f", **fields)

    def assert_retried(self, first: RunHandle, second: RunHandle) -> None:
        """Check that the second run answers the first one's question, beside the first one's answer."""
        self.assertFalse(second.attached)
        self.assertNotEqual(first.run_id, second.run_id)
        self.assertEqual((second.conversation_id, second.question_id), (first.conversation_id, first.question_id))
        self.assertEqual(IdempotencyKey.objects.get(user=self.alice).run_id, second.run_id)
        self.assertEqual(Message.objects.get(run=first.run_id).status, "failed")
        self.assertEqual(Conversation.objects.get(runs=first.run_id).head_id, second.message_id)

    def test_the_question_is_not_stored_twice_wherever_it_was_asked(self):
        before = accept_one(question(self.alice, "Before", fingerprint="", idempotency_key=""))
        end(before, "complete", retryable=False, content="An answer")
        asked = {
            "in a conversation": self.keyed("Why?", conversation_id=before.conversation_id),
            "in a new one": self.keyed("Why?", title="Questions"),
            "again": self.keyed(conversation_id=before.conversation_id, parent_id=before.question_id),
            "with its history": self.keyed("Before", assistant_says("An answer"), "Why?", threaded=True),
            "with the result of a tool": self.keyed(
                user_says("Weather?"), {"role": "tool", "content": "Rain", "tool_call_id": "c"}, threaded=True
            ),
        }
        for name, request in asked.items():
            with self.subTest(name):
                first = accept_one(request)
                stored = Message.objects.count()
                for _ in range(2):
                    end(first)
                    second = accept_one(request)
                    self.assert_retried(first, second)
                    first = second
                self.assertEqual(Message.objects.count(), stored + 2)
                end(first, "complete", retryable=False, content="It rains")
                self.assertEqual(accept_one(request).run_id, first.run_id)
                IdempotencyKey.objects.all().delete()

    def test_what_may_have_been_billed_is_told_again(self):
        for number, (status, retryable) in enumerate((("failed", False), ("interrupted", False), ("cancelled", False))):
            request = question(self.alice, "Why?", idempotency_key=str(number), fingerprint="f")
            first = accept_one(request)
            end(first, status, retryable=retryable)
            second = accept_one(request)
            self.assertEqual((second.run_id, second.attached), (first.run_id, True))

    def test_a_run_of_an_earlier_version_is_told_again(self):
        first = accept_one(self.keyed("Why?"))
        end(first)
        Run.objects.filter(pk=first.run_id).update(retryable=None)
        self.assertTrue(accept_one(self.keyed("Why?")).attached)

    def test_two_retries_in_one_commit_are_one_run(self):
        request = self.keyed("Why?")
        end(accept_one(request))
        first, second = accept_all(request, request)
        assert isinstance(first, RunHandle) and isinstance(second, RunHandle)
        self.assertEqual((first.attached, second.attached, second.run_id), (False, True, first.run_id))

    def test_another_request_under_the_key_stays_another_one(self):
        end(accept_one(self.keyed("Why?")))
        with self.assertRaises(IdempotencyMismatch):
            accept_one(question(self.alice, "Why not?", idempotency_key="k", fingerprint="other"))

    def test_a_retry_that_is_refused_does_not_lose_the_question(self):
        first = accept_one(self.keyed("Why?"))
        end(first)
        other = accept_one(question(self.alice, "Else?", conversation_id=first.conversation_id))
        self.assertRaises(ConversationBusy, accept_one, self.keyed("Why?"))
        end(other, "complete", retryable=False)
        with self.settings(LIMIT_RUN_STARTS_PER_MINUTE=1):
            self.assertRaises(TooManyRuns, accept_one, self.keyed("Why?"))
        self.assert_retried(first, accept_one(self.keyed("Why?")))

    def test_a_question_that_was_deleted_is_asked_anew(self):
        before = accept_one(question(self.alice, "Before"))
        end(before, "complete", retryable=False, content="An answer")
        request = self.keyed("Why?", conversation_id=before.conversation_id)
        first = accept_one(request)
        end(first)
        Message.objects.filter(run=first.run_id).update(parent_id=before.message_id)
        Message.objects.filter(content="Why?").delete()
        second = accept_one(request)
        self.assertEqual(Message.objects.get(content="Why?").pk, second.question_id)

    def test_what_is_not_kept_starts_anew_too(self):
        request = self.keyed("Why?", store=False)
        first = accept_one(request)
        end(first)
        second = accept_one(request)
        self.assertEqual((second.attached, second.message_id), (False, None))
        self.assertEqual(IdempotencyKey.objects.get(user=self.alice).run_id, second.run_id)


class RetriedTest(ServiceTestCase):
    def test_the_official_client_gets_its_answer_from_an_upstream_that_fails_once(self):
        client: Any = OpenAI(base_url=f"{self.service.url}/v1", api_key=self.alice.secret, max_retries=2)
        self.enterContext(client)
        for status in ("500", "502", "503", "529"):
            for stream in (False, True):
                for headers in ({}, {"Idempotency-Key": f"k-{status}-{stream}"}):
                    name = f"{status}-{stream}-{bool(headers)}-{self.alice.user.username}"
                    asked = {"model": f"fake/flaky:1:{status}", "user": name, "stream": stream}
                    answer = client.chat.completions.create(
                        messages=[{"role": "user", "content": name}], extra_headers=headers, **asked
                    )
                    text = (
                        "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
                        if stream
                        else answer.choices[0].message.content
                    )
                    self.assertTrue(text, name)
                    if headers:  # without a key a call that the client sends again begins another conversation
                        self.assertEqual(Message.objects.filter(content=name, role="user").count(), 1)
        self.assertEqual(invariants([self.alice.user]), [])

    def ask(self, model: str, key: str, **fields: Any) -> httpx2.Response:
        return self.alice.http.post(URL, json=body_of(model, **fields), headers={"Idempotency-Key": key})

    def test_the_header_says_whether_a_retry_makes_sense_and_the_key_does_what_it_says(self):
        for model, header, anew in (
            ("fake/http-500", "true", True),
            ("fake/http-503:60", "true", True),
            ("fake/http-504", "true", True),
            ("fake/http-429:60", "true", True),
            ("fake/http-401", "false", True),
            ("fake/error-200", "false", False),
            ("fake/html-200", "false", False),
        ):
            for stream in (False, True):
                with self.subTest(model, stream=stream):
                    first, second = (self.ask(model, f"{model}-{stream}", stream=stream) for _ in range(2))
                    self.assertEqual([each.headers["x-should-retry"] for each in (first, second)], [header] * 2)
                    self.assertEqual(first.headers["x-run-id"] != second.headers["x-run-id"], anew)

    def test_an_upstream_that_cannot_be_reached_is_asked_again(self):
        upstreams = f'{{"away": {{"base_url": "http://127.0.0.1:{CLOSED_PORT}/v1", "models": ["away/*"]}}}}'
        with running_service(UPSTREAMS=upstreams) as service:
            answers = [
                self.alice.http.post(f"{service.url}{URL}", json=body_of("away/x"), headers={"Idempotency-Key": "away"})
                for _ in range(7)
            ]
        codes = {each.json()["error"]["code"] for each in answers}
        self.assertEqual(codes, {"upstream_unreachable", "upstream_unavailable"})  # and then the breaker was open
        self.assertEqual({each.headers["x-should-retry"] for each in answers}, {"true"})
        self.assertEqual(len({each.headers["x-run-id"] for each in answers}), 7)

    def test_retries_at_once_by_two_processes_are_one_run(self):
        name = f"once-{self.alice.user.username}"
        headers = {"Idempotency-Key": "at-once"}
        body = body_of("fake/flaky:1:500", name, user=name)
        self.assertEqual(self.alice.http.post(URL, json=body, headers=headers).status_code, 502)
        other = second_service()
        with ThreadPoolExecutor(8) as threads:

            def ask(number: int) -> httpx2.Response:
                url = (self.service.url if number % 2 else other.url) + URL
                return self.alice.http.post(url, json=body, headers=headers)

            answers = list(threads.map(ask, range(8)))
        self.assertEqual({each.status_code for each in answers}, {200})
        self.assertEqual(len({each.headers["x-run-id"] for each in answers}), 1)
        self.assertEqual(len([post for post in self.upstream.posts if post.body.get("user") == name]), 2)
        wait_until(lambda: not Run.objects.running().filter(user=self.alice.user), what="the end of all runs")
        self.assertEqual(invariants([self.alice.user]), [])
