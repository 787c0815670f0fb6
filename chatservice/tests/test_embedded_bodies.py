"""What is taken out of a body while it arrives, in any pieces, and what stays in it."""

from __future__ import annotations

import base64
import io
import json
import random
import time
from typing import Any

from django.test import SimpleTestCase

from chatservice.embedded_bodies import MIN_CHARS, BodySplitter
from files.embedded import restored

RANDOM = random.Random(16)
LONG = RANDOM.randbytes(MIN_CHARS)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def split(body: bytes, *, piece: int) -> tuple[bytes, BodySplitter]:
    splitter = BodySplitter(io.BytesIO)
    rest = b"".join(splitter.feed(body[at : at + piece]) for at in range(0, len(body), piece))
    return rest + splitter.finish(), splitter


class SplitTest(SimpleTestCase):
    def check(self, value: Any, *, taken: int) -> bytes:
        """Split the value's JSON in several ways; `taken` is how many contents are taken out. Return the rest."""
        body = json.dumps(value).encode()
        for spelled in (body, body.replace(b"/", b"\\/")):
            for piece in (len(body), 65_536, 70_001, 997):
                rest, splitter = split(spelled, piece=piece)
                self.assertEqual(len(splitter.embedded), taken)
                self.assertEqual(_restored(json.loads(rest), splitter), value)
                splitter.close()
        return rest

    def test_a_long_data_url_is_taken_out_and_its_beginning_stays(self) -> None:
        rest = self.check({"a": [f"data:image/png;base64,{encoded(LONG)}", "b"]}, taken=1)
        self.assertLess(len(rest), 200)
        self.assertIn(b"image\\/png;base64,sha256:", rest)

    def test_so_is_base64_alone_and_equal_content_once(self) -> None:
        self.check([encoded(LONG), encoded(LONG), encoded(LONG[:-1]), encoded(LONG[:-2])], taken=3)

    def test_texts_stay_however_long(self) -> None:
        for text in ("word " * 40_000, "A" * 200_000 + " B", "A" * 200_000 + '"\\', "=" * 100_000, "é" * 70_000):
            self.check({"text": text, "more": [text[:70_000], "end"]}, taken=encoded_parts(text))

    def test_what_is_short_stays(self) -> None:
        self.check([encoded(b"short"), encoded(RANDOM.randbytes(MIN_CHARS // 2)), "", "\\", '"'] * 20, taken=0)

    def test_broken_base64_is_given_back(self) -> None:
        for broken in (encoded(LONG) + "QQ==", encoded(LONG) + "A", encoded(LONG) + "A=A="):
            self.check([broken, "end"], taken=0)

    def test_padding_may_be_missing(self) -> None:
        rest, splitter = split(json.dumps([encoded(LONG[:-1]).rstrip("=")]).encode(), piece=65_536)
        self.addCleanup(splitter.close)
        [content] = splitter.embedded.values()
        self.assertEqual((content.content.seek(0), content.content.read()), (0, LONG[:-1]))

    def test_a_text_of_letters_stays_as_it_was_sent(self) -> None:
        for ending in ("", "AA", "AB", "ABC", "AB==", "ABC="):
            text = "GATC" * 20_000 + ending
            self.check([text, f"data:text/plain;base64,{text}"], taken=1)
            self.check([text + "QQ=="] if ending.endswith("=") else [text + "!"], taken=0)

    def test_many_short_strings_take_hardly_longer_than_few_long_ones(self) -> None:
        for body in (b'["",' + b'"",' * 2_600_000 + b'""]', b"[" + b'"\\\\",' * 1_600_000 + b'""]'):
            started = time.process_time()
            rest, _ = split(body, piece=65_536)
            self.assertLess(time.process_time() - started, 1)
            self.assertEqual(rest, body)

    def test_a_body_that_is_cut_off_or_no_json_is_left_as_it_is(self) -> None:
        odd = (b"{]}'" * 50_000, b"\x00\xff" * 50_000, b'"\\' * 40_000)
        for body in (b"", b'"', b'["' + encoded(LONG).encode(), *odd):
            rest, splitter = split(body, piece=65_536)
            self.assertEqual(rest, body)
            self.assertEqual(splitter.waiting, 0)

    def test_hardly_anything_waits_in_memory(self) -> None:
        body = json.dumps([encoded(LONG * 40)]).encode()
        splitter, most, left = BodySplitter(io.BytesIO), 0, 0
        self.addCleanup(splitter.close)
        for at in range(0, len(body), 1_000):
            left += len(splitter.feed(body[at : at + 1_000]))
            most = max(most, splitter.waiting)
        self.assertLess(most, 3 * MIN_CHARS)
        self.assertLess(left, 100)


def encoded_parts(text: str) -> int:
    """Return how many strings of a text above are base64: the one of its first 70,000 characters, or none."""
    return 1 if text.startswith("A") else 0


def _restored(value: Any, splitter: BodySplitter) -> Any:
    if isinstance(value, str):
        return restored(value, splitter.embedded)
    if isinstance(value, dict):
        return {name: _restored(each, splitter) for name, each in value.items()}
    return [_restored(each, splitter) for each in value]
