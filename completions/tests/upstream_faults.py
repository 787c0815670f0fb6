"""The behaviours of an upstream that refuses, breaks off or sends nonsense; and the choice among all behaviours."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from typing import Any

from completions.tests import upstream_bodies, upstream_clever  # noqa: F401  their behaviours are found by name
from completions.tests.upstream_answers import ok
from completions.tests.upstream_responses import answer_response
from completions.tests.upstream_wire import (
    FAULTS,
    FOREVER,
    KEY_IN_ERROR,
    WORDS,
    Connection,
    HangUp,
    chunk,
    fault,
    seconds,
    whole,
)


async def answer(c: Connection, models: Any) -> None:
    """Dispatch one request by path, then by the model's name."""
    path = c.recorded.path.partition("?")[0].rstrip("/")
    if path.endswith("/models"):
        return await c.json(200, models)
    if "/models/" in path:
        model = path.partition("/models/")[2]
        return await c.json(200, {"id": model, "object": "model", "created": 1, "owned_by": "tests"})
    if path.endswith("/embeddings") and c.body.get("model") == "clever":
        return await c.json(200, upstream_clever.vectors(c.body))
    if path.endswith("/embeddings"):
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return await c.json(200, {"object": "list", "model": c.body.get("model"), "data": vectors, "usage": usage})
    if path.endswith("/responses"):
        return await answer_response(c)
    if not path.endswith("/chat/completions"):
        return await c.error(404, "Not found")
    name, *arguments = str(c.body.get("model")).split(":")
    if name.isdigit() and name not in FAULTS:
        return await _status(c, name, *arguments)
    behaviour = FAULTS.get(name.removeprefix("http-") if name.removeprefix("http-") in FAULTS else name)
    if name.startswith("http-") and behaviour is None:
        return await _status(c, name.removeprefix("http-"), *arguments)
    if behaviour is None:
        return await c.error(404, f"The model `{name}` does not exist", "model_not_found")
    await behaviour(c, *arguments)


async def _status(c: Connection, status: str, wait: str | None = None) -> None:
    """`429`, `429:1`, `http-500`, `503:Wed, 21 Oct 2015 07=28=00 GMT`: any status, with a Retry-After (colons as `=`).

    The body contains a key.
    """
    extra = {"retry_after": wait.replace("=", ":")} if wait is not None else {}
    await c.error(int(status), f"Refused: key {KEY_IN_ERROR} is no good", "some_code", **extra)


# --- refusals ------------------------------------------------------------------------------------


@fault
async def flaky(c: Connection, refusals: str = "1", status: str = "429", wait: str = "0") -> None:
    """Refuses the given number of requests with the same `user`, then answers."""
    tries = _tries.setdefault(str(c.body.get("user")), [])
    tries.append(1)
    if len(tries) <= int(refusals):
        return await _status(c, status, wait)
    await ok(c)


_tries: dict[str, list[int]] = {}


@fault
async def context_length(c: Connection) -> None:
    await c.error(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded")


@fault
async def redirect(c: Connection, status: str = "307", target: str = "") -> None:
    host = c.recorded.headers.get("host", "")
    location = f"http://{host}/v1/chat/completions?elsewhere" if not target else f"http://{target}.invalid/"
    await c.reply(int(status), "text/plain", b"moved", location=location)


@fault
async def html(c: Connection, status: str = "200") -> None:
    await c.reply(int(status), "text/html", f"<html>login {KEY_IN_ERROR}</html>".encode())


@fault
async def html_200(c: Connection) -> None:
    await html(c, "200")


@fault
async def error_200(c: Connection) -> None:
    await c.json(200, {"error": {"message": f"No {KEY_IN_ERROR}", "code": 502}})


@fault
async def informational(c: Connection) -> None:
    """Endless interim responses."""
    while True:
        await c.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.01)


# --- broken connections --------------------------------------------------------------------------


@fault
async def refuse(c: Connection) -> None:
    """Reads the request and closes without sending a byte."""
    raise HangUp


