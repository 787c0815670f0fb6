"""`/search`: the caller's messages as a plain list, the search mode in the headers, and pages by cursor."""

from __future__ import annotations

import uuid
from urllib.parse import quote

from chatservice.testing import ApiUser, ServiceTestCase
from conversations.services import append_message, edit_message, start_conversation

PLACE = {"conversation_id", "title", "message", "created_at", "branch", "before", "after"}
FOUND = {"snippet", "highlights", "score", "text_score", "semantic_score", "matched", "found", "others"}


class SearchTest(ServiceTestCase):
    def talk(self, api_user: ApiUser, *said: str, title: str = "") -> str:
        conversation = start_conversation(owner_id=api_user.user.pk, title=title)
        for text in said:
            append_message(conversation=conversation, role="user", content=text)
        return str(conversation.pk)

    def test_finds_ones_own_and_says_how(self):
        word = f"Wal{uuid.uuid4().hex[:8]}"
        pk = self.talk(self.alice, f"Der {word} taucht.", "Ja.", title="Meer")
        for other in (self.bob.http, self.guest):
            other.post("/conversations/start", json={"message": f"Ich sah den {word}."})
        found = self.alice.http.get("/search", params={"q": word.lower(), "mode": "text"})
        self.assertEqual((found.status_code, found.headers["x-search-mode"]), (200, "text"))
        self.assertEqual((found.headers["x-search-asked"], found.headers["x-search-why"]), ("text", ""))
        [hit] = found.json()
        self.assertEqual(set(hit), PLACE | FOUND)
        self.assertEqual((hit["conversation_id"], hit["title"]), (pk, "Meer"))
        self.assertEqual(hit["message"], {"id": 1, "role": "user", "content": f"Der {word} taucht."})
        self.assertEqual((hit["branch"], hit["matched"], hit["before"]), ("shown", "words", None))
        self.assertEqual(hit["after"], {"id": 2, "role": "user", "excerpt": "Ja."})
        [[start, end]] = hit["highlights"]
        self.assertEqual(hit["snippet"][start:end], word)

    def test_pages_by_cursor_and_links_to_the_next(self):
        word = f"w{uuid.uuid4().hex[:8]}"
        self.talk(self.alice, *(f"{word} {number}" for number in range(5)))
        seen: list[str] = []
        url = f"/search?q={word}&mode=text&limit=2"
        for size in (2, 2, 1):
            page = self.alice.http.get(url)
            self.assertEqual((page.status_code, len(page.json())), (200, size), page.text)
            seen += [hit["message"]["content"] for hit in page.json()]
            if size == 2:
                cursor = page.headers["x-next-cursor"]
                self.assertEqual(
                    page.headers["link"], f'</search?q={word}&mode=text&limit=2&cursor={quote(cursor)}>; rel="next"'
                )
                url = page.headers["link"].split(">")[0].removeprefix("<")
        self.assertEqual((len(set(seen)), page.headers["x-next-cursor"], "link" in page.headers), (5, "", False))
        for query in (f"q={word}&mode=text&cursor={cursor}x", f"q=other&mode=text&cursor={cursor}"):
            refused = self.alice.http.get(f"/search?{query}")
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (400, "bad_cursor"))
        stolen = self.bob.http.get(f"/search?q={word}&mode=text&cursor={cursor}")
        self.assertEqual(stolen.status_code, 400)

    def test_a_version_that_is_not_shown_is_found_and_said_to_be_one(self):
        word = f"w{uuid.uuid4().hex[:8]}"
        conversation = start_conversation(owner_id=self.alice.user.pk)
        first = append_message(conversation=conversation, role="user", content=f"the {word} before")
        edit_message(message=first, content="another text")
        [hit] = self.alice.http.get("/search", params={"q": word, "mode": "text"}).json()
        self.assertEqual(hit["branch"], "other version")

    def test_no_syntax_is_an_error(self):
        self.talk(self.alice, "100% sûr", "L'ÉTÉ arrive")
        for text in HOSTILE:
            for mode in ("text", "hybrid", "semantic"):
                with self.subTest(text, mode=mode):
                    found = self.alice.http.get("/search", params={"q": text, "mode": mode})
                    self.assertEqual(found.status_code, 200, found.text)
        for query in ("été", "Sûr"):
            with self.subTest(query):
                self.assertEqual(len(self.alice.http.get("/search", params={"q": query, "mode": "text"}).json()), 1)


HOSTILE = (
    '"', "'", '"unclosed', "whale*", "*", "-whale", "- whale", "NOT", "a AND", "OR OR", "NEAR(a b, 2)", "a NEAR/3 b",
    "title:whale", "content : x", "^a", "a ^ b", "(", ")", "((()", "{a b}", "a:*", "a & | !", "!a", "<->", "a <-> b",
    "a <2> b", "\\", "\\'", "a\\", "%", "_", "1__%", ":", "::", "a'b", "';--", "\u202e", "🐋", "é" * 300, "a " * 400,
    "+", "~", "@", "#", "$1", "?", "\t\n x",
)  # fmt: skip
