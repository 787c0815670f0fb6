"""A chat model orders the best hits of its caller; where it cannot, the first order is left and the reason told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from django.test import SimpleTestCase, override_settings

from accounts.limits import Limits, Override, Overrides
from completions.reranking import order_by_chat, read_order
from completions.tests.upstream import FaultyUpstream
from search import reranking
from search.queries import Group, Hits, search_everybody, search_messages
from search.rerankers import CannotRerank
from search.results import Hit
from search.tests.case import SearchTestCase
from search.threads import in_search_thread


class AnswerTest(SimpleTestCase):
    def test_numbers_are_the_order_and_the_others_follow(self):
        for answer in ("3, 1", "[3],[1]", "3\n1", "3. \n1.", "3,1,3,9,0,12345", "Passages of 2 years:\n```\n3, 1\n```"):
            self.assertEqual(read_order(answer, 4), [2, 0, 1, 3], answer)
        self.assertEqual(read_order("<think>\n2 is better than 1\n</think>\n\n1", 2), [0, 1])

    def test_an_answer_without_an_order_is_refused(self):
        for answer in ("", "I cannot say which of the 4 is best.", "0", "99", "-", ", ,", "none"):
            with self.subTest(answer), self.assertRaises(CannotRerank):
                read_order(answer, 4)


class ChatRerankingTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        reranking.forget()
        self.upstream = self.enterContext(FaultyUpstream())
        upstreams = {"local": {"base_url": self.upstream.base_url, "api_key": "k"}}
        self.enterContext(override_settings(UPSTREAMS=upstreams, DEFAULT_UPSTREAM="local", SEARCH_RERANK_SECONDS=20))
        for number in range(40):
            self.talk(self.alice, f"a canary whale, number {number}", f"whale canary {number}")
        self.say(self.bob, "a whale of Bob's")
        self.index()
        self.before = self.search("").hits

    def search(self, reranker: str, **how: Any) -> Hits:
        with override_settings(SEARCH_RERANKER=reranker):
            return search_messages(self.alice, "canary whale", **{"limit": 50, **how})

    def passages(self) -> list[str]:
        """Return what the model was sent last, without the question."""
        content = self.upstream.posts[-1].body["messages"][-1]["content"]
        return [line for line in content.splitlines() if line.startswith("[")]

    def test_the_hits_are_in_the_order_of_the_answer_on_every_page_and_grouped(self):
        for group in (None, Group.CONVERSATION):
            reranking.forget()
            before = self.search("", group=group).hits
            asked = len(self.upstream.posts)
            after = self.search("chat:say:3,2", group=group)
            self.assertEqual((len(self.upstream.posts), after.why), (asked + 1, ""))
            order = [*self.before[2:0:-1], self.before[0], *self.before[3:]]
            if group is None:
                self.assertEqual(after.hits, tuple(order))
            else:
                best = list(dict.fromkeys(hit.message.conversation_id for hit in order))
                self.assertEqual([hit.message.conversation_id for hit in after.hits[:25]], best[:25])
                self.assertEqual({hit.others for hit in after.hits}, {hit.others for hit in before})
            seen: list[Hit] = []
            cursor = ""
            while len(seen) < 50:
                page = self.search("chat:say:3,2", group=group, limit=7, cursor=cursor)
                seen += page.hits
                if not (cursor := page.next_cursor):
                    break
            messages = [[hit.message for hit in hits] for hits in (seen, after.hits)]
            self.assertEqual(messages[0][: len(after.hits)], messages[1][: len(seen)])
            self.assertEqual(len(self.upstream.posts), asked + 1, "one question, whatever pages are read")

    def test_the_model_sees_the_question_and_thirty_passages_of_the_caller_alone(self):
        self.search("chat:say:1")
        self.assertEqual(len(self.passages()), 30)
        self.assertNotIn("Bob", str(self.passages()))
        body = self.upstream.posts[-1].body
        self.assertEqual((body["model"], body["stream"]), ("say:1", False))
        self.assertIn("Searched for: canary whale", body["messages"][-1]["content"])
        said = "a canary whale\n[99] x\r\n[98] y\u2028[97] z"
        self.say(self.alice, said)
        self.search("chat:say:1")
        self.assertEqual(len(self.passages()), 30)

    def test_a_model_that_fails_is_late_or_says_no_order_leaves_the_first_order_and_no_text_in_the_log(self):
        for model, why in (
            ("500", "upstream_error"),
            ("401", "upstream_unauthorized"),
            ("html-200", "upstream_invalid"),
            ("truncated", "upstream_"),
            ("ok", "no order"),
            ("refusal", "no order"),
            ("no-first-byte", "longer than 0.3 s"),
        ):
            seconds = 0.3 if "longer" in why else 20
            with (
                self.subTest(model),
                override_settings(SEARCH_RERANK_SECONDS=seconds),
                self.assertLogs("search.reranking") as log,
            ):
                found = self.search(f"chat:{model}")
            self.assertIn(why, found.why)
            self.assertEqual((found.hits, found.mode), (self.before, found.asked))
            self.assertNotIn("canary", str(log.output) + found.why)

    def test_nobody_who_may_not_use_the_model_nor_a_guest_nor_staff_shows_it_anything(self):
        limits = Limits(key=Overrides(models_allowed=Override(("other",), "the key's")))
        narrowed = replace(self.alice, limits=limits)
        self.talk(self.guest, "a whale of a guest", "whale")
        with override_settings(SEARCH_RERANKER="chat:say:1"):
            for found in (
                search_messages(narrowed, "canary whale", limit=50),
                search_messages(self.guest, "canary whale"),
                search_everybody("canary whale"),
            ):
                self.assertEqual(found.why, "")
            with override_settings(MODELS_ALLOWED={"*": ["other"]}):
                self.assertEqual(self.search("chat:say:1").hits, self.before)
        self.assertEqual(self.upstream.posts, [])

    async def test_in_the_service_it_is_asked_by_the_event_loop_that_waits(self):
        asked = ("say:2", "q", ["one", "two"])
        self.assertEqual(await in_search_thread(order_by_chat, self.alice, *asked, 20.0), [1, 0])
        async with asyncio.timeout(10):
            with self.assertRaisesMessage(CannotRerank, "longer than 1 s"):
                await in_search_thread(order_by_chat, self.alice, "no-first-byte", "q", ["one", "two"], 1.0)
            while any(not post.finished and not post.hung_up for post in self.upstream.posts):
                await asyncio.sleep(0.01)  # the connection is closed as soon as nobody waits for the answer
