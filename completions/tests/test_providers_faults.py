"""Every upstream failure ends in the right exception, in time, and after the text that came before it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from completions import exceptions as x
from completions.providers.http_provider import HTTPProvider
from completions.tests.provider_case import DEADLINE, KEY, PROMPT, ProviderCase, asking, told
from completions.tests.upstream_wire import KEY_IN_ERROR, TEXT
from completions.types import Delta, StreamFinished


class FaultTests(ProviderCase):
    async def test_each_fault_is_its_own_exception(self) -> None:
        for model, kind, text in (
            ("refuse", x.UpstreamUnreachable, ""),
            ("reset", x.UpstreamUnreachable, ""),
            ("reset:2", x.UpstreamTruncated, "Hello"),
            ("truncated", x.UpstreamTruncated, "Hello"),
            ("truncated:cut", x.UpstreamTruncated, None),
            ("close-delimited:none", x.UpstreamTruncated, TEXT),
            ("chunk-overflow", x.ProviderError, None),
            ("html-200", x.UpstreamInvalid, ""),
            ("gzip-bomb", x.UpstreamInvalid, ""),
            ("error-200", x.UpstreamFailed, ""),
            ("malformed", x.UpstreamInvalid, "Hello"),
            ("number-content", x.UpstreamInvalid, "Hello"),
            ("error-event", x.UpstreamFailed, "Hello"),
            ("error-mid-stream", x.UpstreamFailed, "Hello"),
            ("error-mid-stream:overloaded", x.UpstreamFailed, "Hello"),
            ("finish-error", x.UpstreamFailed, "Hello"),
            ("huge-line", x.OutputLimit, "Hello"),
            ("redirect", x.UpstreamInvalid, ""),
            ("redirect:301", x.UpstreamInvalid, ""),
            ("redirect:308:elsewhere", x.UpstreamInvalid, ""),
            ("html:502", x.UpstreamFailed, ""),
            ("http-500", x.UpstreamFailed, ""),
            ("http-529", x.UpstreamFailed, ""),
            ("401", x.UpstreamUnauthorized, ""),
            ("403", x.UpstreamUnauthorized, ""),
            ("408", x.UpstreamTimeout, ""),
        ):
            started = time.monotonic()
            # Nothing follows the broken chunk, so it is noticed by the silence after it.
            events, error = await self.listen(model, idle=1)
            self.assertIsInstance(error, kind, model)
            assert error is not None
            self.assertNotIn(KEY_IN_ERROR, f"{error} {error.message}", model)
            self.assertLess(time.monotonic() - started, 5, model)
            self.assertFalse(any(isinstance(event, StreamFinished) for event in events), model)
            if text is not None:
                self.assertEqual(told(events), text, model)
        self.assertEqual(len({(r.path, r.body["model"]) for r in self.up.requests}), len(self.up.requests))

    async def test_the_upstreams_verdict_is_passed_on_without_keys(self) -> None:
        for status in (400, 404, 409, 413, 422):
            _, error = await self.listen(f"http-{status}")
            assert isinstance(error, x.UpstreamRejected), status
            self.assertEqual((error.status, error.upstream_code, error.param), (status, "some_code", "messages"))
            self.assertEqual(error.message, "Refused: key [redacted] is no good")
        _, error = await self.listen("html:404")
        assert isinstance(error, x.UpstreamRejected)
        self.assertEqual((error.status, error.message), (404, x.UpstreamRejected.default_message))

    async def test_deadlines(self) -> None:
        for model, kind, text in (
            ("no-first-byte", x.UpstreamTimeout, ""),
            ("headers-then-hang", x.UpstreamTimeout, ""),
            ("comments-forever:0", x.UpstreamTimeout, ""),
            ("informational", x.UpstreamTimeout, ""),
            ("stall", x.UpstreamStalled, "Hello"),
            ("comments-forever", x.UpstreamStalled, "Hello"),
        ):
            started = time.monotonic()
            events, error = await self.listen(model, first_byte=DEADLINE, idle=DEADLINE)
            self.assertIsInstance(error, kind, model)
            self.assertEqual(told(events), text, model)
            self.assertTrue(DEADLINE <= time.monotonic() - started < DEADLINE + 5, model)
        self.assertTrue(self.up.wait_for_hangup(6))

    async def test_a_finished_answer_survives_an_upstream_that_never_hangs_up(self) -> None:
        for model in ("finish-then-open", "done-then-open"):
            events, error = await self.listen(model, idle=DEADLINE)
            self.assertIsNone(error)
            self.assertEqual((told(events), type(events[-1])), (TEXT, StreamFinished))

    async def test_a_slow_consumer_is_not_a_stalled_upstream(self) -> None:
        async with self.provider(idle=0.15) as provider:
            events = []
            async for event in provider.stream(asking("slow:50ms:4")):
                await asyncio.sleep(0.2)
                events.append(event)
        self.assertIsInstance(events[-1], StreamFinished)

    async def test_nobody_listens_at_the_address(self) -> None:
        for base_url in ("http://127.0.0.1:1/v1", "http://nobody.invalid/v1", f"https://127.0.0.1:{self.up.port}/v1"):
            _, error = await self.listen("ok", base_url=base_url, connect=0.5)
            self.assertIsInstance(error, x.UpstreamUnreachable, base_url)

    async def test_complete_fails_the_same_way(self) -> None:
        async with self.provider(answer=3, first_byte=3, idle=1) as provider:
            for model, kind in (
                ("refuse", x.UpstreamUnreachable),
                ("no-first-byte", x.UpstreamTimeout),
                ("html-200", x.UpstreamInvalid),
                ("stall", x.UpstreamStalled),
                ("headers-then-hang", x.UpstreamTimeout),
                ("truncated", x.UpstreamTruncated),
                ("error-event", x.UpstreamFailed),
                ("error-200", x.UpstreamFailed),
                ("huge-body", x.OutputLimit),
                ("huge-text", x.OutputLimit),
                ("401", x.UpstreamUnauthorized),
                ("429:700", x.UpstreamRateLimited),
                ("context-length", x.UpstreamRejected),
            ):
                with self.assertRaises(kind, msg=model):
                    await provider.complete(asking(model, stream=False))

    async def test_text_is_capped(self) -> None:
        events, error = await self.listen("huge-text", max_text=5000)
        self.assertIsInstance(error, x.OutputLimit)
        self.assertEqual(told(events), "x" * 5000)


class RetryTests(ProviderCase):
    async def test_only_what_cannot_have_been_billed_is_tried_again(self) -> None:
        again = {"flaky:1:429:0": 2, "flaky:3:503:0": 4, "flaky:4:429:0": 4, "flaky:1:429:soon": 2, "flaky:1:429:1": 2}
        never = ["429:60", "429:3600", "503:120", "529", "529:0", "500:0", "502:0", "504:0", "408:0", "409:0", "401"]
        never += ["refuse", "reset", "reset:2", "truncated", "html-200", "404", "redirect", "error-200", "malformed"]
        never += ["body:error-429", "body:error-401", "body:error-event", "body:text"]

        async def tries(model: str, most: int) -> None:
            user = f"{model} {time.monotonic()}"
            _, error = await self.listen(model, retries=3, first_byte=60, parameters={"user": user})
            posts = [post for post in self.up.posts if post.body["user"] == user]
            self.assertEqual(len(posts), most, model)
            self.assertLessEqual(len([post for post in posts if post in self.up.billable_posts]), 1, model)
            self.assertEqual(error is None, model in again and most < 4 or model == "flaky:3:503:0", model)

        await asyncio.gather(*(tries(*each) for each in again.items()), *(tries(model, 1) for model in never))

    async def test_a_read_that_takes_too_long_is_not_repeated(self) -> None:
        for model in ("no-first-byte", "stall"):
            self.up.requests.clear()
            _, error = await self.listen(model, retries=3, first_byte=DEADLINE, idle=DEADLINE)
            self.assertIsInstance(error, x.UpstreamTimeout | x.UpstreamStalled)
            self.assertEqual(len(self.up.posts), 1)

    async def test_the_wait_is_reported_in_seconds_up_to_two_minutes(self) -> None:
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
        waits = {"0": 0, "1": 1, "1.2": 2, "3600": 120, "soon": None, "-5": None, "nan": None, "": None}
        for said, meant in waits.items():
            _, error = await self.listen(f"429:{said}")
            assert isinstance(error, x.UpstreamRateLimited)
            self.assertEqual(error.retry_after, meant, said)
        _, error = await self.listen("429:" + soon.replace(":", "="))
        assert isinstance(error, x.UpstreamRateLimited)
        self.assertIn(error.retry_after, (48, 49, 50))

    async def test_all_tries_together_take_no_longer_than_the_deadline(self) -> None:
        started = time.monotonic()
        _, error = await self.listen("429:1", retries=3, first_byte=1.0)
        self.assertIsInstance(error, x.UpstreamRateLimited)
        self.assertLess(time.monotonic() - started, 1)


class HangUpTests(ProviderCase):
    async def test_closing_or_cancelling_closes_the_upstream_at_once(self) -> None:
        async with self.provider() as provider:
            async with aclosing(provider.stream(asking("slow:20ms:500"))) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, Delta):
                        break
            left = time.monotonic()
            self.assertTrue(await asyncio.to_thread(self.up.wait_for_hangup, 1))

            for count, model in enumerate(("slow:20ms:500", "stall", "no-first-byte"), start=2):
                task = asyncio.create_task(self._drink(provider, model))
                await asyncio.sleep(0.15)
                left = time.monotonic()
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertTrue(await asyncio.to_thread(self.up.wait_for_hangup, count), model)
                self.assertLess((self.up.hangups[-1].hung_up or 0) - left, 0.5)

            waiting = asyncio.create_task(provider.complete(asking("slow:20ms:500", stream=False)))
            await asyncio.sleep(0.1)
            waiting.cancel()
            self.assertTrue(await asyncio.to_thread(self.up.wait_for_hangup, 5))

    async def _drink(self, provider: HTTPProvider, model: str) -> None:
        async for _ in provider.stream(asking(model)):
            pass


class SilenceTests(ProviderCase):
    async def test_no_log_line_holds_a_prompt_an_answer_or_a_key(self) -> None:
        with self.assertLogs(level=logging.DEBUG) as logs:
            logging.getLogger("completions").debug("at least one line")
            for model in ("ok", "http-500", "401", "404", "flaky:1", "malformed", "error-mid-stream", "echo-body"):
                await self.listen(model, retries=1)
        ours = "\n".join(line for line in logs.output if ":completions." in line)
        for secret in (PROMPT, KEY, KEY_IN_ERROR, TEXT, "wör"):
            self.assertNotIn(secret, ours)
            self.assertNotIn(secret, "\n".join(logs.output))
