"""`manage.py export_feedback`: each line is complete, has the branch before its answer, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from accounts.services import register_user
from conversations.file_parts import extras_with, part_of
from conversations.models import Message
from conversations.services import append_message, delete_message, edit_message, start_conversation
from feedback import exporting
from feedback.exporting import export_feedback
from feedback.models import Feedback
from files.public_ids import public_id
from files.services import store_file
from foundation.ids import first_id_of


class ExportFeedbackTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        self.talk = start_conversation(owner_id=self.alice.pk)

    def say(self, *texts: str) -> list[Message]:
        roles = ("user", "assistant")
        return [
            append_message(conversation=self.talk, role=roles[at % 2], content=text, model="m" * (at % 2))
            for at, text in enumerate(texts)
        ]

    def rate(self, answer: Message, rating: str = "up", **fields: Any) -> Feedback:
        return Feedback.objects.create(message=answer, user=self.alice, rating=rating, model=answer.model, **fields)

    def export(self, *options: str) -> list[dict[str, Any]]:
        out = StringIO()
        call_command("export_feedback", *options, stdout=out)
        return [json.loads(line) for line in out.getvalue().splitlines()]

    def test_a_line_is_an_unpaired_preference_with_what_is_known_about_it(self):
        _, first, _, second = self.say("One?", "Uno.", "Two?\u2028", "Due.")
        row = self.rate(second, "down", comment="Say it in French.\n", upstream="local")
        [line] = self.export()
        self.assertEqual(
            line,
            {
                "id": str(row.pk),
                "message_id": str(second.pk),
                "conversation_id": str(self.talk.pk),
                "user_id": str(self.alice.pk),
                "label": False,
                "rating": "down",
                "comment": "Say it in French.\n",
                "model": "m",
                "upstream": "local",
                "status": "complete",
                "created_at": row.created_at.isoformat(),
                "updated_at": row.updated_at.isoformat(),
                "reviewed_at": None,
                "prompt": [
                    {"role": "user", "content": "One?"},
                    {"role": "assistant", "content": "Uno."},
                    {"role": "user", "content": "Two?\u2028"},
                ],
                "completion": [{"role": "assistant", "content": "Due."}],
            },
        )
        self.rate(first)
        lines = {line["message_id"]: line for line in self.export()}
        self.assertEqual(lines[str(first.pk)]["prompt"], [{"role": "user", "content": "One?"}])
        self.assertIs(lines[str(first.pk)]["label"], True)

    def test_the_prompt_is_the_branch_of_the_answer_whichever_is_shown(self):
        question, answer = self.say("Old?", "Old.")
        self.rate(answer)
        edit_message(message=question, content="New?")
        [line] = self.export()
        self.assertEqual([message["content"] for message in line["prompt"]], ["Old?"])

    def test_a_file_is_in_it_with_its_content(self):
        file = store_file(owner_id=self.alice.pk, content=ContentFile(b"facts"), name="a.txt", purpose="user_data")
        part = part_of(public_id(file.pk), file.media_type)
        append_message(conversation=self.talk, role="user", content="See:", extras=extras_with("See:", [part]))
        self.rate(append_message(conversation=self.talk, role="assistant", content="Seen."))
        [line] = self.export()
        self.assertIn("data:text/plain;base64,ZmFjdHM=", json.dumps(line["prompt"]))

    def test_days_and_rating_select(self):
        days = [dt.datetime(2026, 11, day, hour, tzinfo=dt.UTC) for day, hour in ((1, 0), (2, 0), (2, 23), (3, 0))]
        answers = self.say(*(f"{number}" for number in range(8)))[1::2]
        for answer, day, rating in zip(answers, days, ("up", "up", "down", "up"), strict=True):
            self.rate(answer, rating, id=first_id_of(day))

        def said(*options: str) -> list[str]:
            return [line["completion"][0]["content"] for line in self.export(*options)]

        self.assertEqual(said(), ["1", "3", "5", "7"])
        self.assertEqual(said("--since", "2026-11-02"), ["3", "5", "7"])
        self.assertEqual(said("--since", "2026-11-02", "--until", "2026-11-02"), ["3", "5"])
        self.assertEqual(said("--until", "2026-11-02", "--rating", "up", "--format", "jsonl"), ["1", "3"])
        with self.assertRaisesMessage(CommandError, "2026-11-01"):
            self.export("--since", "yesterday")

    def test_it_is_read_page_by_page_and_what_is_deleted_meanwhile_is_left_out(self):
        answers = self.say(*(f"{number}" for number in range(14)))[1::2]
        for answer in answers:
            self.rate(answer)
        with mock.patch.object(exporting, "ROWS", 3):
            lines = export_feedback(Feedback.objects.all())
            pieces = [next(lines)]
            delete_message(message=answers[1])  # read with the first page, not yet written
            delete_message(message=answers[5])
            pieces += lines
        said = [json.loads(line)["completion"][0]["content"] for line in "".join(pieces).splitlines()]
        self.assertEqual(said, ["1", "5", "7", "9", "13"])

    def test_a_file_that_exists_is_kept(self):
        self.rate(self.say("One?", "Uno.")[1], reviewed_at=timezone.now())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "feedback.jsonl"
            self.assertEqual(self.export("--output", str(path)), [])
            before = path.read_text(encoding="utf-8")
            self.assertEqual(len(before.splitlines()), 1)
            with self.assertRaisesMessage(CommandError, "exists already"):
                self.export("--output", str(path))
            self.assertEqual(path.read_text(encoding="utf-8"), before)
