"""Clients of the running service, for tests that inspect it while it answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from chatservice.testing import ApiUser, needs_dialect, sse_data

needs_dialect("openai_v1")
URL = "/v1/chat/completions"


def body_of(model: str, text: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


class Listener:
    """One open stream, and the text received so far."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.raw = ""
        self._lines = response.iter_text()

    @property
    def run_id(self) -> uuid.UUID:
        return uuid.UUID(self.response.headers["x-run-id"])

    @property
    def events(self) -> list[Any]:
        """Every event so far, decoded; the last one is the text `[DONE]`."""
        whole = self.raw[: self.raw.rfind("\n\n") + 2]
        return [data if data == "[DONE]" else json.loads(data) for data in sse_data(whole)]

    @property
    def text(self) -> str:
        return text_of(self.events)

    @property
    def error(self) -> dict[str, Any] | None:
        return next((event["error"] for event in self.events if isinstance(event, dict) and "error" in event), None)

    def until(self, wanted: str) -> None:
        """Read until the text contains `wanted`."""
        while wanted not in self.text:
            self.raw += next(self._lines)

    def rest(self) -> None:
        """Read to the end; a broken connection also counts as the end."""
        try:
            for part in self._lines:
                self.raw += part
        except httpx2.HTTPError:
            pass


def text_of(events: list[Any]) -> str:
    text = ""
    for event in events:
        for choice in event.get("choices", ()) if isinstance(event, dict) else ():
            if not choice.get("index"):
                text += choice.get("delta", {}).get("content") or ""
    return text


@contextmanager
def listening(api_user: ApiUser, model: str, *, url: str = "", **fields: Any) -> Iterator[Listener]:
    """Ask as `api_user` at `url` (by default the service of its client), and stream the answer."""
    headers = fields.pop("headers", {})
    body = body_of(model, fields.pop("text", "Hi"), stream=True, **fields)
    with api_user.http.stream("POST", f"{url}{URL}", json=body, headers=headers) as response:
        yield Listener(response)
