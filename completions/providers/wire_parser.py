"""Turns the bytes of an upstream's event stream into provider events: pure, synchronous, each line decoded once.

No socket, no clock, no Django. The same bytes give the same answer however they are split.
"""

from __future__ import annotations

from typing import Final

import msgspec

from completions.exceptions import OutputLimit, ProviderError, UpstreamInvalid, UpstreamTruncated
from completions.providers.chunks import MAX_TEXT_CHARS, AnswerBuilder
from completions.providers.failures import no_answer, reported
from completions.providers.reasons import event_error, plain_text
from completions.providers.sanitize import decode_halves
from completions.providers.several_values import event_stream_of
from completions.providers.whole_answers import chunks_of, read_answer
from completions.types import ProviderEvent

MAX_LINE_BYTES: Final = 1 << 20
MAX_RAW_BYTES: Final = 8 << 20

_BOM = b"\xef\xbb\xbf"
_NEVER = b"\x00"  # never the first character of an event stream's line
_TEMPLATE_TRIES = 8
_decode_str = msgspec.json.Decoder(str).decode


class AnswerParser:
    """Parses the bytes of an answer; check `error` and `done` after each call.

    A failure never loses what arrived before it: every method returns the events up to that point and sets `error`,
    which never contains one of `secrets`.
    """

    builder: type[AnswerBuilder] = AnswerBuilder

    def __init__(
        self,
        *,
        max_line: int = MAX_LINE_BYTES,
        max_raw: int = MAX_RAW_BYTES,
        max_text: int = MAX_TEXT_CHARS,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.error: ProviderError | None = None
        self.late_code = ""  # of the last error that came after the end of the answer
        self._secrets = secrets
        self._answer = self.builder(max_text, secrets)
        self._max_line, self._max_raw = max_line, max_raw
        self._raw = 0
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._after_cr = self._error_event = False
        self._first_line = True
        self._stray = b""  # the first line outside of any event: quoted if no answer follows
        self._partial: list[bytes] = []
        # The lines of one answer differ only in one JSON string: these are the bytes before and after it.
        self._prefix, self._suffix = _NEVER, b""
        self._misses = 0

    @property
    def done(self) -> bool:
        """Whether `StreamFinished` has been returned: nothing more is read after it."""
        return self._answer.done

    @property
    def opened(self) -> bool:
        """Whether a chunk of the answer has arrived."""
        return self._answer.envelope is not None

    @property
    def began(self) -> bool:
        """Whether the model began to answer, so that from here on silence is a stall."""
        return self._answer.began

    @property
    def steps(self) -> int:
        """How many events showed that the upstream works without saying anything."""
        return self._answer.steps

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason, which means that the answer is complete."""
        return self._answer.finished

    @property
    def noise(self) -> int:
        """How many events were ignored because they are no part of an answer."""
        return self._answer.noise

    def feed(self, data: bytes) -> list[ProviderEvent]:
        """Parse one read of any size; its text comes back as one `Delta`."""
        events: list[ProviderEvent] = []
        if self.error or self.done:
            return events
        room = self._max_raw - self._raw
        self._raw += len(data)
        try:
            self._lines(data if len(data) <= room else data[:room], events)
            if not self.done:
                if len(data) > room:
                    raise OutputLimit()
                self._answer.flush(events)
        except ProviderError as error:
            self._fail(error, events)
        return events

    def end(self) -> list[ProviderEvent]:
        """Handle the end of the connection: an unfinished line is still parsed, an unfinished answer is an error."""
        events: list[ProviderEvent] = []
        if self.error or self.done:
            return events
        complete = self.finished
        try:
            try:
                if self._tail_bytes:
                    self._line(b"".join(self._tail), events)
                self._blank(events)
            except UpstreamInvalid:
                if not complete:
                    raise UpstreamTruncated() from None
            if not self.done:
                self._answer.close(events)
        except UpstreamTruncated as error:
            stray = self._stray if not self.opened else b""
            self._fail(no_answer(stray, *self._secrets) if stray else error, events)
        except ProviderError as error:
            self._fail(error, events)
        return events

    def whole(self, raw: bytes) -> list[ProviderEvent]:
        """Parse a `chat.completion` body that came instead of a stream, or the chunks of a stream without its frame."""
        events: list[ProviderEvent] = []
        try:
            try:
                body = read_answer(raw, *self._secrets)
            except UpstreamInvalid:
                if stream := event_stream_of(raw):
                    return [*self.feed(stream), *self.end()]
                raise
            for chunk in chunks_of(body):
                self._answer.take(chunk, events)
            self._answer.close(events, proper=True)
        except ProviderError as error:
            self._fail(error, events)
        return events

    def _fail(self, error: ProviderError, events: list[ProviderEvent]) -> None:
        try:
            self._answer.release_halves()
            self._answer.flush(events)
        except OutputLimit as limit:
            error = limit
        self.error = error

    # --- lines ---------------------------------------------------------------------------------

    def _lines(self, data: bytes, events: list[ProviderEvent]) -> None:
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._tail_bytes:
            self._tail.append(lines[0])
            lines[0] = b"".join(self._tail)
            self._tail, self._tail_bytes = [], 0
        texts, max_line = self._answer.texts, self._max_line
        prefix, suffix = self._prefix, self._suffix
        start, stop = len(prefix) - 1, 1 - len(suffix)
        for line in lines:
            if line.startswith(prefix) and line.endswith(suffix) and start + 1 - stop < len(line) <= max_line:
                try:
                    # The opening and closing quotes belong to the template, so this is exactly one JSON string.
                    texts.append(_decode_str(line[start:stop]))
                    self._misses = 0
                    continue
                except (msgspec.DecodeError, UnicodeDecodeError):
                    pass
            if line:
                self._line(line, events)
                if self.done:
                    return
                prefix, suffix = self._prefix, self._suffix
                start, stop = len(prefix) - 1, 1 - len(suffix)
            elif self._partial or self._error_event:
                self._blank(events)
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
            if self._tail_bytes > max_line:
                raise OutputLimit()

    def _line(self, line: bytes, events: list[ProviderEvent]) -> None:
        if len(line) > self._max_line:
            raise OutputLimit()
        if self._first_line:
            self._first_line = False
            if line.startswith(_BOM):
                line = line[3:]
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            while payload.startswith(b"data:"):  # an event in an event: a proxy took the line for a text
                payload = payload[5:].strip()
            if self._partial:
                self._partial.append(payload)
            elif payload == b"[DONE]":
                self._answer.close(events, proper=True)
            elif payload:
                self._payload(payload, line, events)
        elif line.startswith(b"event:"):
            self._error_event = line[6:].strip().lower() == b"error"
            if self._error_event:
                self._prefix = _NEVER
        elif line.startswith(b"{"):
            self._take(line, events)  # an error or a chunk that the server sent without `data:`
        elif not (self._stray or line.startswith((b":", b"id:", b"retry:"))):
            self._stray = line
        # Comments, ids, retry hints and unknown fields contain no part of the answer.

    def _blank(self, events: list[ProviderEvent]) -> None:
        """End an event: several data lines are one JSON text, or else several events without blank lines."""
        payloads, self._partial = self._partial, []
        if payloads and self._take(b"\n".join(payloads), events) is None:
            for payload in payloads:
                if payload == b"[DONE]":
                    self._answer.close(events, proper=True)
                    return
                if self._take(payload, events) is None:
                    self._ignore(payload)
        self._error_event = False

    def _payload(self, payload: bytes, line: bytes, events: list[ProviderEvent]) -> None:
        text = self._take(payload, events)
        if text is None:
            if not payload.startswith(b"{"):
                return self._ignore(payload)
            # The line is either broken or the first of several data lines: the blank line decides which.
            self._partial = [payload]
            self._prefix = _NEVER
        elif self._answer.halves:
            self._prefix = _NEVER  # the next line needs the other path: it may have the other half
        elif text and self._misses < _TEMPLATE_TRIES:
            self._learn(line, text)

    def _take(self, payload: bytes, events: list[ProviderEvent]) -> str | None:
        """Return the plain text of an event; None if it is not JSON."""
        try:
            chunk, is_clean = decode_halves(payload)
        except ValueError:
            return None
        try:
            if self._error_event:
                raise reported(event_error(chunk), *self._secrets)
            return self._answer.take(chunk, events, is_clean=is_clean)
        except RecursionError:
            self._break(UpstreamInvalid())
        except ProviderError as error:
            self._break(error)
        return ""

    def _break(self, error: ProviderError) -> None:
        """Raise an error; after the end of the answer only note it, since the answer is whole."""
        if not self.finished:
            raise error from None
        self.late_code = error.code
        self._answer.noise += 1

    def _ignore(self, payload: bytes) -> None:
        """Count an event that is not JSON. Raises ProviderError if it is an error's text or may be a broken chunk."""
        if self._error_event:
            self._break(reported(event_error(plain_text(payload)), *self._secrets))
        elif payload.startswith(b"{"):
            self._break(UpstreamInvalid())
        else:
            self._answer.noise += 1

    def _learn(self, line: bytes, text: str) -> None:
        """Use a plain line as the template for the next ones.

        Without an escape, the line contains its text literally; if the text occurs only once, its place is known.
        """
        quoted = b'"' + text.encode() + b'"'
        at = line.find(quoted)
        if b"\\" in line or at < 0 or line.find(quoted, at + 1) >= 0:
            return
        self._misses += 1  # reset once the template fits a line: if no two lines are alike, learning is a waste of time
        self._prefix, self._suffix = line[: at + 1], line[at + len(quoted) - 1 :]
