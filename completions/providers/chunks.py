"""Turns decoded chunks into provider events: what is text, what is kept verbatim, what ends the answer."""

from __future__ import annotations

from typing import Any, Final

from completions.exceptions import OutputLimit, UpstreamFailed, UpstreamInvalid, UpstreamTruncated
from completions.providers.sanitize import safe_code
from completions.types import Delta, ProviderEvent, StreamFinished, StreamStarted
from conversations.storable import storable_text

MAX_TEXT_CHARS: Final = 1 << 18
# Keys whose changes from chunk to chunk mean nothing (Ollama and llama.cpp put a date in every chunk).
_VOLATILE = frozenset({"choices", "usage", "id", "object", "created", "model"})
_MISSING = object()


def _informs(value: Any) -> bool:
    return bool(value) or isinstance(value, bool | int | float)


class AnswerBuilder:
    """Sorts the chunks of one answer. The parser's fast path appends to `texts` directly."""

    def __init__(self, max_text: int = MAX_TEXT_CHARS) -> None:
        self._max_text = max_text
        self._length = 0
        self.done = False
        self.envelope: dict[str, Any] | None = None
        self._finish: dict[int, str | None] = {}
        self._held: list[dict[str, Any]] = []
        self._usage: dict[str, Any] | None = None
        # Collected since the last flush: all text, the chunks, and how many of the texts those chunks already contain.
        self.texts: list[str] = []
        self._wire: list[dict[str, Any]] = []
        self._written = 0

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason, which means that the answer is complete."""
        return bool(self._finish) and None not in self._finish.values()

    def take(self, chunk: Any, events: list[ProviderEvent]) -> str:
        """Sort one chunk into text, wire or held. Returns its text if it was plain, else ''."""
        if type(chunk) is not dict:
            raise UpstreamInvalid()
        if chunk.get("error"):
            raise stream_error(chunk.get("error"))
        chunk.pop("obfuscation", None)
        choices, usage = chunk.get("choices"), chunk.get("usage")
        if choices is None:
            choices = []
        elif type(choices) is not list:
            raise UpstreamInvalid()
        if type(usage) is dict:
            self._usage = usage
        plain = self._same_envelope(chunk, bool(choices or usage), events)
        if not choices:
            if usage or not plain:
                self._held.append(chunk)
            return ""
        finishing, text = False, ""
        for choice in choices:
            reason, content, simple = self._choice(choice)
            finishing = finishing or reason
            plain = plain and simple
            text += content
        if finishing:
            self._held.append(_without_text(chunk) if text else chunk)
        elif not plain or len(choices) > 1:
            self._merge_plain()
            self._wire.append(chunk)
            self.texts.append(text)
            self._written = len(self.texts)
            return ""
        if text:
            self.texts.append(text)
        return "" if finishing else text

    def _same_envelope(self, chunk: dict[str, Any], answers: bool, events: list[ProviderEvent]) -> bool:
        envelope = self.envelope
        if envelope is None:
            if not answers and not chunk.get("id"):
                return False  # Azure's first chunk: no id, no choices, only the content filter's verdict on the prompt
            self.envelope = {key: value for key, value in chunk.items() if key != "choices" and key != "usage"}
            events.append(StreamStarted(self.envelope))
            return True
        for key, value in chunk.items():
            if key not in _VOLATILE and envelope.get(key, _MISSING) != value and _informs(value):
                return False
        return True

    def _choice(self, choice: Any) -> tuple[bool, str, bool]:
        """Return whether the choice finishes, its text if it is choice 0, and whether it contains nothing else."""
        if type(choice) is not dict:
            raise UpstreamInvalid()
        index = choice.get("index")
        if index is None:
            index = 0
        elif type(index) is not int or index < 0:
            raise UpstreamInvalid()
        if choice.get("error"):
            raise stream_error(choice["error"])
        finish = self._finish
        if index not in finish:
            finish[index] = None
        finishing, text, simple = False, "", index == 0
        for key, value in choice.items():
            if key == "delta":
                if value is None:
                    continue
                if type(value) is not dict:
                    raise UpstreamInvalid()
                for name, part in value.items():
                    if name == "content":
                        if part is not None and type(part) is not str:
                            raise UpstreamInvalid()
                        if part and index == 0:
                            text = part
                    elif name == "role":
                        simple = simple and (not part or part == "assistant")
                    elif part is not None and _informs(part):
                        simple = False
            elif key == "finish_reason":
                if value:
                    if type(value) is not str:
                        raise UpstreamInvalid()
                    if value == "error":
                        raise stream_error(None)
                    finish[index] = value
                    finishing = True
            elif key != "index" and value is not None and _informs(value):
                simple = False
        return finishing, text, simple

    def _merge_plain(self) -> None:
        """Put the text gathered since the last wire chunk into one plain chunk."""
        text = storable_text("".join(self.texts[self._written :]))
        self._written = len(self.texts)
        if text:
            choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
            self._wire.append({**(self.envelope or {}), "choices": [choice]})

    def flush(self, events: list[ProviderEvent]) -> None:
        """Append one `Delta` with everything collected. Raises OutputLimit after the part that fits."""
        if not self.texts and not self._wire:
            return
        text = storable_text("".join(self.texts))
        if self._wire:
            self._merge_plain()
        wire, self._wire, self.texts, self._written = tuple(self._wire), [], [], 0
        room = self._max_text - self._length
        self._length += len(text)
        if len(text) > room:
            if room:
                events.append(Delta(text[:room]))
            raise OutputLimit()
        if text or wire:
            events.append(Delta(text, wire))

    def close(self, events: list[ProviderEvent]) -> None:
        """Append the rest and `StreamFinished`. Raises UpstreamTruncated when a choice lacks its finish reason."""
        self.flush(events)
        if not self.finished:
            raise UpstreamTruncated()
        reason = self._finish.get(0) or next(iter(self._finish.values())) or "stop"
        events.append(StreamFinished(reason, self._usage, tuple(self._held)))
        self.done = True


def _without_text(chunk: dict[str, Any]) -> dict[str, Any]:
    for choice in chunk["choices"]:
        if not choice.get("index") and choice.get("delta"):
            choice["delta"]["content"] = ""
    return chunk


def stream_error(error: Any) -> UpstreamFailed:
    """Return the exception for an `error` inside an answer: with its code, never with its text."""
    code = safe_code(error.get("code") or error.get("type")) if isinstance(error, dict) else ""
    detail = f" (code {code})" if code else ""
    return UpstreamFailed(f"The model's server reported an error while answering{detail}.")


def chunks_of(body: Any) -> list[dict[str, Any]]:
    """Return the chunks in which a `chat.completion` body would have been streamed: answer, end, usage."""
    if type(body) is not dict:
        raise UpstreamInvalid()
    if body.get("error"):
        raise stream_error(body["error"])
    choices = body.get("choices")
    if type(choices) is not list or not choices or not all(type(choice) is dict for choice in choices):
        raise UpstreamInvalid()
    envelope = {key: value for key, value in body.items() if key not in ("choices", "usage")}
    if "object" in envelope:
        envelope["object"] = "chat.completion.chunk"
    opening, closing = [], []
    for position, choice in enumerate(choices):
        message = choice.get("message")
        if type(message) is not dict:
            raise UpstreamInvalid()
        calls = message.get("tool_calls")
        if type(calls) is list:
            numbered = [{"index": at, **call} for at, call in enumerate(calls) if type(call) is dict]
            message = {**message, "tool_calls": numbered}
        rest = {key: value for key, value in choice.items() if key not in ("message", "finish_reason")}
        index = choice.get("index", position)
        opening.append({**rest, "index": index, "delta": message, "finish_reason": None})
        closing.append({"index": index, "delta": {}, "logprobs": None, "finish_reason": choice.get("finish_reason")})
    last = {**envelope, "choices": closing}
    usage = [{**envelope, "choices": [], "usage": body["usage"]}] if type(body.get("usage")) is dict else []
    return [{**envelope, "choices": opening}, last, *usage]
