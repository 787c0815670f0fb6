"""Storing imported history: a round trip loses nothing, and importing the same again adds nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from django.core.management import CommandError, call_command
from django.db.models import Model
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.models import User
from accounts.services import register_user
from chatservice.testing import ServiceTestCase, needs_dialect
from conversations import digests, imports
from conversations.branches import branch
from conversations.exporters import export_conversations
from conversations.importers import parse
from conversations.imports import Tally, import_batch, in_batches
from conversations.models import Conversation, Message
from conversations.services import (
    append_message,
    delete_conversation,
    edit_message,
    start_conversation,
    update_conversation,
)
from conversations.signals import messages_changed
from conversations.tests.exports import START, chat, claude_message, node, root, write_zip


def bring_in(owner: User, entries: Iterable[Any]) -> Tally:
    """Import parsed `entries` as the command does."""
    total = Tally()
    for batch in in_batches(map(parse, entries)):
        tally = import_batch(owner=owner, conversations=batch)
        total.add(tally)
        total.skipped += tally.skipped
    return total


# All other fields of a model, present and future, have to survive a round trip.
OF_THE_ROW = {"id", "owner", "conversation", "parent", "head", "position", "next_position", "digest", "source_id"}


def fields_of(row: Model) -> dict[str, Any]:
    return {each.name: each.value_from_object(row) for each in row._meta.fields if each.name not in OF_THE_ROW}


def snapshot(owner: User) -> dict[str, Any]:
    """Return the content of an account's conversations, with names in place of ids."""
    found = {}
    for row in Conversation.objects.filter(owner=owner):
        messages = list(Message.objects.of(row.pk).oldest_first())
        names: dict[uuid.UUID | None, str] = {message.pk: message.source_id or str(message.pk) for message in messages}
        found[row.source_id or str(row.pk)] = {
            **fields_of(row),
            "tags": row.tag_names,
            "head": names.get(row.head_id),
            "messages": [
                (names[each.pk], names.get(each.parent_id), fields_of(each), each.as_wire()) for each in messages
            ],
        }
    return found