@fault
async def reset(c: Connection, words: str = "") -> None:
    """RST, before the answer or (`reset:2`) after that number of words."""
    if words:
        await c.open()
        await c.words(*WORDS[: int(words)])
        await asyncio.sleep(0.05)
    sock = c.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.writer.transport.abort()
    raise HangUp


@fault
async def truncated(c: Connection, how: str = "eof") -> None:
    """Two words, then a proper end (`eof`), a cut inside an HTTP chunk (`cut`), or `[DONE]` without a finish reason."""
    await c.open()
    await c.words(*WORDS[:2])
    if how == "cut":
        await c.send(b"ff\r\ndata: {")
        raise HangUp
    if how == "done":
        await c.raw(b"data: [DONE]\n\n")
    await c.send(b"0\r\n\r\n")


@fault
async def close_delimited(c: Connection, finish: str = "stop") -> None:
    """Neither length nor chunks: the body ends when the connection closes."""
    await c.head(200, "text/event-stream", connection="close")
    for word in WORDS:
        await c.send(b"data: " + json.dumps(chunk({"content": word})).encode() + b"\n\n")
    if finish == "stop":
        await c.send(b"data: " + json.dumps(chunk({}, "stop")).encode() + b"\n\n")
    raise HangUp


@fault
async def chunk_overflow(c: Connection, pause: str = "0ms") -> None:
    await c.open()
    await c.words(*WORDS[:2])
    await asyncio.sleep(seconds(pause))
    await c.send(b"fffffffffffffffffffffff\r\n")
    await asyncio.sleep(FOREVER)


@fault
async def no_first_byte(c: Connection) -> None:
    await asyncio.sleep(FOREVER)


@fault
async def headers_then_hang(c: Connection) -> None:
    await c.open()
    await asyncio.sleep(FOREVER)


@fault
async def stall(c: Connection, words: str = "2") -> None:
    await c.open()
    await c.words(*WORDS[: int(words)])
    await asyncio.sleep(FOREVER)


@fault
async def comments_forever(c: Connection, words: str = "2") -> None:
    await c.open()
    if int(words):
        await c.words(*WORDS[: int(words)])
    while True:
        await c.raw(b": OPENROUTER PROCESSING\n\n")
        await asyncio.sleep(0.05)


@fault
async def gzip_bomb(c: Connection) -> None:
    await c.reply(200, "application/json", gzip.compress(b" " * (1 << 24)), content_encoding="gzip")


# --- broken content ------------------------------------------------------------------------------


async def _broken(c: Connection, line: bytes) -> None:
    """Two good words, then the given line, then a good end."""
    await c.open()
    await c.words(*WORDS[:2])
    await c.raw(line + b"\n\n")
    await c.close()


@fault
async def malformed(c: Connection) -> None:
    await _broken(c, b'data: {"id": "x", "choi')


@fault
async def data(c: Connection, value: str = "null") -> None:
    """`data:null`, `data:[]`, `data:"x"`, `data:{}`: a data line with that value, with `=` for colons."""
    await _broken(c, b"data: " + value.replace("=", ":").encode())


@fault
async def number_content(c: Connection) -> None:
    await _broken(c, b"data: " + json.dumps(chunk({"content": 5})).encode())


@fault
async def error_event(c: Connection) -> None:
    await _broken(c, b'event: error\ndata: {"message": "overloaded"}')


@fault
async def error_mid_stream(c: Connection, code: str = "502") -> None:
    """As OpenRouter does it: status 200, an `error` next to the choices, then the end."""
    failed: dict[str, Any] = chunk({"content": ""}, "error")
    failed["error"] = {"code": int(code) if code.isdigit() else code, "message": f"Provider {KEY_IN_ERROR} broke"}
    await c.open()
    await c.words(*WORDS[:2])
    await c.data(failed)
    await c.send(b"0\r\n\r\n")


@fault
async def finish_error(c: Connection) -> None:
    await c.open()
    await c.words(*WORDS[:2])
    await c.close(finish="error")


