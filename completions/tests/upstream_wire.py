"""The wire format of the fault-injecting upstream: hand-written HTTP and event streams, and the table of behaviours.

A stream sends `WORDS` unless its name says otherwise. `id`, `created` and `model` are always the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

WORDS = ("Hel", "lo", " wör", "ld", " 🙂", "!")
TEXT = "".join(WORDS)
KEY_IN_ERROR = "sk-test-leaked0123456789abcdef"
USAGE = {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
ENVELOPE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "faulty"}
MODELS = {
    "object": "list",
    "data": [
        {"id": "faulty", "object": "model", "created": 1_700_000_000, "owned_by": "tests"},
        {"id": "meta/llama-3", "object": "model", "created": 1_700_000_001, "owned_by": "tests"},
    ],
}
FOREVER = 3600.0


class HangUp(Exception):
    """Raised to close the connection."""


class Connection:
    """The response to one request: writes HTTP by hand, valid or not."""

    def __init__(self, writer: asyncio.StreamWriter, recorded: Any) -> None:
        self.writer, self.recorded = writer, recorded
        self.keep_alive = True
        body = recorded.body if isinstance(recorded.body, dict) else {}
        self.body, self.streaming = body, bool(body.get("stream"))
        options = body.get("stream_options")
        self.wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))

    async def send(self, data: bytes) -> None:
        self.recorded.sent += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, content_type: str, **headers: str) -> None:
        self.recorded.status = status
        lines = [f"HTTP/1.1 {status} X", *([f"content-type: {content_type}"] if content_type else [])]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def reply(self, status: int, content_type: str, data: bytes, **headers: str) -> None:
        await self.head(status, content_type, content_length=str(len(data)), **headers)
        await self.send(data)

    async def json(self, status: int, value: Any, **headers: str) -> None:
        await self.reply(status, "application/json", json.dumps(value).encode(), **headers)

    async def error(self, status: int, message: str, code: Any = None, **headers: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}
        await self.json(status, {"error": error}, **headers)

    async def open(self) -> None:
        await self.head(200, "text/event-stream; charset=utf-8", transfer_encoding="chunked")

    async def raw(self, data: bytes) -> None:
        """Write bytes of the event stream as one HTTP chunk."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def data(self, value: Any) -> None:
        await self.raw(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    async def chunk(self, delta: Any, finish: str | None = None, **extra: Any) -> None:
        await self.data(chunk(delta, finish, **extra))

    async def words(self, *words: str, pause: float = 0.0) -> None:
        await self.chunk({"role": "assistant", "content": ""})
        for word in words or WORDS:
            if pause:
                await asyncio.sleep(pause)
            await self.chunk({"content": word})

    async def close(
        self, *, usage: bool | dict[str, Any] = True, done: bool = True, finish: str | None = "stop"
    ) -> None:
        if finish:
            await self.chunk({}, finish)
        if usage and self.wants_usage:
            await self.data({**ENVELOPE, "choices": [], "usage": USAGE if usage is True else usage})
        if done:
            await self.raw(b"data: [DONE]\n\n")
        await self.send(b"0\r\n\r\n")


def chunk(delta: Any, finish: Any = None, index: int = 0, **extra: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": extra.pop("logprobs", None), "finish_reason": finish}
    return {**ENVELOPE, **extra, "choices": [choice]}


def whole(text: str | None = TEXT, **message: Any) -> dict[str, Any]:
    body = {"role": "assistant", "content": text, "refusal": None, **message}
    choice = {"index": 0, "message": body, "logprobs": None, "finish_reason": "stop"}
    return {**ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def seconds(text: str) -> float:
    """Return the seconds in `20ms`, `1.5s` or a plain number."""
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


Fault = Callable[..., Awaitable[None]]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.strip("_").replace("_", "-")] = function
    return function
