"""Parses the answers of a server with the Responses API, streamed or not, into the events of a chat completion."""

from __future__ import annotations

from typing import Any, Final

from completions.exceptions import ProviderError, UpstreamInvalid, UpstreamTruncated
from completions.providers.chunks import MAX_TEXT_CHARS, AnswerBuilder
from completions.providers.failures import reported
from completions.providers.reasons import Reason, error_in
from completions.providers.responses_refusals import explained, other_api
from completions.providers.responses_stream import ResponseChunks, item_of, where
from completions.providers.sanitize import clean_tree
from completions.providers.whole_answers import read_object
from completions.providers.wire_parser import MAX_RAW_BYTES, AnswerParser
from completions.types import ProviderEvent

_TEXT: Final = "response.output_text.delta"
# What a server also sends while its model has not begun
_WAITING: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS: Final = {f"response.{status}": status for status in ("completed", "incomplete", "failed", "cancelled")}


class ResponseBuilder(AnswerBuilder):
    """Sorts the events of one answer, as `AnswerBuilder` sorts chunks."""

    def __init__(self, max_text: int = MAX_TEXT_CHARS, secrets: tuple[str, ...] = ()) -> None:
        super().__init__(max_text, secrets)
        self._chunks = ResponseChunks()

    @property
    def began(self) -> bool:
        """Whether the model began to answer: a server says at once that it has the question."""
        return self.steps > 0

    def take(self, chunk: Any, events: list[ProviderEvent], *, is_clean: bool = True) -> str:
        """Sort one event. Returns its text if it was plain, else ''."""
        kind = chunk.get("type") if type(chunk) is dict else None
        if type(kind) is not str or not kind.startswith("response.") or kind == "response.error":
            self._take_other(kind, chunk, events)
            return ""
        if kind not in _WAITING and not (
            kind == "response.output_item.added" and item_of(chunk).get("type") == "reasoning"
        ):
            self.steps += 1
        if kind == _TEXT and is_clean and self._continues(chunk):
            self.texts.append(chunk["delta"])
            return str(chunk["delta"])
        if not is_clean and not kind.endswith(".delta"):
            chunk, is_clean = clean_tree(chunk), True  # only a delta can end within a character
        if kind in _ENDS:
            response = chunk.get("response")
            self._end(_ENDS[kind], response if isinstance(response, dict) else {}, events)
            return ""
        for each in self._chunks.of(kind.removeprefix("response."), chunk):
            super().take(each, events, is_clean=is_clean)
        return ""

    def whole(self, response: dict[str, Any], events: list[ProviderEvent]) -> None:
        """Sort a response that came whole."""
        self._end("completed", response, events)

    def close(self, events: list[ProviderEvent], *, proper: bool = False) -> None:
        """See `AnswerBuilder.close`; what follows the end of a response is ignored."""
        if not self.done:
            super().close(events, proper=proper)

    def _take_other(self, kind: Any, event: Any, events: list[ProviderEvent]) -> None:
        if type(event) is dict and event.get("object") == "response":
            self.whole(clean_tree(event), events)
        elif reason := error_in(event):
            failure = reported(reason, *self._secrets)
            raise failure if self.envelope else explained(failure)
        elif kind in ("error", "response.error"):
            raise reported(Reason(), *self._secrets)
        elif type(event) is dict and "choices" in event:
            raise other_api()
        else:
            self.noise += kind != "keepalive"

    def _continues(self, event: dict[str, Any]) -> bool:
        """Tell whether a delta only continues the text before it."""
        if type(event.get("delta")) is not str or event.get("logprobs") or self.halves or 0 not in self._finish:
            return False
        return self._chunks.last_text == where(event)

    def _end(self, ending: str, response: dict[str, Any], events: list[ProviderEvent]) -> None:
        status = ending if ending == "failed" else response.get("status") or ending
        if status == "failed":
            raise reported(error_in({"error": response.get("error")}) or Reason(), *self._secrets)
        if status == "cancelled":
            raise reported(Reason("the response was cancelled", "cancelled"), *self._secrets)
        if status in ("queued", "in_progress"):
            raise UpstreamTruncated()
        for each in self._chunks.rest(response):
            super().take(each, events)
        self.flush(events)  # too much text must be noticed before the answer counts as finished
        for each in self._chunks.end(status, response):
            super().take(each, events)
        self.close(events, proper=True)


class ResponseParser(AnswerParser):
    """See `AnswerParser`. A line may be as long as the whole answer: the last event repeats everything."""

    builder = ResponseBuilder
    _answer: ResponseBuilder

    def __init__(self, *, max_raw: int = MAX_RAW_BYTES, **options: Any) -> None:
        super().__init__(max_line=max_raw, max_raw=max_raw, **options)

    def whole(self, raw: bytes) -> list[ProviderEvent]:
        """Parse a response that was not streamed."""
        events: list[ProviderEvent] = []
        try:
            self._answer.whole(_response_of(raw, *self._secrets), events)
        except ProviderError as error:
            self._fail(error, events)
        return events


def _response_of(raw: bytes, *secrets: str) -> dict[str, Any]:
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise other_api()
    try:
        body = read_object(raw, *secrets)
    except ProviderError as error:
        raise explained(error) from None
    if "choices" in body:
        raise other_api()
    if not isinstance(body.get("output"), list):
        raise UpstreamInvalid("The model's server sent an answer without output.")
    return body
