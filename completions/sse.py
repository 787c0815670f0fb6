"""Server-sent events: a response that sends frames until its reader leaves. Knows no dialect's shapes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable

from django.conf import settings
from django.http import StreamingHttpResponse

from completions.live import LIVE
from completions.types import Heartbeat, ReaderEvent

COMMENT = b": keepalive\n\n"
# Once the OpenAI client has seen an id, it dispatches an empty event for a blank line, so only one newline is sent.
COMMENT_LINE = b": keepalive\n"


def event_stream(frames: AsyncIterator[bytes], *, on_close: Callable[[], None]) -> StreamingHttpResponse:
    """Return the streaming response that sends `frames`; `on_close` is called once, however the response ends."""
    response = StreamingHttpResponse(frames, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    response._resource_closers.append(on_close)  # type: ignore[attr-defined]  # the stubs do not know it
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


async def cancel_when_left(frames: AsyncIterator[bytes], run_id: uuid.UUID) -> AsyncIterator[bytes]:
    """Stop the run when its reader leaves before the end; used only for clients that asked for it."""
    finished = False
    try:
        async for frame in frames:
            yield frame
        finished = True
    finally:
        live = LIVE.get(run_id)
        if not finished and live is not None:
            live.cancel()
