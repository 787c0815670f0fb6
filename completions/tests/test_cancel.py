"""Stopping an answer from this process or another: the upstream is released within a second, the text is kept."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from chatservice.testing import ServiceTestCase, wait_until
from completions import services
from completions.models import Run
from completions.readers import subscribe
from completions.services import request_cancel
from completions.tests.asking import question, run_of
from completions.tests.committed import CommittedTestCase, endings, follow, text_of
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of, listening
from conversations.models import Message
from foundation.database import in_database_thread


class CancelHereTest(CommittedTestCase):
    def test_stopping_at_once_or_at_any_moment_ends_once_and_keeps_the_text(self):
        async def test():
            told = []
            for pause in (None, 0, 0.0, 0.005, 0.02, 0.05):
                handle = await services.submit(question(self.alice, "word " * 40))
                if pause is not None:
                    await asyncio.sleep(pause)
                reader = asyncio.create_task(follow(handle))
                await services.cancel(handle.run_id)
                told.append((handle, await reader))
            return told

        with self.settings(ECHO_DELAY=0.004):
            told = self.in_loop(test)
        for handle, events in told:
            self.assertEqual([each.status for each in endings(events)], ["cancelled"])
            message = Message.objects.get(pk=handle.message_id)
            self.assertEqual((message.status, message.content), ("cancelled", text_of(events)))

    def test_stopping_what_is_over_changes_nothing(self):
        async def test():
            handle = await services.submit(question(self.alice, "Hi"))
            await follow(handle)
            await services.cancel(handle.run_id)
            await services.cancel(handle.run_id)
            return handle

        run = Run.objects.get(pk=self.in_loop(test).run_id)
        self.assertEqual((run.state, run.cancel_requested_at), ("complete", None))

    def test_stopping_races_the_end_and_one_of_them_wins(self):
        async def test():
            for _ in range(20):
                handle = await services.submit(question(self.alice, "Hi"))
                reader = asyncio.create_task(follow(handle))
                await asyncio.sleep(random.random() * 0.008)
                await services.cancel(handle.run_id)
                [end] = endings(await reader)
                run = await in_database_thread(run_of, handle)
                self.assertEqual(run.state, end.status)
                self.assertIn(end.status, ("complete", "cancelled"))

        self.in_loop(test)

    def test_stopping_what_does_not_exist_is_no_error(self):
        async def test():
            await services.cancel(uuid.uuid4())

        self.in_loop(test)


class CancelElsewhereTest(ServiceTestCase):
    """The service writes the answer; this process, as the other one, cancels it."""

    def test_the_upstream_is_let_go_within_a_second_and_the_text_is_kept(self):
        with listening(self.alice, "fake/slow:20ms:2000") as stream:
            stream.until("token token")
            before = len(self.upstream.hangups)
            asked = time.monotonic()
            request_cancel(stream.run_id)
            self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=5))
            self.assertLess((self.upstream.hangups[-1].hung_up or 0) - asked, 1.0)
            stream.rest()
        run = Run.objects.select_related("message").get(pk=stream.run_id)
        assert run.message is not None
        self.assertEqual((run.state, run.message.status), ("cancelled", "cancelled"))
        self.assertTrue(stream.text.startswith("token token"))
        self.assertEqual(run.message.content, stream.text)
        self.assertEqual(stream.events.count("[DONE]"), 1)
        self.assertEqual(stream.events[-1], "[DONE]")
        self.assertEqual(invariants([self.alice.user]), [])

    def test_an_answer_that_is_not_streamed_is_stopped_too(self):
        before = len(self.upstream.hangups)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(self.alice.http.post, URL, json=body_of("fake/slow:50ms:400"))
            run = wait_until(lambda: Run.objects.filter(user=self.alice.user).first(), what="the run")
            assert run is not None
            wait_until(
                lambda: any(post.body["model"] == "slow:50ms:400" for post in self.upstream.posts), what="a post"
            )
            request_cancel(run.pk)
            response = waiting.result(10)
        self.assertTrue(self.upstream.wait_for_hangup(before + 1))
        self.assertEqual(response.json()["error"]["code"], "cancelled")
        self.assertEqual(response.headers["x-should-retry"], "false")
        self.assertEqual(invariants([self.alice.user]), [])

    def test_a_reader_here_follows_what_the_service_writes(self):
        with listening(self.alice, "fake/slow:10ms:60") as stream:
            stream.until("token")

            async def read():
                return [event async for event in subscribe(stream.run_id)]

            events = asyncio.run(read())
            stream.rest()
        if connection.vendor != "sqlite":
            connection.close()
        self.assertEqual(text_of(events), "token " * 60)
        self.assertEqual(stream.text, "token " * 60)
        self.assertEqual([each.status for each in endings(events)], ["complete"])
