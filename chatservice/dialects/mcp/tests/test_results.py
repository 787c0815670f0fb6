"""What is only near is not told as if it had been found."""

from __future__ import annotations

import datetime as dt
import unittest

from chatservice.dialects.mcp.results import Found, Passage


def passage(snippet: str, *, found: bool) -> Passage:
    return Passage(
        conversation_id="c",
        message_id="m",
        title="Whales",
        role="user",
        date=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        snippet=snippet,
        found=found,
        url="https://chat.example.org/#c/m",
    )


class FoundTest(unittest.TestCase):
    def test_the_text_says_what_was_found_and_what_is_only_near(self) -> None:
        both = Found(passages=[passage("They sing", found=True), passage("Ships", found=False)], mode="both", why=None)
        first, second = both.as_text().split("Nearest by meaning:")
        self.assertIn("1 passages found", first)
        self.assertIn("They sing", first)
        self.assertIn("Ships", second)
        near = Found(passages=[passage("Ships", found=False)], mode="both", why=None).as_text()
        self.assertTrue(near.startswith("Nothing found.\n\nNearest by meaning:"))
        self.assertEqual(Found(passages=[], mode="both", why=None).as_text(), "Nothing found.")
