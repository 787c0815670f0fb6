"""The number of heaps that glibc keeps for threads, counted in separate processes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import unittest

from django.test import SimpleTestCase

from foundation.internals.malloc import LARGE_BYTES, MAX_ARENAS

THREADS = 6
# Each thread allocates from its own heap while all other threads still hold theirs.
COUNT_HEAPS = f"""
import ctypes, sys, tempfile, threading
from foundation.internals.malloc import share_heaps

if sys.argv[1] == "shared":
    share_heaps()
everybody = threading.Barrier({THREADS})

def allocate():
    held = bytes(100_000)
    everybody.wait(30)

threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for each in threads:
    each.start()
for each in threads:
    each.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(file.read().count(b"<heap nr="))
"""

# A freed block raises glibc's own limit; then each of the large ones is pinned by a small one that follows it.
LEAVE_HOLES = f"""
import ctypes, sys
from foundation.internals.malloc import share_heaps

if sys.argv[1] == "shared":
    share_heaps()

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def block(size):
    at = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(at, 1, size)
    return ctypes.c_void_p(at)

libc.free(block(30 * {LARGE_BYTES}))
before = resident()
large = []
for _ in range(20):
    large.append(block(4 * {LARGE_BYTES}))
    block(1_000)
for each in large:
    libc.free(each)
print(resident() - before)
"""


@unittest.skipUnless(platform.libc_ver()[0] == "glibc", "another C library has no such heaps")
class ShareHeapsTest(SimpleTestCase):
    def heaps(self, how: str, **env: str) -> int:
        return self.printed(COUNT_HEAPS, how, **env)

    def printed(self, program: str, how: str, **env: str) -> int:
        kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
        command = [sys.executable, "-c", program, how]
        done = subprocess.run(command, env={**kept, **env}, capture_output=True, text=True, timeout=60, check=True)
        return int(done.stdout)

    def test_threads_share_two_heaps(self):
        self.assertGreater(self.heaps("each its own"), MAX_ARENAS)
        self.assertLessEqual(self.heaps("shared"), MAX_ARENAS)

    def test_large_blocks_go_back_to_the_system(self):
        self.assertGreater(self.printed(LEAVE_HOLES, "each its own"), 60 * LARGE_BYTES)
        self.assertLess(self.printed(LEAVE_HOLES, "shared"), 4 * LARGE_BYTES)

    def test_an_operator_who_has_set_the_number_is_not_overruled(self):
        self.assertEqual(self.heaps("shared", MALLOC_ARENA_MAX="4"), 4)
