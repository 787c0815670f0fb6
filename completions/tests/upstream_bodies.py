"""Answers as real servers sent them: the files in `cases/`, and small neighbours of theirs made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from completions.tests.upstream_wire import KEY_IN_ERROR, USAGE, Connection, chunk, fault, whole

FILES = Path(__file__).parent / "cases"
END = "data: [DONE]\n\n"
STOP: dict[str, Any] = chunk({}, "stop")
CALLED: dict[str, Any] = chunk({}, "tool_calls")


def sse(*events: Any, end: str = END) -> str:
    return "".join(event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events) + end


def calling(*pieces: Any) -> str:
    """A stream of pieces of tool calls, each in a chunk of its own."""
    return sse(*(chunk({"tool_calls": [piece]}) for piece in pieces), CALLED)


def piece(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


def thinking(text: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


REFERENCE = {"type": "reference", "reference_ids": [1, 2]}
UNKNOWN = {"type": "hologram", "data": "x"}
ONE, TWO = '{"a":1}', '{"b":2}'
HI = chunk({"content": "Hi"})
LISTED = whole("?")
LISTED["choices"] = [
    {"index": "0", "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"},
    {
        "index": 1,
        "message": {"role": "assistant", "content": [thinking("hm"), text("B"), REFERENCE]},
        "finish_reason": "stop",
    },
]

BODIES: dict[str, str] = {
    # The frame of events.
    "bom-crlf": "\ufeff" + sse(HI, STOP).replace("\n", "\r\n"),
    "no-space": sse(HI, STOP).replace("data: ", "data:"),
    "done-with-spaces": sse(HI, STOP, end="data:   [DONE]  \n\n"),
    "null-choices": sse(HI, {"choices": None}, {**chunk({}), "choices": [{"index": 0, "delta": None}]}, STOP),
    "usage-only": sse({"usage": USAGE}, HI, {"usage": USAGE}, STOP, {"choices": [], "usage": USAGE}),
    "no-deltas": sse({"choices": [{"delta": None}]}, HI, {"choices": [{"delta": None, "finish_reason": "stop"}]}),
    "named-pings": sse("event: ping\ndata: {}\n\n", HI, 'event: ping\ndata: {"type": "ping"}\n\n', ": x\n\n", STOP),
    "late-noise": sse(HI, STOP, "data: ping\n\n", 'data: {"broken\n\n'),
    "whole-as-event": sse(whole("Hi")),
    "bare-error": sse(HI, '{"error": {"message": "bare", "code": 400}}\n\n'),
    "bare-answer": f": PROCESSING\n\n{json.dumps(whole('Hi'))}\n",
    "bare-noise": f"ping\n\n[PING]\n\n{sse(HI, STOP)}",
    "blank-first": f"\n\n  \n{json.dumps(whole('Hi'), indent=2)}\n",
    "lines": f"{json.dumps(HI)}\n{json.dumps(STOP)}\n",
    "lines-cut": f"{json.dumps(HI)}\n{json.dumps(STOP)}",
    "lines-pretty": f"{json.dumps(HI, indent=1)}\r\n{json.dumps(STOP, indent=1)}",
    "lines-done": f"{json.dumps(HI)}\n{json.dumps(STOP)}\ndata: [DONE]",
    "lines-error": f'{json.dumps(HI)}\n{{"error": {{"message": "Too long", "code": "context_length_exceeded"}}}}\n',
    "lines-pretty-error": f'{json.dumps(HI, indent=1)}\n{{"error": {{"message": "Too long", "code": 400}}}}\n',
    "lines-broken": f'{json.dumps(HI, indent=1)}\n{{"choices": [{{\n',
    "lines-no-finish": f"{json.dumps(HI)}\n{json.dumps(HI)}\n",
    "whole-done": f"{json.dumps(whole('Hi'))}\n\ndata: [DONE]\n\n",
    "whole-pretty-done": f"{json.dumps(whole('Hi'), indent=2)}\ndata: [DONE]",
    "whole-comment": f": PROCESSING\n\n: again\n{json.dumps(whole('Hi'), indent=2)}\n",
    "whole-listed": json.dumps([whole("Hi")]),
    "whole-listed-pretty": json.dumps([whole("Hi")], indent=1),
    "chunks-listed": json.dumps([HI, STOP]),
    "error-comment": f": PROCESSING\n\n{json.dumps({'error': {'message': 'Too long', 'code': 400}}, indent=1)}\n",
    "null-text-parts": sse(
        chunk({"content": [{"type": "text", "text": None}, {"text": "Hi"}, {"type": "text"}]}), STOP
    ),
    "error-pretty-list": json.dumps([{"error": {"code": 404, "message": "No model"}}], indent=2),
    "small-done": sse(HI, "data: [done]\n\n", end=""),
    "nothing": sse(chunk({"role": "assistant", "content": ""})),
    # Tool calls.
    "calls-null-index": calling(piece("f", '{"a"', id="c1", index=None), piece(None, ":1}", id=None, index=None)),
    "calls-text-index": calling(
        piece("f", "", id="c1", index="0"),
        piece("g", "", id="c2", index="1"),
        piece(None, ONE, index="0"),
        piece(None, TWO, index="1"),
    ),
    "calls-interleaved": calling(
        piece("f", '{"a"', id="c1"),
        piece("g", '{"b"', id="c2"),
        piece(None, ":1}", id="c1"),
        piece(None, ":2}", id="c2"),
    ),
    "calls-named-first": calling(piece("f"), piece(None, '{"a"', id="c1"), piece(None, ":1}")),
    "calls-said-again": calling(
        piece("f", '{"a"', id="c1", index=0, type="function"), piece("f", ":1}", id="c1", index=0, type="function")
    ),
    "calls-object-arguments": calling(piece("f", {"a": 1}, id="c1"), piece("g", {"b": 2}, id="c2")),
    "calls-no-list": sse(chunk({"tool_calls": piece("f", {"a": 1}, id=5)}), CALLED),
    "calls-one-id": calling(piece("f", ONE, id="c1"), piece("g", '{"b"', id="c1"), piece(None, ":2}")),
    "calls-touched-last": calling(
        piece("f", '{"a"', id="c1"), piece("g", TWO, id="c2"), piece(None, ":", id="c1"), piece(None, "1}")
    ),
    "calls-without-ids": calling(piece("f", ONE), piece("f", TWO)),
    "calls-one-index-no-ids": calling(piece("f", ONE, index=0), piece("g", TWO, index=0)),
    "calls-late-arguments": calling(piece("f", index=0), piece(None, '{"a"', index=0), piece(None, ":1}", index=0)),
    "calls-late-id": calling(piece("f", '{"a"', index=0), piece(None, ":1}", index=0, id="late")),
    "calls-name-alone": calling(piece("f", index=0)),
    "calls-null-id-no-finish": calling(piece("f", index=0, id=None)).replace('"tool_calls"}', "null}"),
    "calls-name-in-pieces": calling(
        piece("get_", index=0, id="c1"), piece("weather", "", index=0), piece(None, ONE, index=0)
    ),
    "calls-name-in-pieces-no-id": calling(piece("get_", "", index=0), piece("weather", ONE, index=0)),
    "calls-name-in-pieces-one-id": calling(piece("get_", "", id="c1"), piece("weather", "", id="c1"), piece(None, ONE)),
    "calls-name-repeated": calling(piece("f", "", index=0, id="c1"), piece("f", "", index=0), piece("f", ONE, index=0)),
    "calls-high-index": calling(piece("f", '{"a"', id="c1", index=1), piece(None, ":1}", index=1)),
    "calls-at-once": sse(chunk({"tool_calls": [piece("f", ONE, id="c1"), piece("g", TWO, id="c2")]}, "tool_calls")),
    "calls-halves": calling(piece("f", '{"a":"', id="c1"), piece(None, "\ud83d"), piece(None, '\ude00"}')),
    "calls-no-finish": calling(piece("f", ONE, id="c1")).replace('"tool_calls"}', "null}"),
    "legacy-call": sse(
        chunk({"function_call": {"name": "f", "arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ":1}"}}),
        STOP,
    ),
    # Parts.
    "parts": sse(
        chunk({"content": [thinking([text("a"), REFERENCE]), thinking("b")]}),
        chunk({"content": [text("Hi"), REFERENCE, UNKNOWN, None, "!"]}),
        chunk({"content": [REFERENCE]}),
        STOP,
    ),
    "parts-in-two-choices": sse(
        chunk({"content": [text("A")]}),
        chunk({"content": [thinking("hm"), text("B")]}, index=1),
        chunk({"content": [text("!"), REFERENCE]}, "stop", index=1),
        STOP,
    ),
    "thinking-field": sse(chunk({"thinking": "a"}), chunk({"thinking": "b", "content": ""}), HI, STOP),
    "reasoning-field": sse(chunk({"reasoning": "ab"}), HI, STOP),
    "reasoning-content-field": sse(chunk({"reasoning_content": "ab", "content": None}), HI, STOP),
    "reasoning-parts": sse(
        chunk({"reasoning_content": [text("a")]}),
        chunk({"reasoning_content": [thinking("b")], "content": ""}),
        HI,
        STOP,
    ),
    "whole-reasoning-parts": json.dumps(whole("Hi", reasoning_content=[text("a"), "b"])),
    # Choices.
    "choice-gap": sse(HI, chunk({"content": "B"}, index=5), STOP, chunk({"content": "!"}, "stop", index=5)),
    "choice-from-one": sse(chunk({"content": "Hi"}, index=1), chunk({}, "stop", index=1)),
    "whole-choice-gap": json.dumps({**LISTED, "choices": [{**LISTED["choices"][1], "index": 5}, LISTED["choices"][0]]}),
    # Halves.
    "lone-half": sse(chunk({"content": "Hi\ud83d"}), STOP),
    "halves-among-plain": sse(*(chunk({"content": c}) for c in ("Hi ", "wo", "\ud83d", "\ude00", "rl", "d")), STOP),
    "raw-halves": sse(HI, *(chunk({"content": c}) for c in "<>"), STOP)
    .replace("<", "\udcf0\udc9f")
    .replace(">", "\udc98\udc80"),
    # Errors.
    "error-mid": sse(
        HI, {"error": {"message": "Too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
    ),
    "error-event": sse('event: error\ndata: {"detail": "GPU lost"}\n\n', end=""),
    "error-event-text": sse(HI, "event: error\ndata: GPU lost\n\n", end=""),
    "error-late": sse(HI, STOP, "event: error\ndata: GPU lost\n\n"),
    "error-in-error": json.dumps(
        {"error": {"message": '{"error": {"message": "Too long", "code": "context_length_exceeded"}}', "code": 400}}
    ),
    "error-base-resp": json.dumps(
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
    ),
    "error-fault": json.dumps({"fault": {"faultstring": "Quota exceeded", "detail": {"errorcode": "ratelimit.Quota"}}}),
    "error-list": json.dumps([{"error": {"code": 400, "message": "Bad argument", "status": "INVALID_ARGUMENT"}}]),
    "error-errors": json.dumps({"success": False, "errors": [{"code": 7009, "message": "Upstream busy"}]}),
    "error-detail": json.dumps({"detail": "Model is loading"}),
    "error-fastapi": json.dumps(
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "Should be less than 10", "input": "a secret question"}]}
    ),
    "error-type": json.dumps({"type": "error", "error": {"type": "not_found_error", "message": "no such model"}}),
    "error-key": json.dumps({"error": {"message": f"Key {KEY_IN_ERROR} is bad", "code": "billing"}}),
    "error-trace": json.dumps({"error": 'Broke\nTraceback (most recent call last):\n  File "/srv/x.py", line 5, in f'}),
    "error-long": json.dumps({"error": {"message": "long " * 5000, "code": "c" * 5000}}),
    "error-429": json.dumps({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}),
    "error-401": json.dumps({"error": {"message": f"Bad key {KEY_IN_ERROR}", "code": "invalid_api_key"}}),
    "no-error": json.dumps({**whole("Hi"), "error": None, "detail": ""}),
    "text": "The model is not loaded.",
    "page": f"<!doctype html><html><body>Sign in {KEY_IN_ERROR}</body></html>",
    # Whole bodies.
    "listed-second-choice": json.dumps(LISTED),
    "whole-no-finish": json.dumps(whole("Hi")).replace('"finish_reason": "stop"', '"finish_reason": null'),
    "whole-null-message": json.dumps({"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]}),
    "whole-calls-without-ids": json.dumps(
        {**whole(None, tool_calls=[piece("f", ONE), piece("f", TWO, id=""), piece("g", {"a": 1}, id=5)])}
    ),
    "whole-object-arguments": json.dumps(
        {"choices": [{"message": {"content": None, "tool_calls": [piece("f", {"a": 1}, id="c1")]}}]}
    ),
}
TYPES = {
    "text": "text/plain",
    "octets": "application/octet-stream",
    "none": "",
    "json": "application/json; charset=utf-8",
    "problem": "application/problem+json",
    "sse": "text/event-stream",
    "html": "text/html",
}


@fault
async def body(c: Connection, name: str, media_type: str = "", status: str = "200") -> None:
    """`body:mistral.sse`, `body:no-space:octets`, `body:text:text:404`: a body by its name, whatever was asked for."""
    data = (FILES / name).read_bytes() if "." in name else BODIES[name].encode("utf-8", "surrogateescape")
    natural = (
        "json" if data.lstrip()[:1] in b"{[" else "html" if data[:1] == b"<" else "sse" if b"data:" in data else "text"
    )
    await c.reply(int(status), TYPES[media_type or natural], data)
