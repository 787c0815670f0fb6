"""The floor that a calibration chooses, from scores and from a made-up judged file."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.models import User
from search.calibration import WHOLE, Asked, lowest, stores
from search.calibration_texts import PARAPHRASES
from search.evaluation import History, Line
from search.floors import Floor
from search.parsing import parse
from search.tests.case import SearchTestCase


def history(name: str, *texts: str) -> dict[str, Any]:
    return {
        "id": name,
        "messages": [
            {"id": str(number), "session": 1, "date": "2023-05-08", "speaker": "AB"[number % 2], "text": text}
            for number, text in enumerate(texts)
        ],
    }


def question(name: str, text: str, evidence: str) -> dict[str, Any]:
    return {"id": text, "conversation": name, "text": text, "evidence": [evidence], "category": "x"}


SEA = history("sea", "Whales sleep near the surface", "Otters sleep afloat")
FOOD = history("food", "Soda bread rises without yeast", "Saffron needs patience")
QUESTIONS = [question("sea", "where do whales sleep", "0"), question("food", "saffron needs what", "1")]


class CalibrationTest(SearchTestCase):
    def calibrate(self, *conversations: dict[str, Any]) -> str:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        file = Path(directory.name) / "judged.json"
        names = {each["id"] for each in conversations}
        asked = [each for each in QUESTIONS if each["conversation"] in names]
        file.write_text(json.dumps({"conversations": conversations, "questions": asked}), encoding="utf-8")
        out = StringIO()
        call_command("calibrate_search", str(file), stdout=out, stderr=StringIO())
        return out.getvalue()

    def test_the_lowest_floor_that_holds_nonsense_back_everywhere_is_chosen(self) -> None:
        near, half = np.array([[0.2, 0.1]]), np.array([[0.3, 0.25]])
        asked = {
            "large": Asked([np.array([[0.5, 0.1], [0.25, 0.9], [0.1, 0.1]])], [near] * 95 + [half] * 5),
            "small": Asked([], [near] * 94 + [half] * 6),
            "empty": Asked(nonsense=[np.zeros((0, 2))]),
        }
        self.assertEqual(lowest([asked["large"]]), Floor(0.22, 0.12))
        self.assertEqual(lowest(list(asked.values())), Floor(0.32, 0.26))
        self.assertAlmostEqual(asked["large"].lost(Floor(0.3, 0.9)), 1 / 3)
        self.assertAlmostEqual(asked["large"].lost(Floor(0.3, 0.95)), 2 / 3)
        self.assertEqual([asked["empty"].lost(Floor(1, 1)), asked["empty"].near(Floor(1, 1))], [0.0, 1.0])

    def test_small_stores_are_parts_of_the_histories(self) -> None:
        lines = [Line(("h", str(number)), "A", "x", dt.datetime(2025, 1, 1, tzinfo=dt.UTC)) for number in range(22)]
        made = stores([History("h", tuple((line,) for line in lines))])
        sizes = {size: [len(each.sittings) for each in group] for size, group in made.items()}
        self.assertEqual(sizes, {WHOLE: [22], "20": [20, 20], "5": [5, 5], "1": [1, 1]})
        ids = [each.id for group in made.values() for each in group]
        self.assertEqual(len(set(ids)), len(ids))

    def test_paraphrases_share_no_word_with_what_was_said(self) -> None:
        for said, question in PARAPHRASES:
            words = [{token.stem("english") for token in parse(text).tokens} for text in (said, question)]
            self.assertFalse(words[0] & words[1], said)

    def test_the_command_measures_both_ways_of_searching_and_leaves_nothing(self) -> None:
        before = User.objects.count()
        with mock.patch("search.calibration.SIZES", (1,)):
            output = self.calibrate(SEA, FOOD)
        for mode in ("hybrid", "semantic"):
            self.assertIn(f"hashing:64, {mode}: hits are found by their cosines alone\n", output)
        self.assertEqual(output.count("<- the lowest"), 4)
        self.assertRegex(output, r'"hashing:64": Floor\(score=\d\.\d\d, cosine=\d\.\d\d\),\n$')
        self.assertEqual(User.objects.count(), before)

    def test_a_file_without_questions_is_refused(self) -> None:
        with self.assertRaises(CommandError):
            self.calibrate(history("other", "x"))
