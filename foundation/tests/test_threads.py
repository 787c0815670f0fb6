"""Threads that may hang: callers wait only as long as promised, and the process exits without waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

from django.db import OperationalError
from django.test import SimpleTestCase

from foundation import database
from foundation.database import in_database_thread
from foundation.threads import DaemonThreads

HANG = """
import time
from foundation.threads import DaemonThreads
threads = DaemonThreads(2, "hanging")
print(threads.submit(lambda: "called").result())
threads.submit(time.sleep, 600)
"""


class DaemonThreadsTest(SimpleTestCase):
    def test_no_more_threads_than_needed_and_no_more_than_allowed(self):
        threads = DaemonThreads(3, "few")
        self.assertEqual([threads.submit(lambda: 1).result(5) for _ in range(5)], [1] * 5)
        started = [each for each in threading.enumerate() if each.name.startswith("few-")]
        self.assertLessEqual(len(started), 2)  # the next call may come before a thread has reported that it is idle
        go = threading.Event()
        waiting = [threads.submit(go.wait, 20) for _ in range(9)]
        started = [each for each in threading.enumerate() if each.name.startswith("few-")]
        self.assertEqual(len(started), 3)
        go.set()
        self.assertEqual([each.result(20) for each in waiting], [True] * 9)
        threads.shutdown()
        for each in started:
            each.join(20)
            self.assertFalse(each.is_alive())

    def test_an_error_is_the_callers(self):
        threads = DaemonThreads(1, "failing")
        with self.assertRaises(ZeroDivisionError):
            threads.submit(lambda: 1 / 0).result(5)
        self.assertEqual(threads.submit(lambda: 1).result(5), 1)
        threads.shutdown()

    def test_a_process_ends_while_one_hangs(self):
        done = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, "called\n"))


class DatabaseThreadsTest(SimpleTestCase):
    databases = {"default"}

    def test_when_all_threads_hang_their_callers_and_the_next_are_told_in_time(self):
        go = threading.Event()
        self.addCleanup(go.set)

        async def test() -> list[object]:
            hanging = [in_database_thread(go.wait, 30, seconds=0.5) for _ in range(database._threads._size)]
            return await asyncio.gather(*hanging, in_database_thread(int, seconds=0.5), return_exceptions=True)

        began = time.monotonic()
        results = asyncio.run(test())
        self.assertEqual({type(each) for each in results}, {OperationalError})
        self.assertLess(time.monotonic() - began, 10)
        go.set()
        self.assertEqual(asyncio.run(in_database_thread(int)), 0)
