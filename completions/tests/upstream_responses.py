"""The Responses API of the fault-injecting upstream: the model's name chooses the behaviour, as for chat completions.

Each behaviour is the output of a response, which is streamed as OpenAI does it, or sent whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from completions.tests.upstream_wire import FOREVER, KEY_IN_ERROR, TEXT, WORDS, Connection, whole

RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": "faulty-2026"}
RESPONSE_USAGE = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens": 6,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 9,
}
Item = dict[str, Any]


def message(*texts: str, item_id: str = "msg_1", **part: Any) -> Item:
    words = texts or WORDS
    content = {"type": "output_text", "text": "".join(words), "annotations": [], "logprobs": [], **part}
    return {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": [content]}


def call(number: int = 1, arguments: str = '{"city": "Paris"}') -> Item:
    named = {"id": f"fc_{number}", "call_id": f"call_{number}", "name": "weather"}
    return {"type": "function_call", **named, "arguments": arguments, "status": "completed"}


def custom_call() -> Item:
    return {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_c", "name": "patch", "input": "- a\n+ b"}


def reasoning(*summary: str, encrypted: str | None = "gAAA=", text: str = "", item_id: str = "rs_1") -> Item:
    content = [{"type": "reasoning_text", "text": text}] if text else []
    parts = [{"type": "summary_text", "text": each} for each in summary]
    return {"id": item_id, "type": "reasoning", "summary": parts, "content": content, "encrypted_content": encrypted}


SEARCH: Item = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "Paris"},
}
CITATION = {
    "type": "url_citation",
    "url": "https://a.example",
    "title": "A",
    "start_index": 0,
    "end_index": 3,
}
SCORED = [{"token": "Hel", "logprob": -0.1, "bytes": [72, 101, 108], "top_logprobs": [{"token": "é", "logprob": -2.0}]}]
REFUSAL: Item = {
    **message(),
    "content": [{"type": "refusal", "refusal": "I cannot."}],
}
ANSWERS: dict[str, list[Item]] = {
    "ok": [message()],
    "nothing": [],
    "tools": [call(1), call(2, "{}")],
    "custom": [custom_call()],
    "reasoning": [reasoning("First.", "Then."), message()],
    "thinking": [reasoning(text="I think", encrypted=None), message()],
    "round": [reasoning("Why."), message("Let me see."), call(1)],
    "thoughts": [
        reasoning("First."),
        SEARCH,
        reasoning("Then.", item_id="rs_2"),
        message("See A", annotations=[CITATION]),
    ],
    "refusal": [REFUSAL],
    "hosted": [SEARCH, message("See A", annotations=[CITATION])],
    "logprobs": [message("Hel", logprobs=SCORED)],
    "messages": [message("Now."), message("Done.", item_id="msg_2")],
}
ERROR = {"code": "server_error", "message": f"Broken with key {KEY_IN_ERROR}", "param": None}
TOO_FAST = {"code": "rate_limit_exceeded", "message": "Too fast", "param": None}


def response(output: list[Item], status: str = "completed", **fields: Any) -> dict[str, Any]:
    details = {"error": None, "incomplete_details": None, "usage": RESPONSE_USAGE, "service_tier": "default"}
    return {**RESPONSE, "status": status, "output": output, **details, **fields}


def events_of(output: list[Item], status: str = "completed", **fields: Any) -> list[dict[str, Any]]:
    """Every event of a stream with this output, as OpenAI sends them."""
    opening = response([], "in_progress", usage=None)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.in_progress", "response": opening},
    ]
    for place, item in enumerate(output):
        begun = {**item, "status": "in_progress", "content": [], "summary": [], "arguments": "", "input": ""}
        events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
        where = {"output_index": place, "item_id": item["id"]}
        events += [{**each, **where} for each in _inside(item)]
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    events.append({"type": f"response.{status}", "response": response(output, status, **fields)})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _inside(item: Item) -> list[dict[str, Any]]:
    match item["type"]:
        case "message":
            return [event for at, part in enumerate(item["content"]) for event in _part(at, part)]
        case "function_call":
            return _strings("function_call_arguments", item["arguments"], "arguments")
        case "custom_tool_call":
            return _strings("custom_tool_call_input", item["input"], "input")
        case "reasoning":
            summary = [
                {**event, "summary_index": at}
                for at, part in enumerate(item["summary"])
                for event in _strings("reasoning_summary_text", part["text"], "text")
            ]
            return summary + [
                {**event, "content_index": at}
                for at, part in enumerate(item["content"])
                for event in _strings("reasoning_text", part["text"], "text")
            ]
    return [{"type": f"response.{item['type']}.searching"}]


def _part(at: int, part: dict[str, Any]) -> list[dict[str, Any]]:
    field = "refusal" if part["type"] == "refusal" else "text"
    name = "refusal" if field == "refusal" else "output_text"
    events = _strings(name, part[field], field)
    if scores := part.get("logprobs"):
        events = [{**event, "delta": part[field]} for event in events[:1]] + events[-1:]
        events = [{**event, "logprobs": scores} for event in events]
    events[-1:-1] = [
        {"type": "response.output_text.annotation.added", "annotation_index": number, "annotation": annotation}
        for number, annotation in enumerate(part.get("annotations") or ())
    ]
    empty = {"type": "response.content_part.added", "part": {**part, field: ""}}
    done = {"type": "response.content_part.done", "part": part}
    return [{**event, "content_index": at} for event in (empty, *events, done)]


def _strings(name: str, text: str, field: str) -> list[dict[str, Any]]:
    """The deltas of a text, of three characters each, and its end."""
    deltas = [text[at : at + 3] for at in range(0, len(text), 3)]
    sent: list[dict[str, Any]] = [{"type": f"response.{name}.delta", "delta": delta} for delta in deltas]
    return [*sent, {"type": f"response.{name}.done", field: text}]


def frame(event: dict[str, Any], *, ascii_only: bool = False) -> bytes:
    data = json.dumps(event, ensure_ascii=ascii_only).encode()
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + data + b"\n\n"


# --- behaviours that are no plain output

Behaviour = Callable[..., Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__.strip("_").replace("_", "-")] = function
    return function


async def answer_response(c: Connection) -> None:
    name, *arguments = str(c.body.get("model")).split(":")
    if name in BEHAVIOURS:
        return await BEHAVIOURS[name](c, *arguments)
    if name not in ANSWERS:
        return await c.error(404, f"The model `{name}` does not exist", "model_not_found")
    await send(c, ANSWERS[name])


async def send(c: Connection, output: list[Item], status: str = "completed", **fields: Any) -> None:
    if not c.streaming:
        return await c.json(200, response(output, status, **fields))
    await c.open()
    for event in events_of(output, status, **fields):
        await c.raw(frame(event))
    await c.send(b"0\r\n\r\n")  # OpenAI sends no [DONE]


@behaviour
async def incomplete(c: Connection, reason: str = "max_output_tokens") -> None:
    await send(c, [message()], "incomplete", incomplete_details={"reason": reason})


@behaviour
async def failed(c: Connection, code: str = "server_error") -> None:
    error = {**ERROR, "code": code}
    if not c.streaming:
        return await c.json(200, response([], "failed", error=error))
    await c.open()
    for event in events_of([message()], "failed", error=error):
        await c.raw(frame(event))
    await c.send(b"0\r\n\r\n")


@behaviour
async def error_event(c: Connection, shape: str = "flat") -> None:
    event = {"type": "error", **ERROR} if shape == "flat" else {"type": "error", "error": ERROR}
    await _cut_with(c, frame(event))


@behaviour
async def cut(c: Connection) -> None:
    """The connection ends in the middle of the answer."""
    await _cut_with(c, b"")


async def _cut_with(c: Connection, data: bytes) -> None:
    await c.open()
    for event in events_of([message()])[:6]:
        await c.raw(frame(event))
    if data:
        await c.raw(data)
    await c.send(b"0\r\n\r\n")


@behaviour
async def stall(c: Connection, count: str = "6") -> None:
    """Sends this many events and keepalives, and then nothing."""
    await c.open()
    for event in events_of([reasoning("Hm."), message()])[: int(count)]:
        await c.raw(frame(event))
    while True:
        await c.raw(frame({"type": "keepalive"}))
        await asyncio.sleep(0.05)


@behaviour
async def tick(c: Connection, pause: str = "0.1") -> None:
    """Works for a while without saying anything, in steps."""
    await c.open()
    opening, *_ = events_of([])
    await c.raw(frame(opening))
    for step in ("in_progress", "searching", "interpreting", "completed") * 2:
        await c.raw(frame({"type": f"response.code_interpreter_call.{step}", "output_index": 0}))
        await asyncio.sleep(float(pause))
    for event in events_of([message()])[2:]:
        await c.raw(frame(event))
    await c.send(b"0\r\n\r\n")


@behaviour
async def hang(c: Connection) -> None:
    """Never answers."""
    await asyncio.sleep(FOREVER)


@behaviour
async def endless(c: Connection) -> None:
    """Speaks until the client leaves."""
    await c.open()
    *opening, delta = events_of([message()])[:5]
    for event in opening:
        await c.raw(frame(event))
    while True:
        await c.raw(frame(delta))
        await asyncio.sleep(0.01)


@behaviour
async def huge(c: Connection, size: str = "300000") -> None:
    """Says everything in one event."""
    answer = response([message("x" * int(size))])
    if not c.streaming:
        return await c.json(200, answer)
    await c.open()
    await c.raw(frame({"type": "response.completed", "response": answer}))
    await c.send(b"0\r\n\r\n")


@behaviour
async def status(c: Connection, number: str) -> None:
    await c.json(int(number), {"error": TOO_FAST}, retry_after="0")


# --- servers without this API


@behaviour
async def other(c: Connection, how: str) -> None:
    """What servers answer that do not speak the Responses API."""
    match how:
        case "fastapi":
            await c.json(404, {"detail": "Not Found"})
        case "ollama":
            await c.reply(404, "text/plain", b"404 page not found")
        case "nginx":
            await c.reply(405, "text/html", b"<html><h1>405 Not Allowed</h1></html>")
        case "express":
            await c.reply(404, "text/html", b"<!DOCTYPE html><pre>Cannot POST /v1/responses</pre>")
        case "azure":
            await c.json(404, {"error": {"code": "404", "message": "Resource not found"}})
        case "llamacpp":
            error = {"code": 404, "message": "File Not Found", "type": "not_found_error"}
            await c.json(404, {"error": error})
        case "lmstudio":
            await c.json(200, {"error": "Unexpected endpoint or method. (POST /v1/responses)"})
        case "wants-messages":
            await c.json(400, {"error": {"message": "'messages' is a required property", "type": "invalid"}})
        case "pydantic":
            detail = [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]
            await c.json(422, {"detail": detail})
        case "html":
            await c.reply(200, "text/html", b"<html>Welcome</html>")
        case "whole":
            await c.json(200, whole(TEXT))
        case "chunks":
            await c.open()
            await c.words()
            await c.close()
