"""What a link shows: the branch up to its message, questions and answers of it, and nothing else."""

from __future__ import annotations

import uuid
from typing import Any
from unittest import mock

from django.core.files.base import ContentFile
from django.test import TestCase, override_settings

from accounts.callers import Principal
from accounts.models import User
from accounts.services import register_user
from conversations.models import Conversation, Message
from conversations.services import append_message, delete_message, edit_message, start_conversation
from files.models import File
from files.public_ids import public_id
from files.services import store_file
from files.tests.pictures import picture
from sharing import reading
from sharing.models import SharedLink
from sharing.reading import find_picture, read_page
from sharing.services import share_conversation


def share(message: Message, owner: User) -> SharedLink:
    return share_conversation(principal=Principal(owner.pk, owner.username), message_id=message.pk)


@override_settings(SHARING=True)
class ReadingTest(TestCase):
    def setUp(self) -> None:
        self.alice, self.bob = register_user(username="alice"), register_user(username="bob")
        self.talk = start_conversation(owner_id=self.alice.pk, generation={"instructions": "SECRET"})

    def say(self, role: str, content: str, **fields: Any) -> Message:
        conversation = Conversation.objects.get(pk=self.talk.pk)
        return append_message(conversation=conversation, role=role, content=content, **fields)

    def shown(self, link: SharedLink, page: int = 1) -> list[str]:
        return [each.message.content for each in read_page(link, page).messages]

    def test_it_is_the_branch_up_to_the_message_whatever_is_said_later(self) -> None:
        first = self.say("user", "One?")
        self.say("assistant", "No.")
        other = edit_message(message=first, content="Two?")
        answer = self.say("assistant", "Yes.")
        link, of_question = share(answer, self.alice), share(other, self.alice)
        self.say("user", "Later?")
        self.say("assistant", "Later.")
        edit_message(message=other, content="Three?")
        self.assertEqual(self.shown(link), ["Two?", "Yes."])
        self.assertEqual(self.shown(of_question), ["Two?"])

    def test_what_is_deleted_is_gone_from_it(self) -> None:
        self.say("user", "One?")
        gone = self.say("assistant", "One.")
        self.say("user", "Two?")
        link = share(self.say("assistant", "Two."), self.alice)
        delete_message(message=gone)
        self.assertEqual(self.shown(link), ["One?", "Two?", "Two."])

    def test_only_questions_and_answers_are_shown(self) -> None:
        self.say("system", "SECRET")
        self.say("developer", "SECRET")
        self.say("user", "What is it?", author="SECRET")
        call = {"id": "call_1", "type": "function", "function": {"name": "SECRET", "arguments": '{"q": "SECRET"}'}}
        self.say("assistant", "", extras={"tool_calls": [call]})
        self.say("tool", "SECRET", extras={"tool_call_id": "call_1"})
        answer = self.say("assistant", "It is *this*.", extras={"reasoning": "SECRET"}, model="fake/ok")
        page = read_page(share(answer, self.alice), 1)
        self.assertEqual([each.message.content for each in page.messages], ["What is it?", "It is *this*."])
        self.assertEqual([each.is_question for each in page.messages], [True, False])
        self.assertIn("<em>this</em>", page.messages[1].body)
        self.assertNotIn("SECRET", "".join(each.body for each in page.messages))

    def test_a_long_one_has_pages(self) -> None:
        for number in range(5):
            last = self.say("user" if number % 2 == 0 else "assistant", f"Number {number}")
        link = share(last, self.alice)
        with mock.patch.object(reading, "PER_PAGE", 2):
            pages = [self.shown(link, number) for number in (1, 2, 3, 4, 0)]
            self.assertEqual(read_page(link, 9).pages, 3)
        self.assertEqual(pages[0], ["Number 0", "Number 1"])
        self.assertEqual(pages[2], ["Number 4"])
        self.assertEqual((pages[3], pages[4]), (pages[2], pages[0]))

    def test_a_page_costs_as_many_queries_however_long_it_is(self) -> None:
        for _ in range(10):
            last = self.say("user", "So?")
        link = share(last, self.alice)
        with self.assertNumQueries(3):
            read_page(link, 1)


@override_settings(SHARING=True)
class PictureTest(TestCase):
    def setUp(self) -> None:
        self.alice, self.bob = register_user(username="alice"), register_user(username="bob")

    def file(self, owner: User, name: str = "cat.png", content: bytes | None = None) -> File:
        kept = ContentFile(picture("PNG") if content is None else content)
        return store_file(owner_id=owner.pk, content=kept, name=name, purpose="user_data")

    def carrying(self, *parts: dict[str, Any], talk: Conversation | None = None) -> Message:
        talk = talk or start_conversation(owner_id=self.alice.pk)
        content = [{"type": "text", "text": "Look"}, *parts]
        return append_message(conversation=talk, role="user", content="Look", extras={"content": content})

    def image(self, file: File) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"file_id": public_id(file.pk)}}

    def document(self, file: File) -> dict[str, Any]:
        return {"type": "file", "file": {"file_id": public_id(file.pk)}}

    def test_a_picture_of_a_shared_message_is_shown(self) -> None:
        cat = self.file(self.alice)
        link = share(self.carrying(self.image(cat)), self.alice)
        self.assertEqual(find_picture(link, public_id(cat.pk)), cat)
        [shown] = read_page(link, 1).messages
        self.assertEqual([(each.name, each.has_thumbnail) for each in shown.files], [("cat.png", True)])

    def test_no_other_file_is(self) -> None:
        asked, later, elsewhere, unused = (self.file(self.alice) for _ in range(4))
        notes = self.file(self.alice, "notes.txt", b"private")
        foreign = self.file(self.bob)
        as_document = self.file(self.alice)
        parts = [self.image(asked), self.document(notes), self.image(foreign), self.document(as_document)]
        message = self.carrying(*parts)
        link = share(message, self.alice)
        self.carrying(self.image(later), talk=Conversation.objects.get(pk=message.conversation_id))
        self.carrying(self.image(elsewhere))
        self.assertEqual(find_picture(link, public_id(asked.pk)), asked)
        for file in (later, elsewhere, unused, notes, foreign, as_document):
            self.assertIsNone(find_picture(link, public_id(file.pk)))
        for file_id in ("", "file-", str(asked.pk), public_id(uuid.uuid4()), "file-\x00"):
            self.assertIsNone(find_picture(link, file_id))
