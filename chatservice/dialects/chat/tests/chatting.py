"""Using the chat API in tests, as EventSource does."""

from __future__ import annotations

import httpx2

from chatservice.testing import sse_events


def start(http: httpx2.Client, content: str = "Hello, how are you?") -> str:
    """Create a conversation and ask `content`, unless it is empty; return its address."""
    created = http.get("/chat/conversation")
    assert created.status_code == 200, created.text
    path = f"/chat/conversation/{created.json()['id']}"
    if content:
        ask(http, path, content)
    return path


def ask(http: httpx2.Client, path: str, content: str) -> dict:
    sent = http.post(f"{path}/message", json={"content": content})
    assert sent.status_code == 201, sent.text
    return sent.json()


def text_of(events: list[dict]) -> str:
    """Return the data that an EventSource passes to `onmessage`, in order."""
    return "".join(event["data"] for event in events if "event" not in event)


def read(http: httpx2.Client, path: str, *, after: str = "", model: str = "default") -> list[dict]:
    """Read a whole stream as events."""
    headers = {"Last-Event-ID": after} if after else {}
    response = http.get(f"{path}/stream", headers=headers, params={"model": model})
    assert response.status_code == 200, (response.status_code, response.text)
    assert response.headers["content-type"].startswith("text/event-stream")
    return sse_events(response.text)


def read_until(http: httpx2.Client, path: str, enough: int, *, model: str) -> list[dict]:
    """Read at least `enough` characters of a stream, then drop the connection."""
    buffer = ""
    with http.stream("GET", f"{path}/stream", params={"model": model}) as response:
        assert response.status_code == 200
        for piece in response.iter_text():
            buffer += piece
            events = sse_events(buffer[: buffer.rfind("\n\n") + 2])
            if len(text_of(events)) >= enough:
                return events
    raise AssertionError(f"the stream ended early: {buffer!r}")
