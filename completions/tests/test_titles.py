"""A model gives a conversation its title after the first whole answer, unless somebody gave it one."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from django.test import SimpleTestCase, override_settings
from django.utils import timezone

from accounts.limits import Limits, Override, Overrides
from chatservice.testing import tried_once
from completions import services, titles
from completions.models import Run
from completions.readers import wait_for_end
from completions.run_requests import RunHandle, RunRequest
from completions.tests.asking import principal_of, question
from completions.tests.committed import CommittedTestCase, finished
from completions.tests.upstream import FaultyUpstream
from conversations.models import Conversation
from conversations.services import delete_conversation, start_conversation, update_conversation
from foundation.database import in_database_thread

ASKED = "Does a canary sing at night?"
TITLE = "say:Night songs of birds"
HELD = "say:⏸Night songs of birds"


@tried_once
class AnswerTest(SimpleTestCase):
    def test_the_first_line_is_the_title_without_marks_and_quotes(self) -> None:
        for answer in (
            "Trip to Rome",
            '\n "Trip to Rome"\n',
            "# **Trip to Rome**\n\nIt is about a trip.",
            "Title: “Trip to Rome”",
            "<think>\nThe user wants a title\n</think>\n\n«Trip\tto \x00Rome»",
            "`Trip to\x1b Rome`\r\nOr: Rome",
        ):
            self.assertEqual(titles.read_title(answer), "Trip to Rome", answer)
        self.assertEqual(titles.read_title('"Foo" and "bar"'), '"Foo" and "bar"')
        self.assertEqual(titles.read_title("Half \ud800"), "Half \ufffd")

    def test_it_is_cut_to_what_a_title_may_hold(self) -> None:
        self.assertEqual(titles.read_title("x" * 900), "x" * 199 + "…")
        with override_settings(LIMIT_TITLE_CHARS=10):
            self.assertEqual(titles.read_title("x" * 900), "x" * 9 + "…")

    def test_an_answer_without_a_title_is_none(self) -> None:
        for answer in ("", " \n\n", '""', "<think>What could it be", "\x00"):
            self.assertEqual(titles.read_title(answer), "", answer)


class TitleTest(CommittedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.upstream = self.enterContext(FaultyUpstream())
        upstreams = {"local": {"base_url": self.upstream.base_url, "api_key": "k"}}
        self.enterContext(override_settings(UPSTREAMS=upstreams, DEFAULT_UPSTREAM="local", TITLE_MODEL=TITLE))

    def asked(self) -> list[Any]:
        """Return the requests for titles."""
        return [post for post in self.upstream.posts if "titles" in str(post.body["messages"][0]["content"])]

    def title_after(self, *requests: RunRequest) -> str:
        """Ask one after the other, wait for a title, and return the title of the conversation."""

        async def test() -> RunHandle:
            for request in requests:
                handle, _ = await finished(request)
                await asyncio.gather(*titles._tasks)
            return handle

        return self.title_of(self.in_loop(test).conversation_id)

    def title_of(self, pk: Any) -> str:
        return Conversation.objects.get(pk=pk).title

    def question(self, **fields: Any) -> RunRequest:
        return question(self.alice, ASKED, **{"model": "say:Some do.", **fields})

    def test_the_model_reads_question_and_answer_and_nothing_else_changes(self) -> None:
        self.assertEqual(self.title_after(self.question()), "Night songs of birds")
        [post] = self.asked()
        self.assertEqual((post.body["model"], post.body["stream"]), (TITLE, False))
        for said in (ASKED, "Some do."):
            self.assertIn(said, post.body["messages"][1]["content"])
        row = Conversation.objects.get(owner=self.alice)
        [run] = Run.objects.filter(conversation=row)
        self.assertEqual((run.state, row.updated_at), ("complete", run.created_at))

    def test_it_is_asked_once_and_not_again_where_it_failed(self) -> None:
        started = start_conversation(owner_id=self.alice.pk)
        place = {"conversation_id": started.pk}
        with self.assertLogs("completions.titles") as log, override_settings(TITLE_MODEL="500"):
            self.assertEqual(self.title_after(self.question(**place)), "")
        self.assertIn("upstream_error", str(log.output))
        self.assertEqual(self.title_after(self.question(**place)), "")
        self.assertEqual(len(self.asked()), 1)

    def test_an_answer_that_failed_is_not_the_first_one(self) -> None:
        started = start_conversation(owner_id=self.alice.pk)
        place = {"conversation_id": started.pk}
        failing, whole = self.question(model="400", **place), self.question(**place)
        self.assertEqual(self.title_after(failing), "")
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.title_after(whole), "Night songs of birds")

    def test_what_somebody_named_keeps_its_name(self) -> None:
        named = start_conversation(owner_id=self.alice.pk, title="Mine")
        emptied = start_conversation(owner_id=self.alice.pk)
        update_conversation(conversation=emptied, title="")
        imported = Conversation.objects.create(owner=self.alice, source_id="1")
        for request, title in (
            (self.question(title="Mine"), "Mine"),
            (self.question(conversation_id=named.pk), "Mine"),
            (self.question(conversation_id=emptied.pk), ""),
            (self.question(conversation_id=imported.pk), ""),
        ):
            self.assertEqual(self.title_after(request), title)
        self.assertEqual(self.asked(), [])

    def test_calls_of_openais_apis_keep_the_title_that_repeats_the_question(self) -> None:
        made = start_conversation(owner_id=self.alice.pk, title="Hello", title_is_provisional=False)
        self.assertEqual(self.title_after(self.question(threaded=True)), ASKED)
        self.assertEqual(self.title_after(self.question(conversation_id=made.pk)), "Hello")
        self.title_after(self.question(store=False, threaded=True), self.question())
        self.assertEqual(len(self.asked()), 1)

    def while_it_writes(self, change: Any) -> uuid.UUID:
        """Ask, change the conversation while the model writes its title, let it end, and return the id."""

        async def test() -> uuid.UUID:
            handle = await services.submit(self.question())
            assert handle.conversation_id is not None
            pk = handle.conversation_id
            await wait_for_end(handle.run_id)
            while not (waiting := [post for post in self.asked() if not post.released]):
                await asyncio.sleep(0.01)
            await in_database_thread(lambda: change(Conversation.objects.get(pk=pk)))
            for post in waiting:
                post.released = True
            await asyncio.gather(*titles._tasks)
            return pk

        with override_settings(TITLE_MODEL=HELD):
            pk: uuid.UUID = self.in_loop(test)
        return pk

    def test_a_name_that_arrives_while_the_model_writes_wins(self) -> None:
        pk = self.while_it_writes(lambda row: update_conversation(conversation=row, title="Mine"))
        self.assertEqual(self.title_of(pk), "Mine")

    def test_the_very_words_of_the_question_are_a_name_if_somebody_gives_it(self) -> None:
        def rename(row: Conversation) -> None:
            update_conversation(conversation=row, title="Mine")
            update_conversation(conversation=row, title=ASKED)

        self.assertEqual(self.title_of(self.while_it_writes(rename)), ASKED)

    def test_a_process_of_the_version_before_names_it_too(self) -> None:
        def rename(row: Conversation) -> None:
            Conversation.objects.filter(pk=row.pk).update(title="Mine")

        self.assertEqual(self.title_of(self.while_it_writes(rename)), "Mine")

    def test_a_conversation_may_be_archived_or_deleted_meanwhile(self) -> None:
        pk = self.while_it_writes(lambda row: update_conversation(conversation=row, archived_at=timezone.now()))
        row = Conversation.objects.get(pk=pk)
        self.assertEqual((row.title, row.archived_at is None), ("Night songs of birds", False))
        pk = self.while_it_writes(lambda row: delete_conversation(conversation=row))
        self.assertFalse(Conversation.objects.filter(pk=pk).exists())

    def test_a_model_that_fails_or_is_late_leaves_the_title_and_no_text_in_the_log(self) -> None:
        for model, code in (
            ("401", "upstream_unauthorized"),
            ("html-200", "upstream_invalid"),
            ("refusal", "no_title"),
            ("no-first-byte", "timeout"),
        ):
            seconds = 0.3 if code == "timeout" else 20
            with (
                self.subTest(model),
                override_settings(TITLE_MODEL=model, TITLE_SECONDS=seconds),
                self.assertLogs("completions.titles") as log,
            ):
                self.assertEqual(self.title_after(self.question()), ASKED)
            self.assertIn(code, str(log.output))
            self.assertNotIn("canary", str(log.output))

    def test_nobody_who_may_not_use_the_model_shows_it_anything(self) -> None:
        with override_settings(MODELS_ALLOWED={"*": ["say:Some*"]}):
            self.assertEqual(self.title_after(self.question()), ASKED)
        limits = Limits(key=Overrides(models_allowed=Override(("say:Some*",), "the key's")))
        narrowed = RunRequest(
            principal=principal_of(self.alice, limits=limits),
            model="say:Some do.",
            messages=({"role": "user", "content": ASKED},),
        )
        self.assertEqual(self.title_after(narrowed), ASKED)
        self.assertEqual(self.asked(), [])

    def test_few_are_asked_at_once_and_none_is_left_when_the_process_ends(self) -> None:
        async def test() -> None:
            handles = [await services.submit(self.question()) for _ in range(titles.AT_ONCE + 2)]
            for handle in handles:
                self.assertEqual((await wait_for_end(handle.run_id)).status, "complete")
            while len(self.asked()) < titles.AT_ONCE:
                await asyncio.sleep(0.01)
            await titles.stop()
            self.assertEqual((len(self.asked()), titles._tasks), (titles.AT_ONCE, set()))

        with override_settings(TITLE_MODEL="no-first-byte"):
            self.in_loop(test)

    def test_without_the_setting_nobody_is_asked(self) -> None:
        with override_settings(TITLE_MODEL=""):
            self.assertEqual(self.title_after(self.question()), ASKED)
        self.assertEqual(self.asked(), [])
