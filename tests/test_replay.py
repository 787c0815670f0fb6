"""Every request in the five documents works as printed, and the script that checks this detects failures."""

from __future__ import annotations

import os
import shutil

from chatservice.dialects import DIALECTS
from chatservice.testing import ServiceTestCase
from scripts.replay_documents import DOCUMENTS, replay

# Document -> the dialects that serve it.
SERVED_BY = {
    "0-chat": {"chat"},
    "1-v1": {"chat_v1"},
    "2-openai": {"openai_v1", "graphql"},
    "3-assistant": {"resources"},
    "4-resources": {"resources"},
}


class ReplayTest(ServiceTestCase):
    def test_every_printed_call_works(self) -> None:
        self.assertEqual(set(SERVED_BY), set(DOCUMENTS))
        names = [name for name, dialects in SERVED_BY.items() if dialects <= set(DIALECTS)]
        lines: list[str] = []
        run = replay(self.service.url, self.alice.secret, names, lines.append)
        self.assertEqual(run.failures, 0, "\n".join(lines))
        self.assertEqual(run.calls, sum("PASS" in line for line in lines))
        if len(names) == len(DOCUMENTS):
            self.assertGreaterEqual(run.calls, 36)
        if os.environ.get("CI"):
            self.assertTrue(shutil.which("node"), "CI promises node, for the printed JavaScript client")

    def test_a_call_that_fails_is_told_and_counted(self) -> None:
        lines: list[str] = []
        run = replay(self.service.url, "cb_wrong", ["1-v1"] if "chat_v1" in DIALECTS else ["2-openai"], lines.append)
        self.assertGreater(run.failures, 0)
        self.assertTrue(any(line.startswith("FAIL") for line in lines), lines)