@fault
async def bad_utf8(c: Connection) -> None:
    """An invalid byte, lone surrogates and NUL, in the text and in an unknown field."""
    text = json.dumps(chunk({"content": "a@b#c%d"})).encode()
    text = text.replace(b"@", b"\xff").replace(b"#", b"\\ud83d").replace(b"%", b"\\u0000")
    await _broken(c, b"data: " + text + b'\n\ndata: {"choices":[{"delta":{"x\\u0000":["\\ud800"]}}]}')


@fault
async def huge_line(c: Connection, size: str = str(64 << 20)) -> None:
    await c.open()
    await c.words(*WORDS[:2])
    await c.raw(b'data: {"x": "')
    for _ in range(int(size) >> 16):
        await c.raw(b"a" * 65536)
    await c.raw(b'"}\n\n')
    await c.close()


@fault
async def huge_text(c: Connection, size: str = str(1 << 20)) -> None:
    """The given number of characters of text, one kibibyte at a time."""
    if not c.streaming:
        return await c.json(200, whole("x" * int(size)))
    await c.open()
    for _ in range(int(size) >> 10):
        await c.chunk({"content": "x" * 1024})
    await c.close()


@fault
async def huge_body(c: Connection, size: str = str(16 << 20)) -> None:
    await c.json(200, {**whole(), "padding": "x" * int(size)})


@fault
async def many_tools(c: Connection, count: str = "10000") -> None:
    await c.open()
    for at in range(int(count)):
        await c.chunk({"tool_calls": [{"index": at, "id": f"call_{at}", "function": {"name": "f", "arguments": "{"}}]})
    await c.close(finish="tool_calls")


@fault
async def negative_usage(c: Connection) -> None:
    """Impossible numbers, and a different model than requested."""
    wrong = {"model": "another", "usage": {"prompt_tokens": -1, "completion_tokens": "many", "total_tokens": None}}
    if not c.streaming:
        return await c.json(200, {**whole(), **wrong})
    await c.open()
    await c.words()
    await c.data({**chunk({}, "stop"), **wrong})
    await c.close(usage=False, finish=None)


@fault
async def broken_tools(c: Connection) -> None:
    """Arguments that are not JSON, and a tool call with an invalid index."""
    function = {"name": "f", "arguments": '{"city": '}
    if not c.streaming:
        calls = [{"id": "call_1", "type": "function", "function": function}, {"index": -7}, "call", None]
        return await c.json(200, whole(tool_calls=calls))
    await c.open()
    await c.words()
    for call in (
        {"index": 0, "id": "call_1", "function": function},
        {"index": 1 << 40},
        {"index": "one"},
        "call",
        None,
    ):
        await c.chunk({"tool_calls": [call]})
    await c.close()


@fault
async def far_choice(c: Connection, index: str = "1000000000") -> None:
    """A choice nobody asked for."""
    if not c.streaming:
        answer = whole()
        return await c.json(
            200, {**answer, "choices": [answer["choices"][0], {**answer["choices"][0], "index": int(index)}]}
        )
    await c.open()
    await c.words()
    await c.chunk({"content": "ghost"}, index=int(index))
    await c.chunk({}, "stop", index=int(index))
    await c.close()


@fault
async def tiny(c: Connection, count: str = "1000000") -> None:
    """The given number of chunks of one character."""
    line = b"data: " + json.dumps(chunk({"content": "x"}), separators=(",", ":")).encode() + b"\n\n"
    framed = b"%x\r\n%b\r\n" % (len(line), line)
    await c.open()
    for _ in range(int(count) // 500):
        await c.send(framed * 500)
    await c.close()


@fault
async def trickle(c: Connection, pause: str = "50ms") -> None:
    """Two words, then a third one byte by byte."""
    await c.open()
    await c.words(*WORDS[:2])
    for byte in b"data: " + json.dumps(chunk({"content": WORDS[2]})).encode():
        await c.raw(bytes([byte]))
        await asyncio.sleep(seconds(pause))
    await c.raw(b"\n\n")
    await c.close()
