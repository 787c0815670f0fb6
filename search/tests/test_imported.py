"""What an import brought in is found by its words; the marks and pointers of its source are no words."""

from __future__ import annotations

from conversations.importers import parse
from conversations.imports import import_batch
from conversations.models import Conversation
from conversations.tests.exports import chat, claude_message, node
from search.queries import search_messages
from search.results import Mode
from search.tests.case import SearchTestCase


class ImportedTest(SearchTestCase):
    def test_documents_are_found_and_marks_are_not(self) -> None:
        cite = "\ue200cite\ue202turn0search3\ue201"
        source = {
            "content_references": [{"matched_text": cite, "items": [{"title": "Cetology", "url": "https://c.example"}]}]
        }
        canvas = {"content_type": "code", "text": '{"name": "letter", "content": "the xylophone report"}'}
        nodes = [
            node("q", None, parts=["whales"]),
            node("a", "q", "assistant", [f"They sleep. {cite}【12†source】"], metadata=source),
            node("c", "a", "assistant", content=canvas, recipient="canmore.create_textdoc"),
        ]
        poem = {"id": "p", "title": "Poem", "command": "create", "content": "The marmalade moon rises."}
        turns = [
            claude_message("v", text="", content=[{"type": "voice_note", "text": "spoken papayas"}]),
            claude_message(
                "p", sender="assistant", text="", content=[{"type": "tool_use", "name": "artifacts", "input": poem}]
            ),
        ]
        entries = [chat("talk", *nodes, title=f"Whales {cite}"), {"uuid": "claude", "chat_messages": turns}]
        import_batch(owner=self.user(self.alice), conversations=[parse(each) for each in entries])
        self.index()
        self.assertEqual(Conversation.objects.get(source_id="talk").title, "Whales")
        for word in ("xylophone", "marmalade", "papayas", "cetology"):
            self.assertEqual(len(self.found(self.alice, word, mode=Mode.TEXT)), 1, word)
        for word in ("turn0search3", "turn0", "cite", "source"):
            self.assertEqual(self.found(self.alice, word, mode=Mode.TEXT), [], word)
        [hit] = search_messages(self.alice, "sleep", mode=Mode.TEXT).hits
        self.assertFalse(any("\ue200" <= character <= "\ue206" for character in hit.snippet), hit.snippet)
