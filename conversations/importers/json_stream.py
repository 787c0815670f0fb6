"""Reads JSON bigger than memory: one value at a time, whatever the file contains.

ijson's own object builders are not used: they build a path for every value, which grows with each level, so that 200 KB
of brackets would use up all memory. Here depth and size of a value are limited; a value that exceeds a limit is
skipped, and reading continues with the next one.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ijson

CHUNK = 1 << 16
DEPTH = 100
HOPELESS_DEPTH = 100_000
BOM = b"\xef\xbb\xbf"
NO_UNICODE = "is not UTF-8, UTF-16 or UTF-32"
CUT_CHARACTER = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")
WRAPPER = "conversations"
"""What an object may call the array of everything that the file is read for."""
SCALAR = r'(?:"(?:[^"\\]|\\.)*"|[^\s"{}\[\],:]+)'
WRAPPED = re.compile(rf'\{{\s*(?:{SCALAR}\s*:\s*{SCALAR}\s*,\s*){{0,100}}"{WRAPPER}"\s*:\s*\['.encode())
START = frozenset({"start_map", "start_array"})
END = frozenset({"end_map", "end_array"})


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Stands for a value that was not read, and says why."""

    reason: str


class Hopeless(Exception):
    """The file cannot be read beyond this point; the message says why."""


class Meter(io.RawIOBase):
    """A file that reports how much was read, and gives up on a text without an end."""

    def __init__(self, file: io.BufferedIOBase, *, largest: int, on_read: Callable[[int], object]) -> None:
        self._file = file
        self._largest = largest
        self._on_read = on_read
        self._since_progress = 0
        self.progressed = False
        self.total = 0
        self.tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.total += len(data)
        self.tail = data[-3:] or self.tail
        self._on_read(len(data))
        self._since_progress = len(data) if self.progressed else self._since_progress + len(data)
        self.progressed = False
        if self._since_progress > self._largest:
            raise Hopeless("it has a text that is larger than the limit for a whole conversation")
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class InUtf8(io.RawIOBase):
    """A file in another encoding, as UTF-8. It holds one chunk of it."""

    def __init__(self, file: io.BufferedIOBase, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            data = self._file.read1(CHUNK)
            self._ended = not data
            self._ready = self._decoder.decode(data, final=self._ended).encode()
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def read_values(
    file: io.BufferedIOBase, *, largest: int, on_read: Callable[[int], object]
) -> Iterator[Any | PassedOver]:
    """Yield the elements of a JSON array, also of one in an object (WRAPPER), the lines of JSONL, or the single object.

    `largest` limits a value, in bytes. Raises ijson.JSONError for what is not JSON, and Hopeless.
    """
    # Allow for the rest of a chunk: a line of exactly the largest size is not an endless text.
    meter = Meter(file, largest=largest + 2 * CHUNK, on_read=on_read)
    stream: io.BufferedReader[Any] = io.BufferedReader(meter, CHUNK)
    encoding = json.detect_encoding(stream.peek(4)[:4])
    if encoding.startswith(("utf-16", "utf-32")):
        stream = io.BufferedReader(InUtf8(stream, encoding), CHUNK)
    if stream.peek(3)[:3] == BOM:
        stream.read(3)
    first = _first_byte(stream)
    ahead = stream.peek(1)
    is_wrapped = first == b"{" and _is_wrapped(ahead)
    if first == b"{" and not is_wrapped and _is_one_line(ahead):
        yield from _lines(stream, meter, largest)
        return
    level = 1 if is_wrapped or first == b"[" else 0
    events = ijson.basic_parse(stream, buf_size=CHUNK, multiple_values=first != b"[")
    try:
        yield from _elements(_within(events) if is_wrapped else events, meter, largest, level=level)
    except ijson.JSONError as error:
        was_cut = CUT_CHARACTER.search(meter.tail) and not stream.read(1)
        if "UTF8" in str(error) and not was_cut:
            raise Hopeless(f"it {NO_UNICODE}") from error
        raise


def _first_byte(stream: io.BufferedReader[Any]) -> bytes:
    """Skip white space and return the byte after it, without consuming that byte."""
    while ahead := stream.peek(1):
        left = ahead.lstrip()
        stream.read(len(ahead) - len(left))
        if left:
            return left[:1]
    return b""


def _is_one_line(ahead: bytes) -> bool:
    """Distinguish JSONL from an object that spans several lines: in JSONL the first line ends with its object."""
    line, newline, _ = ahead.partition(b"\n")
    return not newline or line.rstrip().endswith(b"}")


def _is_wrapped(ahead: bytes) -> bool:
    """Tell an object that has the array in it from JSONL of such objects: in JSONL the first line is a whole one."""
    if not WRAPPED.match(ahead):
        return False
    line, newline, _ = ahead.partition(b"\n")
    try:
        return not newline or not json.loads(line)
    except (ValueError, RecursionError):
        return True


def _lines(stream: io.BufferedReader[Any], meter: Meter, largest: int) -> Iterator[Any | PassedOver]:
    while line := stream.readline(largest + 1):
        meter.progressed = True
        if len(line) > largest:
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK)
                meter.progressed = True
            yield _oversized(largest)
        elif line.strip():
            try:
                value = json.loads(line)
            except UnicodeDecodeError as error:
                is_cut = CUT_CHARACTER.search(line) and error.end == len(line)
                value = PassedOver("the line is not valid JSON" if is_cut else f"the line {NO_UNICODE}")
            except (ValueError, RecursionError):
                value = PassedOver("the line is not valid JSON")
            yield value


