"""Server-sent events: a response that sends frames until its reader leaves. Knows no dialect's shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from django.conf import settings
from django.http import StreamingHttpResponse

from completions.types import Heartbeat, ReaderEvent

COMMENT = b": keepalive\n\n"
# Once the OpenAI client has seen an id, it dispatches an empty event for a blank line, so only one newline is sent.
COMMENT_LINE = b": keepalive\n"


def event_stream(
    frames: AsyncIterator[bytes], *, on_close: Callable[[], None], when_left: Callable[[], object] | None = None
) -> StreamingHttpResponse:
    """Return the streaming response that sends `frames`; `on_close` is called once, however the response ends.

    `when_left` is called before it if the reader left before the last frame.
    """
    finished = False

    async def sent() -> AsyncIterator[bytes]:
        nonlocal finished
        async for frame in frames:
            yield frame
        finished = True

    def close() -> None:
        # Not in a `finally` of `sent`: a generator that was never begun does not reach it.
        if when_left is not None and not finished:
            when_left()
        on_close()

    watched = frames if when_left is None else sent()
    response = StreamingHttpResponse(watched, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    response._resource_closers.append(close)  # type: ignore[attr-defined]  # the stubs do not know it
    return response


async def encode(
    events: AsyncIterator[ReaderEvent | Heartbeat],
    frame: Callable[[ReaderEvent], bytes],
    *,
    heartbeat: bytes = COMMENT,
) -> AsyncIterator[bytes]:
    """Yield a frame for each event, and a comment when nothing happens."""
    async for event in events:
        data = heartbeat if isinstance(event, Heartbeat) else frame(event)
        if data:
            yield data


def data_frame(payload: bytes, *, event_id: str = "") -> bytes:
    """Return one event whose data is `payload`, a single line."""
    head = b"id: " + event_id.encode() + b"\n" if event_id else b""
    return head + b"data: " + payload + b"\n\n"


def idle_seconds() -> float:
    return settings.SSE_HEARTBEAT_SECONDS
