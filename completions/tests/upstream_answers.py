"""The behaviours of a well-behaved upstream: every shape of a proper answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from completions.tests.upstream_wire import FOREVER, USAGE, WORDS, Connection, chunk, fault, seconds, whole

MAX_OUTPUT = ("max_tokens", "max_completion_tokens")


@fault
async def ok(c: Connection, count: str = "", size: str = "6") -> None:
    """`ok`, or `ok:200:6`: 200 tokens of 6 characters, as fast as the socket accepts them."""
    words = [("tok" + "en" * int(size))[: int(size)]] * int(count) if count else WORDS
    if not c.streaming:
        return await c.json(200, whole("".join(words)))
    await c.open()
    await c.words(*words)
    await c.close()


@fault
async def slow(c: Connection, pause: str = "20ms", count: str = "200") -> None:
    count = count.removesuffix("tokens")
    if not c.streaming:
        await asyncio.sleep(seconds(pause) * int(count))
        return await c.json(200, whole("token " * int(count)))
    await c.open()
    await c.words(*["token "] * int(count), pause=seconds(pause))
    await c.close()


@fault
async def numbered(c: Connection, pause: str = "10ms", count: str = "100") -> None:
    """Words that are all different and quote the question, so that a lost, repeated or swapped word is visible."""
    messages = c.body.get("messages") or [{}]
    content = messages[-1].get("content")
    name = content[0]["text"] if isinstance(content, list) else str(content)
    words = [f"{n}:{name}{(' ', ' 🙂', chr(10), ' ö')[n % 4]}" for n in range(int(count))]
    if not c.streaming:
        await asyncio.sleep(seconds(pause) * int(count))
        return await c.json(200, whole("".join(words)))
    await c.open()
    await c.words(*words, pause=seconds(pause))
    await c.close()


@fault
async def metered(c: Connection, pause: str = "5ms", count: str = "30") -> None:
    """Words of one token each, as many as the request allows; reports what it used, and records what it produced."""
    allowed = [value for name in MAX_OUTPUT if type(value := c.body.get(name)) is int]
    total = min([int(count), *allowed])
    finish = "length" if total < int(count) else "stop"
    words = [f"{n % 1000:03d} " for n in range(total)]
    if not c.streaming:
        for _ in words:
            await asyncio.sleep(seconds(pause))
            c.recorded.produced += 1
        c.recorded.usage = usage_of(c.body, total)
        return await c.json(200, {**ended(whole("".join(words)), finish), "usage": c.recorded.usage})
    await c.open()
    await c.chunk({"role": "assistant", "content": ""})
    for word in words:
        await asyncio.sleep(seconds(pause))
        c.recorded.produced += 1
        await c.chunk({"content": word})
    c.recorded.usage = usage_of(c.body, total)
    await c.close(usage=c.recorded.usage, finish=finish)


def usage_of(body: dict[str, Any], produced: int) -> dict[str, Any]:
    """What `metered` reports: of the input a token has three bytes, and half of them were in the cache."""
    asked = sum(len(json.dumps(message.get("content")).encode()) // 3 + 3 for message in body.get("messages") or [])
    return {
        "prompt_tokens": asked,
        "prompt_tokens_details": {"cached_tokens": asked // 2},
        "completion_tokens": produced,
        "completion_tokens_details": {"reasoning_tokens": produced // 3},
        "total_tokens": asked + produced,
    }


@fault
async def held(c: Connection, pause: str = "0s", count: str = "") -> None:
    """Sends one word, or half of `count`, and the rest once the test sets `released` on the recorded request."""
    words = ["token "] * int(count) if count else list(WORDS)
    before = len(words) // 2 if count else 1
    await c.open()
    await c.words(*words[:before], pause=seconds(pause))
    while not c.recorded.released:
        await asyncio.sleep(0.01)
    await c.words(*words[before:], pause=seconds(pause))
    await c.close()


@fault
async def recited(c: Connection, pause: str = "1ms", size: str = "4", times: str = "1") -> None:
    """Says the question again, `size` characters at a time; what follows ⏸ once the test sets `released`."""
    said = c.body["messages"][-1]["content"] * int(times)
    await c.open()
    for number, part in enumerate(said.split("⏸")):
        while number and not c.recorded.released:
            await asyncio.sleep(0.01)
        await c.words(*(part[at : at + int(size)] for at in range(0, len(part), int(size))), pause=seconds(pause))
    await c.close()


@fault
async def flood(c: Connection, count: str = "2000") -> None:
    """Encoded beforehand and sent at once, so the upstream uses no CPU. One HTTP chunk per token."""
    line = b"data: " + json.dumps(chunk({"content": "token "}), separators=(",", ":")).encode() + b"\n\n"
    framed = b"%x\r\n%b\r\n" % (len(line), line)
    await c.open()
    for at in range(0, int(count), 50):
        await c.send(framed * min(50, int(count) - at))
    await c.close()


@fault
async def echo_body(c: Connection) -> None:
    """Answers with the JSON body it received."""
    text = json.dumps(c.body, ensure_ascii=False)
    if not c.streaming:
        return await c.json(200, whole(text))
    await c.open()
    await c.words(text)
    await c.close()


@fault
async def say(c: Connection, text: str = "") -> None:
    """`say:3,1,2` answers `3,1,2`, and `say:⏸3,1,2` does once the test sets `released`."""
    while text.startswith("⏸") and not c.recorded.released:
        await asyncio.sleep(0.01)
    text = text.removeprefix("⏸")
    if not c.streaming:
        return await c.json(200, whole(text))
    await c.open()
    await c.words(text)
    await c.close()


@fault
async def tools(c: Connection) -> None:
    function = {"name": "weather", "arguments": ""}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    if not c.streaming:
        return await c.json(200, whole("", tool_calls=[{"id": "call_1", "type": "function", "function": function}]))
    await c.open()
    await c.chunk({"role": "assistant", "content": None, "tool_calls": [call]})
    for part in ('{"city"', ': "Paris"}'):
        await c.chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    await c.close(finish="tool_calls")


@fault
async def logprobs(c: Connection) -> None:
    await c.open()
    for word in WORDS:
        token = {"token": word, "logprob": -0.1, "bytes": None, "top_logprobs": []}
        scored = {"content": [token], "refusal": None}
        await c.chunk({"content": word}, logprobs=scored)
    await c.close()


@fault
async def n2(c: Connection) -> None:
    await c.open()
    for word in WORDS:
        for index in (0, 1):
            await c.chunk({"content": word}, index=index)
    await c.chunk({}, "stop", index=1)
    await c.close()


@fault
async def reasoning(c: Connection) -> None:
    await c.open()
    await c.chunk({"role": "assistant", "content": "", "reasoning": "Let me"})
    details = [{"type": "reasoning.text", "text": "Let me think"}]
    await c.chunk({"content": "", "reasoning": " think", "reasoning_details": details})
    await c.words()
    await c.close()


@fault
async def thinking(c: Connection) -> None:
    """Thinks aloud, and goes on with that and with its answer once the test sets `released`."""
    await c.open()
    await c.chunk({"role": "assistant", "content": None, "reasoning_content": "Let me "})
    while not c.recorded.released:
        await asyncio.sleep(0.01)
    await c.chunk({"reasoning_content": "think."})
    await c.words()
    await c.close()


@fault
async def refusal(c: Connection) -> None:
    if not c.streaming:
        return await c.json(200, whole(None, refusal="I cannot."))
    await c.open()
    await c.chunk({"role": "assistant", "content": None, "refusal": "I cannot."})
    await c.close()


@fault
async def thinking_calls(c: Connection, field: str = "reasoning_content") -> None:
    """Reasons in `field` and calls a tool; once it has the result, it answers."""
    await c.open()
    if c.body["messages"][-1]["role"] == "tool":
        await c.words()
        return await c.close()
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    thought: list[Any] = ["Let me", " look."]
    if field == "reasoning_details":
        detail = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
        thought = [[{**detail, "text": "Let me"}], [{**detail, "text": " look.", "signature": "c2ln"}]]
    for part in thought:
        await c.chunk({"role": "assistant", "content": None, field: part})
    await c.chunk({"tool_calls": [call]})
    await c.close(finish="tool_calls")


@fault
async def reasoning_only(c: Connection, finish: str = "length") -> None:
    """Reasons until the token limit; `reasoning-only:stop` until it thinks that it is done."""
    thought = {"content": None, "reasoning_content": "I think forever"}
    if not c.streaming:
        return await c.json(200, ended(whole(None, **thought), finish))
    await c.open()
    await c.chunk({"role": "assistant", **thought})
    await c.close(finish=finish)


@fault
async def nothing(c: Connection, finish: str = "stop", text: str = "") -> None:
    """An answer of no text, or of white space."""
    if not c.streaming:
        return await c.json(200, ended(whole(text), finish))
    await c.open()
    await c.chunk({"role": "assistant", "content": text})
    await c.close(finish=finish)


def ended(body: dict[str, Any], finish: str) -> dict[str, Any]:
    body["choices"][0]["finish_reason"] = finish
    return body


@fault
async def unknown_fields(c: Connection) -> None:
    await c.open()
    await c.chunk({"content": "Hi", "mood": "sunny"}, provider="Somebody", x_new={"a": [1]})
    await c.words()
    await c.close()


@fault
async def usage_missing(c: Connection) -> None:
    await c.open()
    await c.words()
    await c.close(usage=False)


@fault
async def usage_on_finish(c: Connection) -> None:
    await c.open()
    await c.words()
    await c.data({**chunk({"content": "?"}, "stop"), "usage": USAGE})
    await c.close(usage=False, finish=None)


@fault
async def finish_no_done(c: Connection) -> None:
    await c.open()
    await c.words()
    await c.close(done=False)


@fault
async def finish_then_open(c: Connection) -> None:
    await c.open()
    await c.words()
    await c.chunk({}, "stop")
    await asyncio.sleep(FOREVER)


@fault
async def done_then_open(c: Connection) -> None:
    await c.open()
    await c.words()
    await c.chunk({}, "stop")
    await c.raw(b"data: [DONE]\n\n")
    await asyncio.sleep(FOREVER)


@fault
async def done_then_more(c: Connection) -> None:
    await c.open()
    await c.words()
    await c.chunk({}, "stop")
    await c.raw(b"data: [DONE]\n\ndata: [DONE]\n\n")
    await c.chunk({"content": "ghost"})
    await c.close()


@fault
async def crlf(c: Connection, end: str = "crlf") -> None:
    """`crlf:cr` uses carriage returns alone; the stream starts with a byte order mark."""
    mark = b"\r" if end == "cr" else b"\r\n"
    lines = [b"\xef\xbb\xbf: hello", *(b"data: " + json.dumps(chunk({"content": word})).encode() for word in WORDS)]
    lines += [b"data: " + json.dumps(chunk({}, "stop")).encode(), b"data: [DONE]"]
    await c.open()
    await c.raw(b"".join(line + mark * 2 for line in lines))
    await c.send(b"0\r\n\r\n")


@fault
async def split(c: Connection) -> None:
    """Sends every byte separately, which also splits multi-byte characters."""
    await c.open()
    for word in WORDS[2:5]:
        for byte in b"data: " + json.dumps(chunk({"content": word}), ensure_ascii=False).encode() + b"\n\n":
            await c.raw(bytes([byte]))
    await c.close()


@fault
async def json_200(c: Connection) -> None:
    """Ignores `stream: true`."""
    await c.json(200, whole())


@fault
async def sse_200(c: Connection) -> None:
    """Ignores `stream: false`."""
    await c.open()
    await c.words()
    await c.close()


@fault
async def rich_json(c: Connection) -> None:
    """Two choices with log probabilities, in one chunk."""
    answer = whole()
    score: dict[str, Any] = {"logprob": -0.1, "bytes": None, "top_logprobs": []}
    scored = [{"token": word, **score} for word in WORDS]
    choices = [
        {**answer["choices"][0], "index": index, "logprobs": {"content": scored, "refusal": None}} for index in (0, 1)
    ]
    await c.json(200, {**answer, "choices": choices})
