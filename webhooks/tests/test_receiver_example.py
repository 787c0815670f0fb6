"""The receiver that docs/webhooks.md prints verifies what is sent to it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from chatservice.testing import free_port, tried_on, wait_until
from webhooks.delivery import deliver
from webhooks.signing import secret_of
from webhooks.tests.case import WebhookCase, make_endpoint

PAGE = Path(settings.BASE_DIR) / "docs" / "webhooks.md"


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@tried_on("sqlite")
class ReceiverExampleTest(WebhookCase):
    def test_it_verifies_events(self) -> None:
        [program] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        port = free_port()
        right, wrong = (make_endpoint(f"http://127.0.0.1:{port}/") for _ in range(2))
        environment = {**os.environ, "WEBHOOK_SECRET": secret_of(right), "PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: is_open(port), timeout=60, what="the receiver")
            for each in (right, wrong):
                self.sent_test(each)
                deliver(each.pk)
        finally:
            process.terminate()
            printed, _ = process.communicate(timeout=10)
        self.assertEqual(printed, f"webhook.test {right.pk}\n")
        self.assertEqual([each.deliveries.get().last_status for each in (right, wrong)], [200, 400])
