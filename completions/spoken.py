"""What a run has said so far, in little memory: a chunk of one token is five bytes of text in objects of a hundred."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from completions.types import Delta, Wire

BLOCK = 32
"""So many chunks are packed together, and so many at least are left as they are: readers follow the newest ones."""


class _Packed(NamedTuple):
    """BLOCK chunks: where their text begins in the run's, the text, where each ends in it, and the wire of some."""

    begin: int
    text: str
    ends: array[int]
    wires: dict[int, tuple[Wire, ...]]


class Spoken(Sequence[Delta]):
    """The published chunks of a run, numbered from 1 without a gap; only appended to."""

    def __init__(self) -> None:
        self._packed: list[_Packed] = []
        self._newest: list[Delta] = []

    def append(self, chunk: Delta) -> None:
        self._newest.append(chunk)
        if len(self._newest) >= 2 * BLOCK:
            self._packed.append(_pack(self._newest[:BLOCK]))
            del self._newest[:BLOCK]

    def text(self) -> str:
        return "".join([*(block.text for block in self._packed), *(chunk.text for chunk in self._newest)])

    def __len__(self) -> int:
        return len(self._packed) * BLOCK + len(self._newest)

    @overload
    def __getitem__(self, at: int) -> Delta: ...
    @overload
    def __getitem__(self, at: slice) -> list[Delta]: ...
    def __getitem__(self, at: int | slice) -> Delta | list[Delta]:
        first = len(self._packed) * BLOCK
        if isinstance(at, int):
            at = range(len(self))[at]
            return self._newest[at - first] if at >= first else self._unpacked(at // BLOCK)[at % BLOCK]
        start, stop, step = at.indices(len(self))
        if step != 1:
            return list(self)[at]
        stop = max(start, stop)
        if start >= first:
            return self._newest[start - first : stop - first]
        found = [chunk for block in range(start // BLOCK, len(self._packed)) for chunk in self._unpacked(block)]
        offset = start // BLOCK * BLOCK
        return [*found, *self._newest][start - offset : stop - offset]

    def __iter__(self) -> Iterator[Delta]:
        return iter(self[:])

    def _unpacked(self, number: int) -> list[Delta]:
        block = self._packed[number]
        starts = (0, *block.ends)
        return [
            Delta(block.text[start:end], block.wires.get(place, ()), number * BLOCK + place + 1, block.begin + end)
            for place, (start, end) in enumerate(zip(starts, block.ends, strict=False))
        ]


def _pack(chunks: list[Delta]) -> _Packed:
    begin = chunks[0].end - len(chunks[0].text)
    return _Packed(
        begin,
        "".join([chunk.text for chunk in chunks]),
        array("Q", [chunk.end - begin for chunk in chunks]),
        {place: chunk.wire for place, chunk in enumerate(chunks) if chunk.wire},
    )
