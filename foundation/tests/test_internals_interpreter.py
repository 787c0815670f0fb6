"""Settings of the whole interpreter, each tested in a separate process, because they would outlive a test.

chatservice/tests/test_process_settings.py checks the service's own process.
"""

from __future__ import annotations

import subprocess
import sys

from django.test import SimpleTestCase

SWITCH = """
import sys
from foundation.internals.interpreter import SWITCH_SECONDS, shorten_switch_interval
assert sys.getswitchinterval() > SWITCH_SECONDS, "no longer worth a hook"
shorten_switch_interval()
assert abs(sys.getswitchinterval() - SWITCH_SECONDS) < 1e-6
"""
FREEZE = """
import gc
from foundation.internals.interpreter import THRESHOLDS, freeze_loaded_objects
kept = [[number] for number in range(50_000)]
assert len(gc.get_objects()) > 50_000 and not gc.get_freeze_count()
lost = []
lost.append(lost)
del lost
freeze_loaded_objects()
assert gc.get_freeze_count() > 50_000
assert len(gc.get_objects()) < 1_000, "the collector still walks what was loaded"
assert gc.get_threshold() == THRESHOLDS
assert gc.isenabled()
"""
LOAD = """
import gc
from foundation.internals.interpreter import loading_permanently
def collections():
    return sum(each["collections"] for each in gc.get_stats())
def load():
    return [[number] for number in range(50_000)]
before = collections()
load()
assert collections() > before, "loading is no work for the collector, and no hook is needed"
before = collections()
with loading_permanently():
    kept = load()
assert collections() == before
assert gc.isenabled() and gc.get_freeze_count() > 50_000
assert len(gc.get_objects()) < 1_000
"""
# If the garbage collector was off, it stays off, and a failed model load leaves it unchanged.
RESTORE = """
import gc
from foundation.internals.interpreter import loading_permanently
gc.disable()
with loading_permanently():
    pass
assert not gc.isenabled()
gc.enable()
try:
    with loading_permanently():
        raise OSError
except OSError:
    assert gc.isenabled()
"""


class InterpreterTest(SimpleTestCase):
    def run_alone(self, code: str) -> None:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_thread_that_waits_gets_the_interpreter_sooner(self):
        self.run_alone(SWITCH)

    def test_what_is_loaded_is_not_walked_again(self):
        self.run_alone(FREEZE)

    def test_nothing_is_collected_while_what_stays_is_loaded_nor_is_it_walked_afterwards(self):
        self.run_alone(LOAD)

    def test_the_collector_is_left_as_it_was(self):
        self.run_alone(RESTORE)
