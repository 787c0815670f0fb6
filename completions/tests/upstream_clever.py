"""The behaviour `clever`: an upstream that answers as other people's checks ask, in full or streamed.

`fake/clever` answers at once; `fake/clever:20ms` pauses before each token.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from completions.tests.clever_model import Body, Reply, count_tokens, reply_to, tokens
from completions.tests.upstream_wire import ENVELOPE, Connection, fault, seconds

UNLIMITED = 100_000
CALL_TOKENS = 8
LOGPROB = -0.25


class Answer:
    """A reply, cut at the limits that the request sets, in tokens."""

    def __init__(self, body: Body) -> None:
        self.body = body
        reply = cut_at_stops(reply_to(body), body)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or UNLIMITED
        thought, text = tokens(reply.reasoning), tokens(reply.text)
        self.reasoning = thought[:limit]
        self.text = text[: limit - len(self.reasoning)]
        self.calls = [call(index, name, arguments) for index, (name, arguments) in enumerate(reply.calls)]
        is_cut = len(thought) + len(text) > limit
        self.finish = "length" if is_cut else "tool_calls" if self.calls else "stop"

    @property
    def usage(self) -> Body:
        messages = self.body.get("messages") or []
        asked = count_tokens([messages, self.body.get("tools")])
        written = len(self.reasoning) + len(self.text) + CALL_TOKENS * len(self.calls)
        return {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
            # As if everything before the last message had been asked before.
            "prompt_tokens_details": {"cached_tokens": count_tokens(messages[:-1])},
            "completion_tokens_details": {"reasoning_tokens": len(self.reasoning)},
        }

    @property
    def envelope(self) -> Body:
        return {**ENVELOPE, "model": self.body.get("model"), "system_fingerprint": "fp_clever"}

    def logprobs(self, text: list[str]) -> Body | None:
        if not self.body.get("logprobs"):
            return None
        others = range(int(self.body.get("top_logprobs") or 0))
        return {
            "content": [
                {**scored(token), "top_logprobs": [scored(token if n == 0 else f" {n}", n) for n in others]}
                for token in text
            ],
            "refusal": None,
        }

    def choices(self) -> range:
        return range(int(self.body.get("n") or 1))

    def whole(self) -> Body:
        message: Body = {"role": "assistant", "content": "".join(self.text) or None, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = self.calls
        elif not self.reasoning:
            message["content"] = "".join(self.text)
        choices = [
            {"index": n, "message": message, "logprobs": self.logprobs(self.text), "finish_reason": self.finish}
            for n in self.choices()
        ]
        return {**self.envelope, "object": "chat.completion", "choices": choices, "usage": self.usage}

    def deltas(self) -> Iterator[tuple[Body, Body | None]]:
        """Yield each delta of a stream with its log probabilities."""
        yield {"role": "assistant", "content": ""}, None
        for token in self.reasoning:
            yield {"reasoning_content": token}, None
        for token in self.text:
            yield {"content": token}, self.logprobs([token])
        for each in self.calls:
            index, function = each["index"], each["function"]
            yield {"tool_calls": [{**each, "function": {**function, "arguments": ""}}]}, None
            for piece in pieces(function["arguments"]):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None


def pieces(text: str, size: int = 9) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def call(index: int, name: str, arguments: Body) -> Body:
    written = json.dumps(arguments, ensure_ascii=False)
    known_by = hashlib.sha256(f"{index}{name}{written}".encode()).hexdigest()[:12]
    return {
        "index": index,
        "id": f"call_{known_by}",
        "type": "function",
        "function": {"name": name, "arguments": written},
    }


def scored(token: str, rank: int = 0) -> Body:
    return {"token": token, "logprob": LOGPROB - rank, "bytes": list(token.encode())}


def cut_at_stops(reply: Reply, body: Body) -> Reply:
    stops = body.get("stop") or []
    text = reply.text
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    return Reply(text, reply.reasoning, reply.calls)


@fault
async def clever(c: Connection, pause: str = "0") -> None:
    answer = Answer(c.body)
    wait = seconds(pause)
    if not c.streaming:
        await asyncio.sleep(wait * len(answer.text))
        return await c.json(200, answer.whole())
    await c.open()
    for delta, logprobs in answer.deltas():
        if wait:
            await asyncio.sleep(wait)
        for n in answer.choices():
            await c.data(event(answer, n, delta, logprobs))
    for n in answer.choices():
        await c.data(event(answer, n, {}, None, answer.finish))
    if c.wants_usage:
        await c.data({**answer.envelope, "choices": [], "usage": answer.usage})
    await c.close(usage=False, finish=None)


def event(answer: Answer, index: int, delta: Body, logprobs: Body | None, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return {**answer.envelope, "choices": [choice]}


def vectors(body: Body) -> Body:
    """Return one vector for each text of a request for embeddings, as long as it asks for."""
    given = body.get("input")
    texts = given if isinstance(given, list) else [given]
    size = int(body.get("dimensions") or 8)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": [((len(str(text)) + at) % 7 - 3) / 10 for at in range(size)],
        }
        for index, text in enumerate(texts)
    ]
    asked = count_tokens(texts)
    return {
        "object": "list",
        "model": body.get("model"),
        "data": data,
        "usage": {"prompt_tokens": asked, "total_tokens": asked},
    }
