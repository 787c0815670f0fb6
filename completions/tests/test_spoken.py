"""Chunks that are packed are the same chunks, wherever a reader begins."""

from __future__ import annotations

import random
import sys

from django.test import SimpleTestCase

from completions.spoken import BLOCK, Spoken
from completions.types import Delta


def chunks_of(count: int, dice: random.Random) -> list[Delta]:
    found, end = [], 0
    for seq in range(1, count + 1):
        text = dice.choice(["", "a", " word", "\U0001f600 é", "x" * 40])
        end += len(text)
        wire = ({"choices": [{"delta": {"n": seq}}]},) if dice.random() < 0.2 else ()
        found.append(Delta(text, wire, seq, end))
    return found


class SpokenTest(SimpleTestCase):
    def test_it_reads_as_the_list_of_what_was_appended(self) -> None:
        dice = random.Random(7)
        for count in (0, 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 5 * BLOCK + 3):
            chunks, spoken = chunks_of(count, dice), Spoken()
            for chunk in chunks:
                spoken.append(chunk)
            self.assertEqual([*spoken], chunks)
            self.assertEqual((len(spoken), spoken.text()), (count, "".join(chunk.text for chunk in chunks)))
            for place in range(-count, count):
                self.assertEqual(spoken[place], chunks[place])
            for _ in range(300):
                part = slice(dice.randrange(-count - 2, count + 2), dice.choice([None, dice.randrange(count + 2)]))
                self.assertEqual(spoken[part], chunks[part], part)
            with self.assertRaises(IndexError):
                spoken[count]

    def test_a_long_answer_of_short_chunks_takes_little_memory(self) -> None:
        spoken = Spoken()
        for seq in range(1, 64 * BLOCK + 1):
            spoken.append(Delta(" word", (), seq, 5 * seq))
        packed = sum(sys.getsizeof(block.text) + sys.getsizeof(block.ends) for block in spoken._packed)
        self.assertLess(packed / (62 * BLOCK), 24, "bytes of a chunk, which took more than a hundred")
