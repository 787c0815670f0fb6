"""The same key returns the same answer while it exists; afterwards an error, never an empty success."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import httpx2
from django.db import connection, transaction
from django.test import TestCase
from django.utils import timezone

from chatservice.testing import ServiceTestCase, sse_data
from completions.acceptance import accept, limits_on
from completions.models import IdempotencyKey, Run
from completions.services import prune_keys
from completions.tests.asking import accept_one, question, somebody
from completions.tests.streaming import URL, body_of, listening
from completions.worker_identity import worker_id


class KeptTest(ServiceTestCase):
    def ask(self, key: str, **body: Any) -> httpx2.Response:
        headers = {"Idempotency-Key": key}
        return self.alice.http.post(URL, json=body_of(str(body.pop("model", "fake/ok")), **body), headers=headers)

    def test_an_answer_that_was_not_to_be_kept_is_refused_the_second_time(self):
        for stream in (False, True):
            before = len(self.upstream.posts)
            first, second = (self.ask(f"unkept-{stream}", store=False, stream=stream) for _ in range(2))
            self.assertEqual(first.status_code, 200)
            self.assertEqual((second.status_code, second.json()["error"]["code"]), (409, "answer_not_kept"))
            self.assertEqual(second.headers["x-should-retry"], "false")
            self.assertEqual(len(self.upstream.posts), before + 1)
            stored = Run.objects.filter(pk=first.headers["x-run-id"]).values().get()
            self.assertNotIn("wör", str(stored))

    def test_while_it_is_being_written_the_second_gets_it_whole(self):
        fields: dict[str, Any] = {"store": False, "headers": {"Idempotency-Key": "unkept"}}
        with listening(self.alice, "fake/slow:20ms:20", **fields) as first:
            first.until("token")
            with listening(self.alice, "fake/slow:20ms:20", **fields) as second:
                second.rest()
            first.rest()
        self.assertEqual((first.text, second.text), ("token " * 20,) * 2)

    def test_a_failure_is_told_again_for_what_it_is(self):
        first, second = (self.ask("failed", model="fake/500", store=False) for _ in range(2))
        self.assertEqual((second.status_code, second.json()["error"]), (first.status_code, first.json()["error"]))

    def test_every_choice_and_its_log_probabilities_are_told_again(self):
        for model in ("rich-json", "tools", "ok"):
            first, second = (self.ask(f"whole-{model}", model=f"fake/{model}") for _ in range(2))
            self.assertEqual((second.status_code, second.json()), (200, first.json()), model)
        for model in ("n2", "logprobs", "tools"):
            first, second = (self.ask(f"streamed-{model}", model=f"fake/{model}", stream=True) for _ in range(2))
            told = [told_in(response) for response in (first, second)]
            self.assertEqual(told[0], told[1], model)


def told_in(response: httpx2.Response) -> dict[tuple[int, str], object]:
    """The text of a stream by choice and field, independent of the split into chunks."""
    told: dict[tuple[int, str], object] = {}
    for data in sse_data(response.text)[:-1]:
        for choice in json.loads(data)["choices"]:
            said = {
                **choice["delta"],
                "finish": choice.get("finish_reason"),
                "logprobs": (choice.get("logprobs") or {}).get("content"),
            }
            for name, value in said.items():
                if value and name != "role":
                    before = told.get((choice["index"], name))
                    told[choice["index"], name] = value if before is None else before + value
    return told


class ForgettingTest(TestCase):
    def test_a_key_is_forgotten_after_a_week_and_means_a_new_request_then(self):
        alice = somebody("alice")
        keyed = question(alice, "Hi", idempotency_key="k", fingerprint="f")
        first = accept_one(keyed)
        self.assertTrue(accept_one(keyed).attached)
        IdempotencyKey.objects.update(created_at=timezone.now() - dt.timedelta(days=6, hours=23))
        self.assertEqual(prune_keys(), 0)
        IdempotencyKey.objects.update(created_at=timezone.now() - dt.timedelta(days=7, seconds=1))
        self.assertEqual(prune_keys(), 1)
        again = accept_one(keyed)
        self.assertEqual((again.attached, again.run_id == first.run_id), (False, False))
        self.assertTrue(Run.objects.filter(pk=first.run_id).exists())

    def test_what_is_accepted_and_then_lost_leaves_no_key(self):
        keyed = question(somebody("alice"), "Hi", idempotency_key="k", fingerprint="f")

        class Lost(Exception):
            pass

        def lose() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                accept(cursor, [keyed], worker=worker_id(), limits=limits_on(cursor, [keyed]))
                self.assertEqual(IdempotencyKey.objects.count(), 1)
                raise Lost

        self.assertRaises(Lost, lose)
        self.assertEqual((IdempotencyKey.objects.count(), Run.objects.count()), (0, 0))

    def test_a_run_takes_its_key_with_it(self):
        handle = accept_one(question(somebody("alice"), "Hi", idempotency_key="k", fingerprint="f"))
        Run.objects.get(pk=handle.run_id).delete()
        self.assertFalse(IdempotencyKey.objects.exists())
