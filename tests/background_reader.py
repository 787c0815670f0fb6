"""A thread that asks for a long answer through the conversation API, and reads it to the end."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx2

from chatservice.testing import sse_data

STREAM = "/v1/chat/conversations/stream"


def ask(http: httpx2.Client, content: str = "Hi") -> httpx2.Response:
    """Ask for a short answer, and wait for it."""
    return http.post(STREAM, json={"content": content, "model": "fake/ok"})


class Reading(threading.Thread):
    def __init__(self, http: httpx2.Client, body: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.http, self.body = http, body
        self.begun = threading.Event()
        self.text = ""
        self.run_id = ""
        self.ended_at = 0.0

    def run(self) -> None:
        try:
            with self.http.stream("POST", STREAM, json=self.body, timeout=60) as response:
                self.run_id = response.headers.get("x-run-id", "")
                for part in response.iter_text():
                    self.text += part
                    if "ai_chunk" in part:
                        self.begun.set()
        except httpx2.HTTPError:
            pass  # the service was stopped
        finally:
            self.ended_at = time.monotonic()

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in sse_data(self.text) if data != "[DONE]"]

    @property
    def said(self) -> str:
        return "".join(frame["data"] for frame in self.frames if frame["type"] == "ai_chunk")
