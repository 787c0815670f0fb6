"""Sends mail in a thread of its own: a server that hangs or refuses delays nothing else.

What waits is in memory only: it is lost if the process ends.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from smtplib import SMTPResponseException

from django.core.mail import EmailMessage

logger = logging.getLogger(__name__)

ATTEMPTS = 5
PAUSE_SECONDS = 60.0
MAX_WAITING = 1_000


class Outbox:
    """Sends one mail after the other. Each is tried up to `attempts` times, with a pause after a failure."""

    def __init__(self, *, attempts: int = ATTEMPTS, pause: float = PAUSE_SECONDS, most: int = MAX_WAITING) -> None:
        self._attempts, self._pause, self._most = attempts, pause, most
        self._waiting: deque[tuple[EmailMessage, int]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, message: EmailMessage) -> None:
        """Send a mail soon; returns at once."""
        with self._lock:
            if len(self._waiting) >= self._most:
                logger.error("a mail is not sent, since %d others wait", self._most)
                return
            self._waiting.append((message, 1))
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="mail", daemon=True)
                self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait until nothing is left to send; return False if it takes longer."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _send_all(self) -> None:
        pause = threading.Event()
        while (found := self._next()) is not None:
            if not self._send(*found):
                pause.wait(self._pause)

    def _next(self) -> tuple[EmailMessage, int] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._thread = None
            return None

    def _send(self, message: EmailMessage, attempt: int) -> bool:
        try:
            message.send()
        except Exception as error:
            code = f" {error.smtp_code}" if isinstance(error, SMTPResponseException) else ""
            # Only an error of the network or of the server can be another one next time.
            if isinstance(error, OSError) and attempt < self._attempts:
                logger.warning("a mail was not sent: %s%s, attempt %d", type(error).__name__, code, attempt)
                with self._lock:
                    self._waiting.append((message, attempt + 1))
            else:
                logger.error("a mail is not sent: %s%s, attempt %d", type(error).__name__, code, attempt)
            return False
        return True


outbox = Outbox()
"""The one of this process."""
