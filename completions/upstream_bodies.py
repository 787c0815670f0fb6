"""The bodies of requests to upstreams: content of files is read and encoded while it is sent, a little at a time."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterator, Mapping

from completions.types import Content
from files.threads import in_file_thread


class BodyWithContents:
    """A body in which marks stand for contents; it may be sent several times. Its length is known."""

    def __init__(self, body: bytes, contents: Mapping[str, Content]) -> None:
        marks = b"|".join(re.escape(mark.encode()) for mark in contents)
        self._pieces = re.split(b"(" + marks + b")", body)
        self._contents = {mark.encode(): content for mark, content in contents.items()}

    def __len__(self) -> int:
        contents = self._contents
        return sum(-(-contents[each].size // 3) * 4 if each in contents else len(each) for each in self._pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if piece not in self._contents:
                yield piece
                continue
            chunks = self._contents[piece].chunks()
            while encoded := await in_file_thread(_next_encoded, chunks):
                yield encoded


Body = bytes | BodyWithContents


def with_contents(body: bytes, contents: Mapping[str, Content]) -> Body:
    return BodyWithContents(body, contents) if contents else body


def _next_encoded(chunks: Iterator[bytes]) -> bytes:
    return base64.b64encode(next(chunks, b""))
