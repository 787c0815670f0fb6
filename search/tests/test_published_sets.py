"""LoCoMo and LongMemEval as they are distributed, in made-up files, and what a search of them scores."""

from __future__ import annotations

import json
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import TestCase

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import SimpleTestCase

from accounts.models import User
from chatservice.testing import ServiceTestCase
from conversations.models import Message
from search.evaluation import JudgedSet
from search.judged_files import BadFile, read_judged
from search.published_sets import HEADINGS, RecallScores


def turn(number: str, speaker: str, text: str, **more: Any) -> dict[str, Any]:
    return {"dia_id": number, "speaker": speaker, "text": text, **more}


LOCOMO = [
    {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ada",
            "speaker_b": "Ben",
            "session_10_date_time": "9:05 am on 2 June, 2023",
            "session_10": [turn("D10:1", "Ben", "The zebra slept"), turn("D10:2", "Ada", "And the otter?")],
            "session_2_date_time": "12:30 am on 8 May, 2023",
            "session_2": [turn("D2:1", "Ada", "I saw a heron", blip_caption="a grey bird")],
            "session_3_date_time": "1:00 pm on 9 May, 2023",
        },
        "qa": [
            {"question": "Which bird did Ada see?", "answer": "a heron", "evidence": ["D2:1"], "category": 4},
            {"question": "What slept, and what else?", "evidence": ["D10:1; D10:2", "D:2:1"], "category": 1},
            {"question": "Nobody said", "adversarial_answer": "x", "evidence": [], "category": 5},
            {"question": "Of a turn that is not there", "evidence": ["D99:1"], "category": 5},
        ],
    }
]


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def needle(name: str, kind: str, question: str, *sessions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "question_id": name,
        "question_type": kind,
        "question": question,
        "answer": "x",
        "question_date": "2023/05/30 (Tue) 23:40",
        "haystack_session_ids": [f"s_{number}" for number in range(len(sessions))],
        "haystack_dates": [f"2023/05/{20 + number} (Sat) 02:21" for number in range(len(sessions))],
        "haystack_sessions": list(sessions),
        "answer_session_ids": ["s_0"],
    }


HERON = [said("user", "I saw a heron today", has_answer=True), said("assistant", "A heron! How big was it?")]
BREAD = [said("user", "Which bread has no yeast?", has_answer=False), said("assistant", "Soda bread")]
LONGMEMEVAL = [
    needle("q1", "single-session-user", "Which bird did I see, a heron?", HERON, BREAD),
    needle("q2", "multi-session", "heron and yeast", HERON, [said("user", "No yeast at all", has_answer=True)]),
    needle("q3_abs", "single-session-user", "Which fish did I see?", HERON, BREAD),
    needle(
        "q4", "single-session-assistant", "Which bread?", [said("user", "x"), said("assistant", "y", has_answer=True)]
    ),
]


def written(case: TestCase, data: Any) -> Path:
    """Write a file that is deleted after the test."""
    directory = tempfile.TemporaryDirectory()
    case.addCleanup(directory.cleanup)
    file = Path(directory.name) / "set.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return file


