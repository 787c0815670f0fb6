"""Exports in formats for other programs and for people, streamed."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from accounts.services import register_user
from conversations import exporters
from conversations.exporters import Format, export_conversation, export_conversations
from conversations.models import Conversation, Message
from conversations.services import append_message, edit_message, start_conversation, update_conversation


class ExportTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        self.talk = start_conversation(owner_id=self.alice.pk, title="Bread\nand butter", metadata={"mood": "good"})
        self.first = append_message(conversation=self.talk, role="user", content="Which flour?", author="Ann")
        self.answer = append_message(conversation=self.talk, role="assistant", content="Rye.", model="gpt-x")
        edit_message(message=self.first, content="Which oven?")
        self.talk.refresh_from_db()

    def text(self, format: str) -> str:
        return "".join(export_conversation(self.talk, format))

    def test_the_tree_has_every_branch_and_links_that_agree(self):
        tree = json.loads(self.text("chatgpt"))
        nodes = tree["mapping"]
        self.assertEqual(len(nodes), 4)
        for name, node in nodes.items():
            self.assertEqual(node["id"], name)
            for child in node["children"]:
                self.assertEqual(nodes[child]["parent"], name)
        [root] = [node for node in nodes.values() if node["parent"] is None]
        self.assertEqual(len(root["children"]), 2)
        self.assertEqual(nodes[tree["current_node"]]["message"]["content"]["parts"], ["Which oven?"])
        said = nodes[str(self.answer.pk)]["message"]
        self.assertEqual((said["author"]["role"], said["metadata"]["model_slug"]), ("assistant", "gpt-x"))
        self.assertEqual(nodes[str(self.first.pk)]["message"]["author"]["name"], "Ann")
        self.assertAlmostEqual(said["create_time"], self.answer.created_at.timestamp(), places=6)

    def test_markdown_shows_the_branch_that_is_shown(self):
        text = self.text("markdown")
        self.assertTrue(text.startswith("# Bread and butter\n"), text)
        self.assertIn("one of 2 versions", text)
        self.assertIn("Which oven?", text)
        self.assertNotIn("Rye.", text)

    def test_a_line_of_jsonl_is_what_fine_tuning_takes(self):
        Conversation.objects.filter(pk=self.talk.pk).update(head=self.answer)
        self.talk.refresh_from_db()
        text = self.text("jsonl")
        self.assertEqual(text.count("\n"), 1)
        line = json.loads(text)
        self.assertEqual(
            line["messages"],
            [
                {"role": "user", "content": "Which flour?", "name": "Ann"},
                {"role": "assistant", "content": "Rye."},
            ],
        )
        self.assertEqual([each["model"] for each in line["details"]], ["", "gpt-x"])

    def test_an_empty_conversation_is_exported_too(self):
        empty = start_conversation(owner_id=self.alice.pk)
        tree = json.loads("".join(export_conversation(empty, "chatgpt")))
        self.assertEqual((len(tree["mapping"]), tree["current_node"]), (1, "client-created-root"))
        self.assertEqual(json.loads("".join(export_conversation(empty, "jsonl")))["messages"], [])
        self.assertTrue("".join(export_conversation(empty, "markdown")).startswith("# Untitled\n"))

    def test_many_are_read_page_by_page(self):
        self.addCleanup(setattr, exporters, "ROWS", exporters.ROWS)
        exporters.ROWS = 2
        for number in range(4):
            other = start_conversation(owner_id=self.alice.pk, title=f"Talk {number}")
            for at in range(5):
                append_message(conversation=other, role="user", content=f"{number}.{at}")
        start_conversation(owner_id=register_user(username="bob").pk, title="Bob's")
        mine = Conversation.objects.filter(owner=self.alice)
        trees = json.loads("".join(export_conversations(mine, "chatgpt")))
        self.assertEqual([tree["title"] for tree in trees[1:]], [f"Talk {number}" for number in range(4)])
        self.assertEqual([len(tree["mapping"]) for tree in trees], [4, 6, 6, 6, 6])
        lines = "".join(export_conversations(mine, "jsonl")).splitlines()
        said = [message["content"] for message in json.loads(lines[2])["messages"]]
        self.assertEqual(said, [f"1.{at}" for at in range(5)])
        nobody = Conversation.objects.none()
        self.assertEqual(json.loads("".join(export_conversations(nobody, "chatgpt"))), [])

    def test_every_format_says_what_it_is(self):
        for format in Format:
            self.assertIn("/", format.media_type)
            self.assertTrue(format.suffix.startswith("."))
        with self.assertRaises(ValueError):
            export_conversation(self.talk, "pdf")

    def test_a_reply_without_text_is_in_the_tree_alone(self):
        failed = append_message(conversation=self.talk, role="assistant", content="")
        Message.objects.filter(pk=failed.pk).update(status=Message.Status.FAILED)
        generation = {"instructions": "Answer in verse", "top_p": 0.5}
        changes = {"archived_at": timezone.now(), "pinned_at": timezone.now(), "generation": generation}
        changes["tags"] = ["Cheese", "Oil"]
        update_conversation(conversation=self.talk, **changes)
        self.talk.refresh_from_db()
        tree = json.loads(self.text("chatgpt"))
        self.assertEqual(tree["mapping"][tree["current_node"]]["message"]["status"], "finished_partial_completion")
        self.assertTrue(tree["is_archived"])
        self.assertIn("archived · #Cheese · #Oil*", self.text("markdown"))
        self.assertIn("## Instructions\n\nAnswer in verse\n", self.text("markdown"))
        line = json.loads(self.text("jsonl"))
        self.assertEqual([each["role"] for each in line["messages"]], ["user"])
        self.assertEqual((line["archived"], line["pinned"], line["generation"]), (True, True, generation))
        self.assertEqual(line["tags"], ["Cheese", "Oil"])

    def test_the_command_writes_to_stdout_or_to_a_new_file(self):
        out = StringIO()
        call_command("export_history", "--conversation", str(self.talk.pk), "--format", "markdown", stdout=out)
        self.assertEqual(out.getvalue(), self.text("markdown"))
        with TemporaryDirectory() as directory:
            path = Path(directory) / "history.json"
            call_command("export_history", "--user", "alice", "--output", path)
            self.assertEqual(len(json.loads(path.read_text())), 1)
            with self.assertRaisesMessage(CommandError, "exists already"):
                call_command("export_history", "--user", "alice", "--output", path)
        with self.assertRaisesMessage(CommandError, "no account 'zoe'"):
            call_command("export_history", "--user", "zoe")
        with self.assertRaisesMessage(CommandError, "no conversation 'x'"):
            call_command("export_history", "--conversation", "x")
