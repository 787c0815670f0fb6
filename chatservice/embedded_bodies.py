"""Takes long base64 out of a JSON body while it arrives, so that pictures and documents are never in memory.

Only the strings are told apart from the rest; whether the body is JSON is seen when what is left is read.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from hashlib import sha256
from typing import IO

from files.embedded import EmbeddedContent

MIN_CHARS = 65_536
"""Shorter strings stay in the body."""
AT_ONCE = 65_536
"""So much is looked at together: what a client sends byte by byte costs no more."""
# Many short strings are passed over at once: a step for each would take seconds of a body that has little else.
SHORT = re.compile(rb'(?:[^"]*+"(?:[^"\\]{0,65534}+|(?:[^"\\]|\\.){0,32767}+)")++', re.DOTALL)
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# JSON may have a slash as \/ too.
PREFIX = re.compile(rb'"(?:data:(?:[^,"\\\s]|\\/){0,200};base64,)?')
BASE64 = re.compile(rb"[A-Za-z0-9+/=]*+(?:\\/[A-Za-z0-9+/=]*+)*+")


class BodySplitter:
    """Divides a body into the content that is embedded in it, by digest, and the rest. Not for the event loop."""

    def __init__(self, new_file: Callable[[], IO[bytes]]) -> None:
        self.embedded: dict[str, EmbeddedContent] = {}
        self._new_file = new_file
        self._arrived = bytearray()
        self._buffer = b""
        self._at = 0  # up to here the buffer is done
        self._rest = bytearray()
        self._content: _Content | None = None
        self._step = self._outside

    @property
    def waiting(self) -> int:
        """How many bytes are neither on the disk nor returned yet."""
        return len(self._arrived) + len(self._buffer)

    def feed(self, data: bytes) -> bytes:
        """Return what can be said of the rest by now; raises OSError if the disk is full."""
        self._arrived += data
        return self._advance() if len(self._arrived) >= AT_ONCE else b""

    def finish(self) -> bytes:
        """Return the end of the rest."""
        rest = self._advance()
        if self._content is not None:  # the body ended inside of a string
            rest += self._content.encoded()
            self._drop()
        rest, self._buffer = rest + self._buffer, b""
        return rest

    def close(self) -> None:
        self._drop()
        for each in self.embedded.values():
            each.close()

    def _advance(self) -> bytes:
        self._buffer += self._arrived
        self._arrived = bytearray()
        while self._at < len(self._buffer) and self._step():
            pass
        self._buffer, self._at = self._buffer[self._at :], 0
        rest, self._rest = bytes(self._rest), bytearray()
        return rest

    # Each step moves on in the buffer, and tells whether it did: otherwise it needs more data.

    def _outside(self) -> bool:
        if short := SHORT.match(self._buffer, self._at):
            return self._keep(short.end())
        start = self._buffer.find(b'"', self._at)
        if start < 0:
            return self._keep(len(self._buffer))
        string = STRING.match(self._buffer, start)
        end = string.end() if string else start
        if end - start < MIN_CHARS:
            return self._keep(end + 1 if self._ends_at(end) else start)
        prefix = PREFIX.match(self._buffer, start)
        encoded = BASE64.match(self._buffer, prefix.end()) if prefix else None
        if encoded is None or encoded.end() < end:
            self._step = self._in_text
            return self._keep(start + 1)
        self._step, self._content = self._in_content, _Content(self._new_file())
        return self._keep(encoded.start())

    def _in_text(self) -> bool:
        found = REST_OF_STRING.match(self._buffer, self._at)
        end = found.end() if found else self._at
        if self._ends_at(end):
            self._step = self._outside
            end += 1
        return self._keep(end)

    def _in_content(self) -> bool:
        assert self._content is not None
        found = BASE64.match(self._buffer, self._at)
        end = found.end() if found else self._at
        try:
            self._content.write(self._buffer[self._at : end].replace(b"\\/", b"/"))
            moved, self._at = end > self._at, end
            if not self._ends_at(end):
                return moved if self._buffer[end:] in (b"", b"\\") else self._give_back()
            self._content.finish()
        except binascii.Error:
            return self._give_back()
        ending, content, self._content = self._content.ending, self._content.whole(), None
        if content.sha256 in self.embedded:
            content.close()
        self.embedded.setdefault(content.sha256, content)
        self._step = self._outside
        self._rest += content.placeholder.encode() + ending
        return self._keep(end + 1)

    def _ends_at(self, position: int) -> bool:
        return self._buffer[position : position + 1] == b'"'

    def _give_back(self) -> bool:
        """Put back what was taken for base64 and is not."""
        assert self._content is not None
        self._rest += self._content.encoded()
        self._drop()
        self._step = self._in_text
        return True

    def _drop(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None

    def _keep(self, end: int) -> bool:
        """Leave the buffer up to `end` in the body."""
        moved = end > self._at
        self._rest += self._buffer[self._at : end]
        self._at = end
        return moved


class _Content:
    """Base64 that is decoded while it arrives."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self._size = file, sha256(), 0
        self._carry = b""  # less than four characters
        self._last = self._last_encoded = b""
        self._is_padded = False

    def write(self, encoded: bytes) -> None:
        """Decode and store; raises binascii.Error, and then has taken nothing."""
        if encoded and self._is_padded:
            raise binascii.Error("more after the padding")
        encoded = self._carry + encoded
        whole = len(encoded) - len(encoded) % 4
        data = binascii.a2b_base64(encoded[:whole], strict_mode=True) if whole else b""
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)
        if whole:
            self._last, self._last_encoded = data[-(len(data) % 3 or 3) :], encoded[whole - 4 : whole]
        self._is_padded = encoded[:whole].endswith(b"=")
        self._carry = encoded[whole:]

    def finish(self) -> None:
        if carry := self._carry:
            self.write(b"=" * (-len(carry) % 4))
            self._last_encoded = carry

    @property
    def ending(self) -> bytes:
        """The last characters, if others encode the content, as in a long text that only looks like base64."""
        return b"" if base64.b64encode(self._last) == self._last_encoded else b":" + self._last_encoded

    def encoded(self) -> bytes:
        self._file.seek(0)
        encoded = base64.b64encode(self._file.read())
        return encoded[:-4] + self._last_encoded + self._carry

    def whole(self) -> EmbeddedContent:
        self._file.flush()
        return EmbeddedContent(self._file, self._digest.hexdigest(), self._size)

    def close(self) -> None:
        self._file.close()