class ReadingTest(SimpleTestCase):
    def read(self, data: Any) -> JudgedSet:
        return read_judged(written(self, data))

    def test_locomo_as_it_is_distributed(self):
        judged = self.read(LOCOMO)
        self.assertEqual((judged.name, judged.role), ("LoCoMo", ""))
        [history] = judged.histories
        self.assertEqual([[line.key[1] for line in each] for each in history.sittings], [["D2:1"], ["D10:1", "D10:2"]])
        heron = history.sittings[0][0]
        self.assertEqual((heron.speaker, heron.content), ("Ada", "I saw a heron [a grey bird]"))
        self.assertEqual(f"{heron.at:%Y-%m-%d %H:%M}", "2023-05-08 00:30")
        self.assertLess(*(line.at for line in history.sittings[1]))
        self.assertEqual(
            [(each.category, sorted(key for _, key in each.evidence)) for each in judged.questions],
            [("single-hop", ["D2:1"]), ("multi-hop", ["D10:1", "D10:2", "D2:1"])],
        )

    def test_longmemeval_as_it_is_distributed(self):
        judged = self.read(LONGMEMEVAL)
        self.assertEqual((judged.name, judged.role), ("LongMemEval", "user"))
        # What abstains, or is answered by no turn of the user, is not asked.
        self.assertEqual([each.history for each in judged.questions], ["q1", "q2"])
        self.assertEqual([len(each.evidence) for each in judged.questions], [1, 2])
        first = judged.histories[0]
        self.assertEqual([line.role for line in first.sittings[0]], ["user", "assistant"])
        self.assertEqual(f"{first.sittings[1][0].at:%Y-%m-%d %H:%M}", "2023-05-21 02:21")

    def test_a_part_is_spread_evenly_with_its_histories_alone(self):
        many = [needle(f"q{number}", f"kind-{number // 4}", "heron", HERON) for number in range(12)]
        part = self.read(many).limited(3)
        self.assertEqual([each.category for each in part.questions], ["kind-0", "kind-1", "kind-2"])
        self.assertEqual([each.id for each in part.histories], [each.history for each in part.questions])
        self.assertEqual(len(self.read(many).limited(100).questions), 12)

    def test_other_files_are_refused(self):
        broken = [{**LOCOMO[0], "conversation": {"session_1": [turn("D1:1", "Ada", "x")]}}]
        undated = [{**LONGMEMEVAL[0], "haystack_dates": ["yesterday", "today"]}]
        others: tuple[Any, ...] = ("", "{", "null", "5", [], [5], [{}], {}, {"conversations": 5}, broken, undated)
        for data in others:
            with self.subTest(data), self.assertRaises(BadFile):
                self.read(data)

    def test_recall_is_a_share_or_any_or_all_of_the_evidence(self):
        scores = RecallScores()
        scores.add([*"vwxya", "b"], frozenset("ab"))
        scores.add([], frozenset("a"))
        self.assertEqual(
            dict(zip(HEADINGS, scores.row(), strict=True)),
            {
                "recall@5": 0.25, "recall@10": 0.5, "recall_any@5": 0.5, "recall_any@10": 0.5,
                "recall_all@5": 0.0, "recall_all@10": 0.5,
            },
        )  # fmt: skip


class EvaluationTest(ServiceTestCase):
    def evaluate(self, data: Any, *options: str) -> str:
        out = StringIO()
        arguments = ["--url", str(self.alice.http.base_url), "--mode", "text", *options]
        call_command("evaluate_search", str(written(self, data)), *arguments, stdout=out, stderr=StringIO())
        return out.getvalue()

    def rows(self, output: str) -> dict[str, list[float]]:
        lines = (line.rsplit(maxsplit=7) for line in output.splitlines())
        return {line[0].strip(): list(map(float, line[1:])) for line in lines if len(line) == 8 and line[1].isdigit()}

    def test_sessions_and_turns_are_scored_and_nothing_is_left(self):
        self.evaluate(LOCOMO)  # which makes the users of this test
        before = (User.objects.count(), Message.objects.count())
        rows = self.rows(self.evaluate(LONGMEMEVAL))
        self.assertEqual(rows["all sessions"], [2, *[1.0] * 6])
        self.assertEqual(rows["all turns"], [2, *[1.0] * 6])
        rows = self.rows(self.evaluate(LOCOMO))
        self.assertEqual(rows["all sessions"][0], 2)
        self.assertEqual(rows["single-hop"], [1, *[1.0] * 6])
        self.assertEqual((User.objects.count(), Message.objects.count()), before)

    def test_a_part_of_the_questions_is_asked(self):
        output = self.evaluate(LONGMEMEVAL[:2], "--questions", "1")
        self.assertIn("4 messages of 1 histories, 1 questions", output)

    def test_a_bad_file_is_an_error_of_the_command(self):
        with self.assertRaisesMessage(CommandError, "is not a judged set"):
            self.evaluate([{}])