def _within(events: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the events of the wrapped array alone, as if it stood at the top."""
    depth, inside, key = 0, False, ""
    for event, value in events:
        depth -= event in END
        if depth == 1 and event == "map_key":
            key = value
        elif depth == 1 and event == "start_array":
            inside = key == WRAPPER
        if inside:
            yield event, value
        inside = inside and not (depth == 1 and event in END)
        depth += event in START


def _elements(
    events: Iterable[tuple[str, Any]], meter: Meter, largest: int, *, level: int
) -> Iterator[Any | PassedOver]:
    """Yield the values at this `level` of nesting."""
    stack: list[Any] = []  # the open containers of the value being read, and the last key in each
    keys: list[str] = []
    depth = 0
    passed: PassedOver | None = None
    began = meter.total
    for event, value in events:
        meter.progressed = True
        if event == "map_key":
            if passed is None:
                keys[-1] = value
        elif event in START:
            depth += 1
            if depth <= level:
                continue
            if passed is None and (depth - level > DEPTH or meter.total - began > largest):
                passed = PassedOver("it is nested too deeply") if depth - level > DEPTH else _oversized(largest)
                stack, keys = [], []
            if depth > HOPELESS_DEPTH:
                raise Hopeless("it is nested too deeply to skip it")
            if passed is None:
                made: Any = {} if event == "start_map" else []
                if stack:
                    _put(stack[-1], keys, made)
                stack.append(made)
                keys.append("")
        elif event in END:
            depth -= 1
            if depth < level:
                continue
            whole = None
            if passed is None:
                whole = stack.pop()
                keys.pop()
            if depth == level:
                yield passed or whole
                passed, began = None, meter.total
        elif depth == level:
            yield value
            began = meter.total
        elif passed is None:
            _put(stack[-1], keys, float(value) if isinstance(value, Decimal) else value)


def _put(container: Any, keys: list[str], value: Any) -> None:
    if isinstance(container, list):
        container.append(value)
    else:
        container[keys[-1]] = value


def _oversized(largest: int) -> PassedOver:
    return PassedOver(f"it is larger than {max(1, largest >> 20)} MB (LIMIT_IMPORT_BYTES)")
