"""The built-in offline model: says that it is not a real one, explains how to connect one, and quotes the question.

The same question gets the same answer, streamed word by word. Usage counts words, because there is no tokenizer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from completions.exceptions import UpstreamRejected
from completions.providers.health import Health
from completions.providers.sanitize import encode_json
from completions.types import (
    Completion,
    CompletionRequest,
    Delta,
    ModelInfo,
    ProviderEvent,
    StreamFinished,
    StreamStarted,
)
from conversations.storable import storable_text

MODEL: Final = "echo"
QUOTE_CHARS: Final = 500
MAX_CHOICES: Final = 16
_WORD = re.compile(r"\s*\S+|\s+")
_NOTICE: Final = (
    "This is the built-in echo speaking: the service is offline, no language model is connected, "
    "so nothing has thought about your message.\n\n"
    "To connect a model, set OPENAI_API_KEY and/or OPENAI_BASE_URL in .env and restart the service."
)


class Echo:
    """A `Provider` that needs no network. `delay` is in seconds per word."""

    def __init__(self, name: str = "echo", *, delay: float = 0.02) -> None:
        self.name = name
        self.health = Health(name)
        self.speaks_responses = False
        self.takes_documents = True
        self._delay = delay

    async def stream(
        self,
        request: CompletionRequest,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ProviderEvent]:
        """See `Provider.stream`; it reads nothing, so `ready` is never awaited. Honours max_tokens, stop and n."""
        words, reason, count = _answer(request)
        envelope = _envelope(request, "chat.completion.chunk")
        yield StreamStarted(envelope)
        for word in words:
            await asyncio.sleep(self._delay)
            deltas = [{"index": at, "delta": {"content": word}, "finish_reason": None} for at in range(count)]
            yield Delta(word, () if count == 1 else ({**envelope, "choices": deltas},))
        usage = _usage(request, words, count)
        finish: list[dict[str, Any]] = [{"index": at, "delta": {}, "finish_reason": reason} for at in range(count)]
        closing = ({**envelope, "choices": finish}, {**envelope, "choices": [], "usage": usage})
        yield StreamFinished(reason, usage, closing)

    async def complete(self, request: CompletionRequest, *, retry: bool = True) -> Completion:
        """See `Provider.complete`."""
        words, reason, count = _answer(request)
        message = {"role": "assistant", "content": "".join(words), "refusal": None}
        choices = [{"index": at, "message": message, "logprobs": None, "finish_reason": reason} for at in range(count)]
        usage = _usage(request, words, count)
        return Completion({**_envelope(request, "chat.completion"), "choices": choices, "usage": usage})

    async def list_models(self) -> list[ModelInfo]:
        """Return the one model that there is."""
        return [ModelInfo(MODEL, owned_by="chatservice")]

    async def close(self) -> None:
        """Nothing to release."""


def answer_text(request: CompletionRequest) -> str:
    """Return the whole answer, before any limit is applied."""
    asked = next((_text(message) for message in reversed(request.messages) if message.get("role") == "user"), "")
    if not asked.strip():
        return _NOTICE
    if len(asked) > QUOTE_CHARS:
        asked = asked[:QUOTE_CHARS].rstrip() + " …"
    return f"{_NOTICE}\n\nYou wrote:\n\n{asked}"


def _rest(text: str, request: CompletionRequest) -> str:
    """Return the rest of an answer that was cut off, if the last message is one."""
    last = request.messages[-1] if request.messages else {}
    prefill = _text(last) if last.get("role") == "assistant" else ""
    return text.removeprefix(prefill)


def _answer(request: CompletionRequest) -> tuple[list[str], str, int]:
    """Return the words of the answer, its finish reason, and how many choices were asked for."""
    text, reason = _rest(answer_text(request), request), "stop"
    stop = request.parameters.get("stop")
    for mark in [stop] if isinstance(stop, str) else stop if isinstance(stop, list | tuple) else []:
        if isinstance(mark, str) and mark:
            text = text.partition(mark)[0]
    words = _words(text)
    for key in ("max_completion_tokens", "max_tokens"):
        limit = request.parameters.get(key)
        if type(limit) is int and 0 < limit < len(words):
            words, reason = words[:limit], "length"
    count = request.parameters.get("n")
    if count is None:
        count = 1
    elif type(count) is not int or not 1 <= count <= MAX_CHOICES:
        raise UpstreamRejected(f"n must be from 1 to {MAX_CHOICES}.", upstream_code="invalid_value", param="n")
    return words, reason, count


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return storable_text(content)
    parts = content if isinstance(content, list | tuple) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return storable_text("\n".join(text for text in texts if isinstance(text, str)))


def _usage(request: CompletionRequest, words: list[str], count: int) -> dict[str, int]:
    asked = sum(len(_text(message).split()) for message in request.messages)
    completion = len(words) * count
    return {"prompt_tokens": asked, "completion_tokens": completion, "total_tokens": asked + completion}


def _envelope(request: CompletionRequest, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(encode_json(request.messages)).hexdigest()[:24]
    return {"id": f"chatcmpl-echo-{digest}", "object": kind, "created": int(time.time()), "model": MODEL}
