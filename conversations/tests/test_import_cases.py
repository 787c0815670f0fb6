"""Exports with what was met in real ones, a file each in `imports/`: stored, shown, and imported once more."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.test import TestCase

from accounts.services import register_user
from conversations.branches import branch
from conversations.importers.marks import clean
from conversations.models import Conversation, Message

CASES = Path(__file__).parent / "imports"
RAW = ("\ue200", "\ue201", "\ue202", "\ue203", "\ue204", "\ue206", "turn0", "【", "citeturn")


class CasesTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")

    def bring_in(self, name: str) -> str:
        """Import a case twice, of which the second must change nothing; return the first report."""
        out, again = StringIO(), StringIO()
        call_command("import_history", CASES / name, "--user", "alice", stdout=out)
        before = self.rows()
        call_command("import_history", CASES / name, "--user", "alice", stdout=again)
        self.assertEqual(self.rows(), before)
        self.assertIn("0 conversations imported, 0 extended", again.getvalue())
        return out.getvalue()

    def rows(self) -> list[Any]:
        messages = Message.objects.order_by("id").values_list("id", "parent_id", "content", "digest", "position")
        return [*messages, *Conversation.objects.order_by("id").values_list("id", "head_id", "title", "updated_at")]

    def shown(self, source_id: str) -> list[tuple[str, str]]:
        talk = Conversation.objects.get(owner=self.alice, source_id=source_id)
        return [(message.role, message.content) for message in branch(talk.pk, talk.head_id)]

    def texts(self, source_id: str) -> list[str]:
        return [text for _, text in self.shown(source_id)]

    def test_graphs(self):
        report = self.bring_in("graphs.json")
        self.assertIn("8 conversations imported, 0 extended, 0 unchanged, 0 skipped; 16 messages added.", report)
        self.assertIn("Left out: link in a circle (2), hidden message (1).", report)
        said = {
            "g1": ["cycle question", "cycle answer"],
            "g2": ["self parent", "self parent answer"],
            "g3": ["orphan question", "orphan answer"],
            "g4": ["no children lists", "no children answer"],
            "g5": ["only children lists", "only children answer"],
            "g6": ["before system", "after system"],
            "g7": ["no current node", "still shown"],
            "g8": ["dangling current", "dangling answer"],
        }
        for name, texts in said.items():
            self.assertEqual(self.shown(name), list(zip(("user", "assistant"), texts, strict=True)))

    def test_citations(self):
        self.bring_in("citations.json")
        answers = [text for role, text in self.shown("c1") if role == "assistant"]
        self.assertEqual(
            answers,
            [
                "Whales sleep near the surface. ([Example](https://example.org/a)) And Ada Example says so.",
                "Old style ([S](https://example.org/s)) mark.",
                "Marked block done",
            ],
        )
        first = Message.objects.get(source_id="a")
        cited = first.as_wire()["annotations"][0]["url_citation"]
        self.assertEqual(first.content[cited["start_index"] : cited["end_index"]], "([Example](https://example.org/a))")
        self.assertEqual((cited["title"], cited["url"]), ("Example", "https://example.org/a"))
        for text in self.texts("c1"):
            self.assertFalse([mark for mark in RAW if mark in text], text)
            self.assertEqual(clean(text).text, text)

    def test_canvas(self):
        report = self.bring_in("canvas.json")
        letter = "[document: Letter]\n\nDear Mr Zebra, the quarterly xylophone report is attached."
        self.assertEqual(self.texts("cv1"), ["write the letter", letter, "I wrote the letter in the canvas."])
        self.assertEqual(self.texts("cv2"), ["run code", "It is 42."])
        self.assertEqual(
            self.texts("cv3"), ["browse", "Error: the tool failed", "[brand_new_type]", "Here is what I found."]
        )
        self.assertEqual(self.texts("cv4"), ["draw a cat", "[image: file-service://file-x]"])
        self.assertIn(
            "Left out: tool output (4), empty message (2), reasoning (2), tool input (2), "
            "file that is not in the export (1), settings (1).",
            report,
        )

    def test_claude_artifact(self):
        report = self.bring_in("claude_artifact.json")
        poem = "# Poem\nThe marmalade moon rises."
        self.assertEqual(
            self.texts("k3"),
            [
                "write a poem",
                f"[document: Poem]\n\n{poem}",
                "thanks, longer",
                f"Here it is longer.\n\n[document: Poem, version 2]\n\n{poem}\n\nDone.",
            ],
        )
        self.assertEqual(self.texts("k4"), ["search the web", "Found it."])
        self.assertEqual(self.texts("k4b"), ["make the file", "[document: report.md]\n\nthe tangerine report"])
        self.assertIn("Left out: tool output (4), reasoning (1), tool input (1).", report)

    def test_claude_shapes(self):
        report = self.bring_in("claude_shapes.json")
        said = {
            "k5": ["spoken question about papayas", "Papayas are fruit."],
            "k6": ["flat text beside a null block", "answer to flat"],
            "k7": ["flat text beside an unknown block\n\n[brand_new]", "answer to unknown block"],
            "k8": ["text only in the block", "answer only in the block"],
            "k9": ["answer after null"],
            "k10": ["content is a string", "answer to string"],
            "k11": ["edited second", "answer two"],
        }
        self.assertEqual({name: self.texts(name) for name in said}, said)
        branches = Message.objects.filter(conversation__source_id="k11", parent=None)
        self.assertEqual({each.content for each in branches}, {"edited first", "edited second"})
        self.assertIn('Skipped "empty talk" (k12): it has no text', report)
        self.assertIn("Left out: empty message (1).", report)

    def test_utf16(self):
        self.bring_in("utf16.json")
        self.assertEqual(self.texts("e2"), ["utf16 question", "utf16 answer"])
