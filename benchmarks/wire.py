"""The OpenAI wire as the mock writes it and the load generator expects it; pre-encoded, to use little CPU."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass

# The question's number always has ten digits, so every frame keeps its length.
PLACEHOLDER = b"@" * 10
QUESTION = b"Question "
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MODELS = ("flood-200", "noisy-200", "paced-5ms-4", "paced-20ms-400")
# Newline, quotes, backslash and two- to four-byte characters: an answer altered on its way is detected.
SENTENCE = (
    "the answer is made of ordinary words and some that are longer ,  so a token is about four letters . \n In "
    '"quotes" a \\ back slash ,  an é ,  a 漢 ,  a 🙂 and  more plain words follow until it ends'
)
WORDS = SENTENCE.split(" ")

_MODEL = re.compile(rb'"model"\s*:\s*"(flood|noisy|paced)-(?:(\d+)ms-)?(\d+)"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of the mock; `interval` is in milliseconds, 0 for no delay."""

    model: str
    interval: int
    tokens: int
    stream: bool
    usage: bool
    number: bytes


def read_request(body: bytes) -> Asked | None:
    """Read a chat completion request without parsing its JSON; return None for a model that the mock does not have."""
    found = _MODEL.search(body)
    if found is None:
        return None
    interval, tokens = int(found[2] or 0), int(found[3])
    if not 0 < tokens <= 4000 or interval > 1000 or bool(interval) != (found[1] == b"paced"):
        return None
    at = body.rfind(QUESTION)
    number = body[at + len(QUESTION) : at + len(QUESTION) + 10] if at >= 0 else b""
    return Asked(
        model=found[0].rsplit(b'"', 2)[1].decode(),
        interval=interval,
        tokens=tokens,
        stream=_STREAM.search(body) is not None,
        usage=_USAGE.search(body) is not None,
        # The answer repeats the question's number, so an answer sent to the wrong client is detected, too.
        number=number if len(number) == 10 and number.isdigit() else b"0000000000",
    )


def request_body(model: str, number: int, *, stream: bool, path: str = CHAT) -> bytes:
    """Encode one request; its prompt is unique, so no competitor can answer from a cache."""
    prompt = f"Question {number:010d}: what is made of ordinary words?"
    said = {"input": prompt} if path == RESPONSES else {"messages": [{"role": "user", "content": prompt}]}
    return json.dumps({"model": model, **said, "stream": stream}, separators=(",", ":")).encode()


@functools.lru_cache
def tokens_of(count: int) -> tuple[str, ...]:
    """Return the texts of an answer's `count` tokens; the first is a placeholder for the question's number."""
    return (f"[{PLACEHOLDER.decode()}]", *(f" {WORDS[i % len(WORDS)]}" for i in range(count - 1)))


@functools.lru_cache
def _text_parts(count: int) -> tuple[str, ...]:
    return tuple("".join(tokens_of(count)).split(PLACEHOLDER.decode()))


def expected_text(count: int, number: int) -> str:
    """Return the whole answer of `count` tokens to question `number`."""
    return f"{number:010d}".join(_text_parts(count))


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _usage(tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": 14,
        "completion_tokens": tokens,
        "total_tokens": 14 + tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@functools.lru_cache
def frames(model: str, count: int, usage: bool) -> tuple[bytes, ...]:
    """Return the answer's SSE frames, each as a separate HTTP chunk: role, tokens, finish[, usage], [DONE]."""

    def frame(delta: dict[str, object], finish: str | None = None, noise: str = "") -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        more = {**({"usage": None} if usage else {}), **({"obfuscation": noise} if noise else {})}
        return _chunked(b"data: %b\n\n" % _dumps({**head, "choices": [choice], **more}))

    head = {
        "id": f"chatcmpl-bench{PLACEHOLDER.decode()}",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }
    made = [frame({"role": "assistant", "content": "", "refusal": None})]
    # OpenAI pads its chunks to hide their lengths, so lines differ and a client has to parse each of them.
    noise = [f"{17 * i:x}" * (1 + i % 3) if model.startswith("noisy") else "" for i in range(1, count + 1)]
    made += [frame({"content": token}, noise=pad) for token, pad in zip(tokens_of(count), noise, strict=True)]
    made.append(frame({}, "stop"))
    if usage:
        made.append(_chunked(b"data: %b\n\n" % _dumps({**head, "choices": [], "usage": _usage(count)})))
    # The terminating chunk is sent with [DONE]: a separate packet would cost every client one more read.
    made.append(_chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    return tuple(made)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)


@functools.lru_cache
def whole_stream(model: str, count: int, usage: bool) -> tuple[bytes, ...]:
    """Return head and frames as one string, split at the placeholder: `number.join(...)` is the response."""
    return tuple((STREAM_HEAD + b"".join(frames(model, count, usage))).split(PLACEHOLDER))


@functools.lru_cache
def whole_answer(model: str, count: int) -> tuple[bytes, ...]:
    """Return the response to a request that is not streamed, split at the placeholder."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(tokens_of(count)),
        "refusal": None,
        "annotations": [],
    }
    body = _dumps(
        {
            "id": f"chatcmpl-bench{PLACEHOLDER.decode()}",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(count),
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    )
    return tuple(json_response(body).split(PLACEHOLDER))


def json_response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a complete HTTP response with a JSON body."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def models_body() -> bytes:
    """Return the body of GET /v1/models."""
    known = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "bench"} for name in MODELS]
    return _dumps({"object": "list", "data": known})


NOT_FOUND = json_response(
    _dumps({"error": {"message": "unknown", "type": "invalid_request_error", "param": None, "code": "not_found"}}),
    b"404 Not Found",
)