def lived_in(owner: User) -> Conversation:
    """Create a conversation that uses every feature."""
    talk = start_conversation(
        owner_id=owner.pk,
        title="Öl & Käse 🧀",
        end_user="Zoë",
        metadata={"deep": [{"er": None}]},
        generation={"instructions": "Short\nand “kind”", "temperature": 0.5},
    )
    update_conversation(conversation=talk, tags=["Käse", "Œuvre"])
    append_message(conversation=talk, role="system", content="Be brief.")
    question = append_message(conversation=talk, role="user", content='"Why?"\n\u2028\\ <b>', author="Zoë")
    call = {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}], "content": None}
    append_message(conversation=talk, role="assistant", content="", extras=call, model="gpt-x")
    append_message(conversation=talk, role="tool", content="42", extras={"tool_call_id": "c1"})
    picture = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    append_message(conversation=talk, role="user", content="See", extras={"content": picture})
    answer = append_message(conversation=talk, role="assistant", content="", model="gpt-x")
    Message.objects.filter(pk=answer.pk).update(status=Message.Status.FAILED)
    append_message(conversation=talk, role="user", content="odd", extras={"role": "critic"})
    edited = edit_message(message=question, content="Why not?")
    cut = append_message(conversation=talk, role="assistant", content="Because", model="gpt-y", parent_id=edited.pk)
    Message.objects.filter(pk=cut.pk).update(
        status=Message.Status.CANCELLED,
        upstream="local",
        finish_reason="length",
        usage={"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}},
        created_at=dt.datetime(2001, 2, 3, 4, 5, 6, 789012, dt.UTC),
    )
    Conversation.objects.filter(pk=talk.pk).update(
        head=answer,
        archived_at=timezone.now(),
        pinned_at=timezone.now(),
        updated_at=dt.datetime(2031, 1, 1, 0, 0, 0, 1, dt.UTC),
    )
    talk.refresh_from_db()
    return talk


class RoundTripTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        self.bob = register_user(username="bob")
        self.talk = lived_in(self.alice)
        start_conversation(owner_id=self.alice.pk, title="Nothing yet")

    def exported(self, owner: User) -> list[Any]:
        return json.loads("".join(export_conversations(Conversation.objects.filter(owner=owner), "chatgpt")))

    def test_what_goes_out_comes_in_again_whole(self):
        tally = bring_in(self.bob, self.exported(self.alice))
        self.assertEqual((tally.created, tally.skipped, tally.left_out), (2, [], {}))
        self.assertEqual(snapshot(self.bob), snapshot(self.alice))
        self.assertEqual(len(snapshot(self.bob)[str(self.talk.pk)]["messages"]), 9)

    def test_and_once_more(self):
        bring_in(self.bob, self.exported(self.alice))
        carol = register_user(username="carol")
        bring_in(carol, self.exported(self.bob))
        self.assertEqual(snapshot(carol), snapshot(self.alice))

    def test_the_account_it_came_from_knows_it_again(self):
        before = snapshot(self.alice)
        tally = bring_in(self.alice, self.exported(self.alice))
        self.assertEqual((tally.created, tally.grown, tally.unchanged), (0, 0, 2))
        self.assertEqual(snapshot(self.alice), before)

    def test_what_was_deleted_comes_back_from_the_export(self):
        before, export = snapshot(self.alice), self.exported(self.alice)
        for row in Conversation.objects.filter(owner=self.alice):
            delete_conversation(conversation=row)
        bring_in(self.alice, export)
        self.assertEqual(snapshot(self.alice), before)

    def test_an_answer_that_was_being_written_is_interrupted_since_nobody_finishes_it(self):
        Message.objects.filter(content="Because").update(status=Message.Status.IN_PROGRESS)
        bring_in(self.bob, self.exported(self.alice))
        copy = Message.objects.get(conversation__owner=self.bob, content="Because")
        self.assertEqual(copy.status, Message.Status.INTERRUPTED)

    def test_a_forged_export_becomes_nothing_that_is_not_allowed(self):
        [tree] = [each for each in self.exported(self.alice) if each["title"] != "Nothing yet"]
        for each in tree["mapping"].values():
            if each["message"]:
                each["message"]["author"]["role"] = "root"
                each["message"]["metadata"]["chat_service"] |= {
                    "status": "done",
                    "position": "x",
                    "usage": 5,
                    "parts": [],
                }
                each["message"]["metadata"]["chat_service"]["model"] = "m" * 999
        wrong = {"instructions": 5, "temperature": "hot", "max_tokens": 0, "n": 100, "tools": [], "top_p": 0.5}
        tree["chat_service"]["generation"] = wrong
        bring_in(self.bob, [tree])
        self.assertEqual(Conversation.objects.get(owner=self.bob).generation, {"top_p": 0.5})
        for message in Message.objects.filter(conversation__owner=self.bob):
            message.full_clean(exclude=["conversation", "parent"])
            self.assertEqual(message.as_wire()["role"], "root")

    def test_jsonl_goes_out_and_in_and_is_known_again(self):
        mine = Conversation.objects.filter(pk=self.talk.pk)
        [line] = map(json.loads, "".join(export_conversations(mine, "jsonl")).splitlines())
        self.assertEqual(bring_in(self.alice, [line]).unchanged, 1)
        bring_in(self.bob, [line])
        copy = Conversation.objects.get(owner=self.bob)
        self.assertEqual(copy.generation, self.talk.generation)
        said = [each for each in branch(self.talk.pk, self.talk.head_id) if each.content or each.has_parts]
        self.assertEqual(
            [(each.as_wire(), each.created_at, each.model) for each in branch(copy.pk, copy.head_id)],
            [(each.as_wire(), each.created_at, each.model) for each in said],
        )


class ImportTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")

    def talk(self, name: str = "talk") -> Conversation:
        return Conversation.objects.get(owner=self.alice, source_id=name)

    def shown(self) -> list[str]:
        talk = self.talk()
        return [message.content for message in branch(talk.pk, talk.head_id)]

    def test_importing_twice_is_importing_once(self):
        entries = [
            chat("talk", root(), node("q", "root"), node("a", "q", "assistant"), node("b", "q", "assistant")),
            {"uuid": "claude", "chat_messages": [claude_message("q"), claude_message("a", sender="assistant")]},
            {"messages": [{"role": "user", "content": "Hi"}]},
        ]
        first = bring_in(self.alice, entries)
        before = snapshot(self.alice)
        second = bring_in(self.alice, entries)
        self.assertEqual((first.created, first.messages), (3, 6))
        self.assertEqual((second.created, second.grown, second.unchanged, second.messages), (0, 0, 3, 0))
        self.assertEqual(snapshot(self.alice), before)
        other = bring_in(register_user(username="bob"), entries)
        self.assertEqual(other.created, 3)

    def test_what_the_version_before_imported_is_mended_and_not_doubled(self):
        """It left documents out, and marks in."""
        call = {"content_type": "code", "text": '{"name": "letter", "content": "Dear Bob"}'}
        doc = node("doc", "q", "assistant", content=call, recipient="canmore.create_textdoc")
        raw = "Done \ue200cite\ue202turn0search0\ue201"
        source = {
            "content_references": [{"matched_text": raw[5:], "items": [{"title": "A", "url": "https://a.example"}]}]
        }
        entry = chat("talk", root(), node("q", "root"), doc, node("a", "doc", "assistant", [raw], metadata=source))
        now = parse(entry)
        question, _, told = now.messages
        former = dataclasses.replace(told, parent="q", content=raw, extras=None)
        import_batch(owner=self.alice, conversations=[dataclasses.replace(now, messages=(question, former))])
        append_message(conversation=self.talk(), role="user", content="asked here")
        tally = bring_in(self.alice, [entry])
        self.assertEqual((tally.created, tally.grown, tally.messages, tally.updated), (0, 1, 1, 1))
        self.assertEqual(self.shown(), ["q", "Done ([A](https://a.example))", "asked here"])
        self.assertEqual(
            Message.objects.get(source_id="a").as_wire()["annotations"], (told.extras or {})["annotations"]
        )
        self.assertEqual(Message.objects.values_list("parent__content", flat=True).get(source_id="doc"), "q")
        path = branch(self.talk().pk, self.talk().head_id)
        chain = digests.chain(digests.root(self.alice.pk), [message.as_wire() for message in path])
        self.assertEqual([message.digest for message in path], chain)
        before = snapshot(self.alice)
        again = bring_in(self.alice, [entry])
        self.assertEqual((again.unchanged, again.updated, snapshot(self.alice)), (1, 0, before))

    def test_an_artifact_that_the_version_before_left_out_comes_into_its_turn(self):
        poem = {"type": "tool_use", "name": "artifacts", "input": {"id": "p", "title": "Poem", "content": "Red moon"}}
        turns = [
            claude_message("q"),
            claude_message("a", sender="assistant", content=[{"type": "text", "text": "Here"}, poem]),
        ]
        turns[1]["files"] = [{"file_name": "cat.png"}]
        now = parse({"uuid": "talk", "chat_messages": turns})
        question, told = now.messages
        former = dataclasses.replace(told, content="Here\n\n[file: cat.png]")
        self.assertEqual(told.formerly, former.content)
        import_batch(owner=self.alice, conversations=[dataclasses.replace(now, messages=(question, former))])
        self.assertEqual(bring_in(self.alice, [{"uuid": "talk", "chat_messages": turns}]).updated, 1)
        self.assertEqual(self.shown(), ["q", "Here\n\n[document: Poem]\n\nRed moon\n\n[file: cat.png]"])

    def test_a_grown_export_adds_what_is_new_and_shows_it(self):
        old = [root(), node("q", "root"), node("a", "q", "assistant")]
        bring_in(self.alice, [chat("talk", *old)])
        ids = set(Message.objects.values_list("pk", flat=True))
        grown = [*old, node("q2", "a"), node("a2", "q2", "assistant"), node("b", "q", "assistant")]
        tally = bring_in(self.alice, [chat("talk", *grown, current="a2", update_time=START + 500)])
        self.assertEqual((tally.created, tally.grown, tally.messages), (0, 1, 3))
        self.assertEqual(self.shown(), ["q", "a", "q2", "a2"])
        self.assertLess(ids, set(Message.objects.values_list("pk", flat=True)))
        self.assertEqual(self.talk().updated_at, dt.datetime.fromtimestamp(START + 500, dt.UTC))

    def test_what_was_done_here_meanwhile_stays(self):
        old = [root(), node("q", "root"), node("a", "q", "assistant")]
        bring_in(self.alice, [chat("talk", *old)])
        append_message(conversation=self.talk(), role="user", content="asked here")
        Conversation.objects.update(title="Renamed here")
        bring_in(self.alice, [chat("talk", *old, node("q2", "a"))])
        self.assertEqual(self.shown(), ["q", "a", "asked here"])
        self.assertEqual(self.talk().title, "Renamed here")
        self.assertEqual(Message.objects.values_list("parent__content", flat=True).get(content="q2"), "a")
        self.assertEqual(Message.objects.get(content="q2").position, 4)

    def test_the_same_conversation_in_two_shards_is_one(self):
        part = [root(), node("q", "root")]
        tally = bring_in(self.alice, [chat("talk", *part), chat("talk", *part, node("a", "q", "assistant"))])
        self.assertEqual((tally.created, tally.grown), (1, 1))
        self.assertEqual(self.shown(), ["q", "a"])

    def test_two_accounts_may_import_the_same_and_messages_of_two_conversations_may_share_an_id(self):
        entries = [chat("one", node("q", None)), chat("two", node("q", None))]
        for name in ("bob", "carol"):
            self.assertEqual(bring_in(register_user(username=name), entries).created, 2)

    def test_every_message_has_the_digest_of_what_came_before(self):
        nodes = [root(), node("q", "root", author="Ann"), node("a", "q", "assistant"), node("b", "q", "assistant")]
        bring_in(self.alice, [chat("talk", *nodes)])
        bring_in(self.alice, [chat("talk", *nodes, node("q2", "a"))])
        for leaf in ("q2", "b"):
            path = branch(self.talk().pk, Message.objects.get(content=leaf).pk)
            chain = digests.chain(digests.root(self.alice.pk), [message.as_wire() for message in path])
            self.assertEqual([message.digest for message in path], chain)

    def test_what_no_database_stores_is_taken_out(self):
        dirty = node("q\x00", None, parts=["nul \x00 and half \ud83d"], author="A\x00" + "x" * 300)
        [entry] = [chat("talk" + "x" * 300, dirty, title="two\nlines \x00" + "t" * 300)]
        entry["chat_service"] = {
            "metadata": {"inf": float("inf"), "nul": "\x00", "deep": json.loads("[" * 90 + "]" * 90)}
        }
        tally = bring_in(self.alice, [entry])
        self.assertEqual((tally.created, tally.skipped), (1, []))
        message = Message.objects.get()
        self.assertEqual((message.content, message.source_id, len(message.author)), ("nul  and half \ufffd", "q", 200))
        self.assertEqual(bring_in(self.alice, [entry]).unchanged, 1)
        talk = Conversation.objects.get()
        self.assertTrue(talk.title.startswith("two lines ttt"))
        self.assertEqual((talk.metadata["inf"], talk.metadata["nul"]), (None, ""))

    def test_times_that_are_not_told_are_those_around_them(self):
        bring_in(self.alice, [chat("talk", node("q", None), node("a", "q", at=START + 5))])
        self.assertEqual(
            list(Message.objects.oldest_first().values_list("created_at", flat=True)),
            [dt.datetime.fromtimestamp(START + at, dt.UTC) for at in (0, 5)],
        )
        before = timezone.now()
        bring_in(self.alice, [chat("timeless", node("q", None), create_time=None, update_time=None)])
        self.assertGreaterEqual(self.talk("timeless").created_at, before)

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=3, LIMIT_CONVERSATIONS_PER_USER=2)
    def test_limits_are_kept_and_named(self):
        long = [node("m0", None), *(node(f"m{at}", f"m{at - 1}") for at in range(1, 4))]
        tally = bring_in(self.alice, [chat("long", *long), *(chat(f"t{at}", node("q", None)) for at in range(3))])
        self.assertEqual(tally.created, 2)
        self.assertIn("LIMIT_MESSAGES_PER_CONVERSATION allows 3", tally.skipped[0].reason)
        self.assertIn("LIMIT_CONVERSATIONS_PER_USER allows 2", tally.skipped[1].reason)
        self.assertIn("(t2)", tally.skipped[1].label)
        grown = bring_in(self.alice, [chat("t0", node("q", None), *long)])
        self.assertIn("LIMIT_MESSAGES_PER_CONVERSATION", grown.skipped[0].reason)
        self.assertEqual(Message.objects.count(), 2)

    def test_one_that_the_database_refuses_does_not_take_the_others_with_it(self):
        taken = start_conversation(owner_id=register_user(username="bob").pk)
        at_fault = parse(chat("t1", node("q", None, at=START), create_time="1999-01-01T00:00:00Z"))
        batch = [parse(chat("t0", node("q", None))), at_fault, parse(chat("t2", node("q", None)))]
        make = imports._id_at
        with patch.object(imports, "_id_at", lambda when: taken.pk if when.year == 1999 else make(when)):
            tally = import_batch(owner=self.alice, conversations=batch)
        self.assertEqual((tally.created, len(tally.skipped)), (2, 1))
        self.assertIn("IntegrityError", tally.skipped[0].reason)

    def test_news_go_out_for_what_changed(self):
        heard = []
        receiver = lambda conversation_id, **kwargs: heard.append(conversation_id)  # noqa: E731
        messages_changed.connect(receiver)
        self.addCleanup(messages_changed.disconnect, receiver)
        entries = [chat("talk", node("q", None))]
        for _ in range(2):
            with self.captureOnCommitCallbacks(execute=True):
                bring_in(self.alice, entries)
        self.assertEqual(heard, [self.talk().pk])


class CommandTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)

    def run_import(self, *files: Path) -> str:
        out = StringIO()
        try:
            call_command("import_history", *files, "--user", "alice", stdout=out)
        except CommandError as error:
            out.write(f"Error: {error}")
        return out.getvalue()

    def test_it_says_what_became_of_every_file(self):
        entries = [chat("good", node("q", None), node("h", "q", weight=0)), {"id": "p-1", "title": "A \x1b[31mfolder"}]
        told = self.run_import(write_zip(self.folder / "export.zip", {"conversations.json": entries}))
        self.assertIn('Skipped "A  [31mfolder" (p-1): it has no messages in it', told)
        self.assertIn("1 conversations imported, 0 extended, 0 unchanged, 1 skipped; 1 messages added.", told)
        self.assertIn("Left out: hidden message (1).", told)
        self.assertNotIn("Error", told)

    def test_a_bad_file_does_not_keep_the_good_one_out(self):
        good = self.folder / "good.json"
        good.write_text(json.dumps([chat("good", node("q", None))]))
        bad = self.folder / "bad.json"
        bad.write_text("[ nonsense")
        told = self.run_import(bad, self.folder / "missing", good)
        self.assertIn("Not read: bad.json", told)
        self.assertIn("Error: 2 files could not be read completely", told)
        self.assertIn("1 conversations imported", told)

    def test_an_account_that_is_not_there_is_named(self):
        with self.assertRaisesMessage(CommandError, "create_user zoe"):
            call_command("import_history", "x", "--user", "zoe")


class ContinueTest(ServiceTestCase):
    def test_an_openai_call_continues_what_was_imported(self):
        needs_dialect("openai_v1")
        nodes = [root(), node("q", "root", parts=["Which flour?"]), node("a", "q", "assistant", ["Rye."])]
        bring_in(self.alice.user, [chat("talk", *nodes)])
        said = [{"role": "user", "content": "Which flour?"}, {"role": "assistant", "content": "Rye."}]
        response = self.alice.http.post(
            "/v1/chat/completions", json={"model": "echo", "messages": [*said, {"role": "user", "content": "Sure?"}]}
        )
        self.assertEqual(response.status_code, 200, response.text)
        talk = Conversation.objects.get(owner=self.alice.user)
        self.assertEqual(response.headers["X-Conversation-Id"], str(talk.pk))
        self.assertEqual(
            [each.content for each in branch(talk.pk, talk.head_id)][:3], ["Which flour?", "Rye.", "Sure?"]
        )
