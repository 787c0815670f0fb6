"""Turns decoded chunks into provider events: what is text, what is kept verbatim, what ends the answer."""

from __future__ import annotations

from typing import Any, Final

from completions.exceptions import OutputLimit, UpstreamInvalid, UpstreamTruncated
from completions.providers.content_parts import REASONINGS, spread
from completions.providers.failures import reported
from completions.providers.halves import REPLACEMENT, Halves
from completions.providers.reasons import Reason, error_in
from completions.providers.tool_calls import ToolCalls, as_number, legacy_call, seed_of
from completions.types import Delta, ProviderEvent, StreamFinished, StreamStarted
from conversations.finish_reasons import MISSING, NO_REASONS
from conversations.storable import storable_text

MAX_TEXT_CHARS: Final = 1 << 18
# An event with none of these keys is an error or noise.
_CHUNK = frozenset({"choices", "usage"})
# Keys whose changes from chunk to chunk mean nothing (Ollama and llama.cpp put a date in every chunk).
_VOLATILE = frozenset({"choices", "usage", "id", "object", "created", "model"})
_MISSING = object()


def _informs(value: Any) -> bool:
    return bool(value) or isinstance(value, bool | int | float)


class AnswerBuilder:
    """Sorts the chunks of one answer. The parser's fast path appends to `texts` directly."""

    def __init__(self, max_text: int = MAX_TEXT_CHARS, secrets: tuple[str, ...] = ()) -> None:
        self._max_text, self._secrets = max_text, secrets
        self._length = 0
        self._structured = False
        self.done = False
        self.halves = Halves()
        self.noise = 0
        self.steps = 0
        self._numbers: dict[int, int] = {}  # of choices, in the order in which they appear, by the upstream's index
        self._calls: dict[int, ToolCalls] = {}
        self._counts: dict[int, dict[str, int]] = {}
        self.envelope: dict[str, Any] | None = None
        self._finish: dict[int, str | None] = {}
        self._held: list[dict[str, Any]] = []
        self._usage: dict[str, Any] | None = None
        # Collected since the last flush: all text, the chunks, and how many of the texts those chunks already contain.
        self.texts: list[str] = []
        self._wire: list[dict[str, Any]] = []
        self._written = 0

    @property
    def began(self) -> bool:
        """Whether the model began to answer."""
        return self.envelope is not None

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason, which means that the answer is complete."""
        return bool(self._finish) and None not in self._finish.values()

    def take(self, chunk: Any, events: list[ProviderEvent], *, is_clean: bool = True) -> str:
        """Sort one chunk into text, wire or held. Returns its text if it was plain, else ''.

        An event that is not a chunk is only counted. Unless `is_clean`, strings of the chunk may not be storable.
        """
        if type(chunk) is not dict or not chunk.get("choices") or "error" in chunk:
            if reason := error_in(chunk):
                raise reported(reason, *self._secrets)
            if type(chunk) is not dict or (chunk and chunk.keys().isdisjoint(_CHUNK)):
                self.noise += 1
                return ""
        chunk.pop("obfuscation", None)
        choices, usage = chunk.get("choices"), chunk.get("usage")
        if not choices:  # PHP writes an empty object as a list, others an empty list as an object or text
            chunk["choices"] = choices = []
        elif type(choices) is not list:
            raise UpstreamInvalid()
        for position, choice in enumerate(choices):
            self._prepare(choice, position, chunk)
        if not is_clean or self.halves:
            chunk = self.halves.join(chunk)
            choices, usage = chunk["choices"], chunk.get("usage")
        if type(usage) is dict:
            self._usage = usage
        plain = self._same_envelope(chunk, bool(choices or usage), events)
        if not choices:
            if usage or not plain:
                self._held.append(chunk)
            return ""
        finishing, text = False, ""
        for choice in choices:
            finishes, content, simple = self._choice(choice)
            finishing = finishing or finishes
            plain = plain and simple
            text += content
        if finishing:
            self._held.append(_without_text(chunk) if text else chunk)
        elif not plain or len(choices) > 1:
            self._keep(chunk)
            self.texts.append(text)
            self._written = len(self.texts)
            return ""
        if text:
            self.texts.append(text)
        return "" if finishing else text

    def _prepare(self, choice: Any, position: int, chunk: dict[str, Any]) -> None:
        """Bring a choice into OpenAI's shape: an index, text content, numbered tool calls, a known type of reason."""
        if type(choice) is not dict:
            raise UpstreamInvalid()
        if choice.get("error") or choice.get("finish_reason") == "error":
            raise reported(error_in(choice) or Reason(), *self._secrets)
        index = choice.get("index")
        if type(index) is not int or index < 0:
            index = position if index is None else as_number(index)
            if index is None:
                raise UpstreamInvalid()
        # Clients keep choices in a list: gaps between their numbers break it.
        index = choice["index"] = self._numbers.setdefault(index, len(self._numbers))
        if not choice.get("delta") and type(choice.get("message")) is dict and index not in self._finish:
            choice["delta"] = choice.pop("message")  # a whole answer sent as one event
        elif not choice.get("delta") and type(choice.get("text")) is str:
            choice["delta"] = {"content": choice.pop("text")}  # as text completions have it
        delta = choice.get("delta")
        if type(delta) is dict:
            content = delta.get("content")
            if (
                (content is not None and type(content) is not str)
                or "thinking" in delta
                or any(type(delta.get(name)) is list for name in REASONINGS)
            ):
                spread(delta, self._counts.setdefault(index, {}))
            if delta.get("tool_calls"):
                calls = self._calls.get(index)
                if calls is None:
                    calls = self._calls[index] = ToolCalls(seed_of(chunk, index))
                delta["tool_calls"] = calls.number(delta["tool_calls"])
            if delta.get("function_call"):
                delta["function_call"] = legacy_call(delta["function_call"])
        elif not delta:
            choice["delta"] = {}
        else:
            raise UpstreamInvalid()
        reason = choice.get("finish_reason")
        if reason is not None and (type(reason) is not str or reason in NO_REASONS):
            choice["finish_reason"] = None
        elif reason and index in self._calls:
            self._name_calls(choice["delta"], index)

    def _name_calls(self, delta: dict[str, Any], index: int) -> None:
        known = delta.get("tool_calls") or []
        if pieces := self._calls[index].last_ids(known):
            delta["tool_calls"] = pieces

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

    def _choice(self, choice: dict[str, Any]) -> tuple[bool, str, bool]:
        """Return whether the choice finishes, its text if it is choice 0, and whether it contains nothing else."""
        index = choice["index"]
        finish = self._finish
        if index not in finish:
            finish[index] = None
        finishing, text, simple = False, "", index == 0
        for key, value in choice.items():
            if key == "delta":
                for name, part in value.items():
                    if name == "content":
                        if part and index == 0:
                            text = part
                        elif part:
                            self._structured = True
                    elif name == "role":
                        simple = simple and (not part or part == "assistant")
                    elif part is not None and _informs(part):
                        simple, self._structured = False, True
            elif key == "finish_reason":
                if value:
                    finish[index] = value
                    finishing = True
            elif key != "index" and value is not None and _informs(value):
                simple = False
        return finishing, text, simple

    def _keep(self, chunk: dict[str, Any]) -> None:
        self._merge_plain()
        self._wire.append(chunk)

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

    def release_halves(self) -> None:
        """Add a replacement character for each half of a character whose other half never arrived."""
        for index, delta in self.halves.release():
            if index == 0 and "content" in delta:
                self.texts.append(REPLACEMENT)
            else:
                self._keep({**(self.envelope or {}), "choices": [{"index": index, "delta": delta}]})

    def close(self, events: list[ProviderEvent], *, proper: bool = False) -> None:
        """Append the rest and `StreamFinished`. Raises UpstreamTruncated when a choice lacks its finish reason.

        After a `proper` end the reason may be missing, unless the answer is empty.
        """
        self.release_halves()
        self.flush(events)
        if not self.finished:
            if not (proper and (self._length or self._structured)):
                raise UpstreamTruncated()
            self._finish_silently()
        reason = self._finish.get(0) or next(iter(self._finish.values())) or MISSING
        events.append(StreamFinished(reason, self._usage, tuple(self._held)))
        self.done = True

    def _finish_silently(self) -> None:
        """Add a closing chunk, before the one with the usage, for the choices without a finish reason."""
        silent = [index for index, reason in self._finish.items() if reason is None]
        end: dict[str, Any] = {"logprobs": None, "finish_reason": MISSING}
        choices: list[dict[str, Any]] = [{"index": index, **end, "delta": {}} for index in silent]
        for choice in choices:
            if choice["index"] in self._calls:
                self._name_calls(choice["delta"], choice["index"])
        self._finish |= dict.fromkeys(silent, MISSING)
        place = next((at for at, chunk in enumerate(self._held) if not chunk.get("choices")), len(self._held))
        self._held.insert(place, {**(self.envelope or {}), "choices": choices})


def _without_text(chunk: dict[str, Any]) -> dict[str, Any]:
    for choice in chunk["choices"]:
        if not choice.get("index") and choice.get("delta"):
            choice["delta"]["content"] = ""
    return chunk
