"""Notifications reach other processes through Redis; without Redis nothing is lost."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import redis.asyncio
from django.test import SimpleTestCase, TransactionTestCase, override_settings

from accounts import credential_watch as watching
from accounts.callers import Principal
from accounts.models import User
from accounts.services import register_user
from chatservice.testing import CLOSED_PORT, ServiceTestCase, needs_dialect, running_service, sse_data, wait_until
from completions.models import Run
from completions.notifications import NEWS, Notifications, notify_accounts_changed
from completions.tests.silent_line import SilentLine
from conversations.models import Message
from foundation.database import in_database_thread

SLOW = "fake/slow:20ms:100"


@pytest.mark.usefixtures("redis_url")
class NotificationsTest(SimpleTestCase):
    redis_url: str

    async def test_news_of_a_run_is_heard_in_another_process(self):
        with override_settings(REDIS_URL=self.redis_url):
            here, there = (Notifications(asyncio.get_running_loop()) for _ in range(2))
        run_id, other = uuid.uuid4(), uuid.uuid4()
        try:
            with there.watch(run_id) as news, there.watch(other) as nothing:
                async with asyncio.timeout(20):
                    while not news.is_set():  # until the subscription is active
                        here.notify([run_id])
                        await asyncio.sleep(0.02)
                self.assertFalse(nothing.is_set())
        finally:
            await here.close()
            await there.close()

    async def test_a_redis_whose_connections_go_silent_is_asked_anew(self):
        with SilentLine.before(self.redis_url, 6379) as line:
            with override_settings(REDIS_URL=line.url):
                here, there = (Notifications(asyncio.get_running_loop()) for _ in range(2))
            run_id = uuid.uuid4()
            try:
                with there.watch(run_id) as news:
                    for _ in range(2):
                        news.clear()
                        async with asyncio.timeout(30):
                            while not news.is_set():
                                here.notify([run_id])
                                await asyncio.sleep(0.02)
                        self.assertGreater(line.silence(), 0)
                        # Answers continue meanwhile, and no tasks pile up waiting for Redis.
                        here.notify([run_id])
            finally:
                await here.close()
                await there.close()

    async def test_a_wish_to_stop_is_heard(self):
        heard = asyncio.Event()
        with override_settings(REDIS_URL=self.redis_url):
            here, there = (Notifications(asyncio.get_running_loop()) for _ in range(2))
        try:
            there.listen(heard.set)
            async with asyncio.timeout(20):
                while not heard.is_set():
                    here.notify_cancel(uuid.uuid4())
                    await asyncio.sleep(0.02)
        finally:
            await here.close()
            await there.close()

    async def test_what_is_no_hint_is_passed_over(self):
        with override_settings(REDIS_URL=self.redis_url):
            there = Notifications(asyncio.get_running_loop())
        run_id = uuid.uuid4()
        client = redis.asyncio.from_url(self.redis_url)
        try:
            with there.watch(run_id) as news:
                async with asyncio.timeout(20):
                    while not news.is_set():
                        await client.publish(NEWS, b"\xff nonsense " + run_id.hex.encode() + b" '; DROP")
                        await asyncio.sleep(0.02)
        finally:
            await client.aclose()
            await there.close()


class TwoProcessesTest(ServiceTestCase):
    def follow_on_another(self, **env: str) -> None:
        """Ask on one process, read on another, and cancel a second answer from there."""
        needs_dialect("chat_v1")
        with running_service(**env) as one, running_service(**env) as two:
            body = {"content": "hello", "model": SLOW}
            with self.alice.http.stream("POST", f"{one.url}/v1/chat/conversations/stream", json=body) as asked:
                run_id = asked.headers["x-run-id"]
                seen = self.alice.http.get(f"{two.url}/v1/chat/runs/{run_id}/stream")
                asked.read()
            message = Message.objects.get(run__pk=run_id)
            self.assertEqual(message.status, "complete")
            self.assertEqual(sse_data(seen.text)[-1], "[DONE]")
            self.assertEqual(sse_data(seen.text)[-2], sse_data(asked.text)[-2])

            with self.alice.http.stream("POST", f"{one.url}/v1/chat/conversations/stream", json=body) as asked:
                run_id = asked.headers["x-run-id"]
                self.alice.http.post(f"{two.url}/v1/chat/runs/{run_id}/cancel")
                wait_until(lambda: Run.objects.get(pk=run_id).state == "cancelled", what="the cancelled run")

    @pytest.mark.usefixtures("redis_url")
    def test_a_run_is_followed_and_stopped_from_elsewhere_with_redis(self):
        self.follow_on_another(REDIS_URL=self.redis_url)

    def test_a_run_is_followed_and_stopped_from_elsewhere_while_redis_is_away(self):
        self.follow_on_another(REDIS_URL=f"redis://127.0.0.1:{CLOSED_PORT}")


@pytest.mark.usefixtures("redis_url")
class AccountHintsTest(TransactionTestCase):
    redis_url: str

    def test_an_account_that_is_stopped_elsewhere_is_noticed_without_waiting_for_the_next_look(self):
        user = register_user(username=f"alice-{uuid.uuid4().hex[:12]}")
        self.addCleanup(setattr, watching, "RECHECK_SECONDS", watching.RECHECK_SECONDS)
        watching.RECHECK_SECONDS = 3600
        with override_settings(REDIS_URL=self.redis_url):
            asyncio.run(self.notice(user))

    async def notice(self, user: User) -> None:
        watch = watching.credential_watch
        notifications = Notifications(asyncio.get_running_loop())
        noticed = asyncio.Event()
        watched = watch.begin(Principal(user_id=user.pk, username=user.username), noticed.set)
        try:
            notifications.listen()
            await in_database_thread(lambda: User.objects.filter(pk=user.pk).update(is_active=False))
            async with asyncio.timeout(20):
                while not noticed.is_set():  # until the subscription is active
                    await asyncio.to_thread(notify_accounts_changed)
                    await asyncio.sleep(0.02)
            self.assertEqual(watched.refusal, watching.ACCOUNT_GONE)
        finally:
            watch.end(watched)
            await notifications.close()
