"""What the tools and resources tell of one's own history, asked by the official client in both ways of the protocol."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.utils import timezone

from chatservice.dialects.mcp.tests.calling import LEGACY, MODERN, call_tool, with_client
from chatservice.testing import ApiUser, ServiceTestCase
from conversations.models import Conversation, Message
from conversations.services import append_message, edit_message, start_conversation, update_conversation

URI = "chat://conversations/"


class HistoryCase(ServiceTestCase):
    def talk(self, api_user: ApiUser, *said: str, title: str = "") -> Conversation:
        conversation = start_conversation(owner_id=api_user.user.pk, title=title)
        for number, text in enumerate(said):
            append_message(conversation=conversation, role=("user", "assistant")[number % 2], content=text)
        conversation.refresh_from_db()
        return conversation

    def call(self, name: str, *, by: ApiUser | None = None, mode: str = "auto", **arguments: Any) -> Any:
        return call_tool(self.service.url, (by or self.alice).headers, name, mode=mode, **arguments)

    def told(self, name: str, **arguments: Any) -> Any:
        result = self.call(name, **arguments)
        self.assertFalse(result.is_error, result.content)
        return result.structured_content

    def code(self, name: str, **arguments: Any) -> str:
        result = self.call(name, **arguments)
        self.assertTrue(result.is_error, result.content)
        self.assertIsNone(result.structured_content)
        self.assertTrue(result.content[0].text)
        return result.meta["code"]

    def messages_of(self, conversation: Conversation) -> list[Message]:
        return list(Message.objects.of(conversation.pk).oldest_first())


class ToolsTest(HistoryCase):
    def test_the_tools_are_listed_with_schemas_and_as_read_only(self) -> None:
        for mode in (LEGACY, MODERN):
            with self.subTest(mode):
                listed = with_client(self.service.url, self.alice.headers, lambda c: c.list_tools(), mode=mode).tools
                names = ["search_history", "read_conversation", "list_conversations", "recent"]
                self.assertEqual([tool.name for tool in listed], names)
                for tool in listed:
                    self.assertTrue(tool.description and tool.annotations and tool.annotations.read_only_hint)
                    self.assertEqual(
                        (tool.input_schema["type"], (tool.output_schema or {})["type"]), ("object", "object")
                    )
                    self.assertFalse(tool.input_schema["additionalProperties"])
                self.assertEqual(set(listed[0].input_schema["properties"]), {"query", "since", "until", "tag", "limit"})
                self.assertEqual(set(listed[1].input_schema["properties"]), {"id", "around"})

    def test_a_search_finds_ones_own_with_a_link_to_the_page(self) -> None:
        word = f"w{uuid.uuid4().hex[:10]}"
        conversation = self.talk(self.alice, f"Where does the {word} sleep?", "At sea.", title="Whales")
        self.talk(self.bob, f"My {word} is mine.")
        asked = self.messages_of(conversation)[0]
        url = f"{self.service.url}/#{conversation.pk}/{asked.pk}"
        for mode in (LEGACY, MODERN):
            with self.subTest(mode):
                result = self.call("search_history", mode=mode, query=f'"{word}"')
                [passage] = result.structured_content["passages"]
                self.assertEqual(passage["conversation_id"], str(conversation.pk))
                self.assertEqual((passage["message_id"], passage["title"]), (str(asked.pk), "Whales"))
                self.assertEqual((passage["role"], passage["url"]), ("user", url))
                self.assertIn(word, passage["snippet"])
                self.assertIs(passage["found"], True)
                [content] = result.content
                for each in ("Whales", word, url, str(conversation.pk), str(asked.pk)):
                    self.assertIn(each, content.text)

    def test_a_search_is_limited_by_days_and_number(self) -> None:
        word = f"w{uuid.uuid4().hex[:10]}"
        conversation = self.talk(self.alice, *(f"{word} {number}" for number in range(3)))
        old = self.messages_of(conversation)[0]
        Message.objects.filter(pk=old.pk).update(created_at=dt.datetime(2020, 5, 5, 12, tzinfo=dt.UTC))

        def found(**arguments: Any) -> list[str]:
            return [each["snippet"] for each in self.told("search_history", query=word, **arguments)["passages"]]

        self.assertEqual(len(found()), 3)
        self.assertEqual(len(found(limit=2)), 2)
        self.assertEqual(len(found(limit="2")), 2)  # as some models write numbers
        self.assertEqual(found(until="2020-05-05"), [f"{word} 0"])
        self.assertEqual(found(until="2020-05-04"), [])
        self.assertEqual(len(found(since="2020-05-06")), 2)
        self.assertEqual(len(found(since=None, until=None)), 3)

    def test_a_conversation_is_read_around_a_message(self) -> None:
        conversation = self.talk(self.alice, *(f"text {number}" for number in range(50)), title="Long")
        rows = self.messages_of(conversation)
        last = self.told("read_conversation", id=str(conversation.pk))
        self.assertEqual([each["text"] for each in last["messages"]], [f"text {number}" for number in range(30, 50)])
        self.assertEqual((last["more_before"], last["more_after"], last["title"]), (True, False, "Long"))
        middle = self.told("read_conversation", id=str(conversation.pk), around=str(rows[25].pk))
        self.assertEqual([each["text"] for each in middle["messages"]], [f"text {number}" for number in range(15, 35)])
        self.assertEqual((middle["more_before"], middle["more_after"]), (True, True))
        self.assertTrue(middle["url"].endswith(f"/#{conversation.pk}/{rows[25].pk}"))
        first = self.told("read_conversation", id=str(conversation.pk), around=str(rows[0].pk))
        self.assertEqual((first["messages"][0]["text"], first["more_before"]), ("text 0", False))

    def test_reading_on_at_either_end_reaches_every_message(self) -> None:
        conversation = self.talk(self.alice, *(f"text {number}" for number in range(75)))
        part = self.told("read_conversation", id=str(conversation.pk))
        seen = {each["id"] for each in part["messages"]}
        while part["more_before"]:
            part = self.told("read_conversation", id=str(conversation.pk), around=part["messages"][0]["id"])
            self.assertLess(len(seen), len(seen | {each["id"] for each in part["messages"]}))
            seen |= {each["id"] for each in part["messages"]}
        self.assertEqual(len(seen), 75)

    def test_long_texts_are_cut_and_the_one_asked_for_is_whole(self) -> None:
        conversation = self.talk(self.alice, "x" * 9_000, "y" * 9_000)
        first, _ = self.messages_of(conversation)
        cut = self.told("read_conversation", id=str(conversation.pk))["messages"]
        self.assertEqual([(len(each["text"]), each["cut"]) for each in cut], [(2_000, True)] * 2)
        whole = self.told("read_conversation", id=str(conversation.pk), around=str(first.pk))["messages"]
        self.assertEqual([(len(each["text"]), each["cut"]) for each in whole], [(9_000, False), (2_000, True)])

    def test_another_version_is_read_on_its_own_branch(self) -> None:
        conversation = self.talk(self.alice, "first version", "an answer")
        asked = self.messages_of(conversation)[0]
        edit_message(message=asked, content="second version")
        now = self.told("read_conversation", id=str(conversation.pk))["messages"]
        self.assertEqual([each["text"] for each in now], ["second version"])
        before = self.told("read_conversation", id=str(conversation.pk), around=str(asked.pk))["messages"]
        self.assertEqual([each["text"] for each in before], ["first version", "an answer"])

    def test_conversations_are_listed_page_by_page(self) -> None:
        carol = self.carol
        made = [self.talk(carol, "hello", title=f"number {number}") for number in range(5)]
        # Imported ones may have been changed at the same moment.
        Conversation.objects.filter(pk__in=[each.pk for each in made[:3]]).update(updated_at=timezone.now())
        seen: list[str] = []
        cursor = None
        for size in (2, 2, 1):
            page = self.told("list_conversations", by=carol, limit=2, cursor=cursor)
            self.assertEqual(len(page["conversations"]), size)
            seen += [each["title"] for each in page["conversations"]]
            cursor = page["next_cursor"]
        self.assertIsNone(cursor)
        self.assertEqual(sorted(seen), [f"number {number}" for number in range(5)])
        tomorrow = (timezone.now() + dt.timedelta(days=2)).date().isoformat()
        self.assertEqual(self.told("list_conversations", by=carol, since=tomorrow)["conversations"], [])
        self.assertEqual(len(self.told("list_conversations", by=carol, until=tomorrow)["conversations"]), 5)

    def test_tags_are_listed_and_select(self) -> None:
        work = self.talk(self.alice, "hello", title="Office")
        self.talk(self.alice, "hello", title="Other")
        self.talk(self.bob, "hello", title="Not for Alice")
        update_conversation(conversation=work, tags=["Later", "Work"])
        for tag, titles in (("WORK", ["Office"]), (" later ", ["Office"]), ("none", []), ("", ["Other", "Office"])):
            listed = self.told("list_conversations", tag=tag)["conversations"]
            self.assertEqual([each["title"] for each in listed], titles)
        self.assertEqual([each["tags"] for each in listed], [[], ["Later", "Work"]])

    def test_recent_tells_the_last_question_and_answer(self) -> None:
        self.talk(self.bob, "Not for Alice")
        self.talk(self.alice, "Older", "Oh")
        newest = self.talk(self.alice, "Where do whales sleep?", "x" * 500, title="Whales")
        empty = self.talk(self.alice, title="Empty")
        told = self.told("recent", limit=2)["conversations"]
        self.assertEqual([each["id"] for each in told], [str(empty.pk), str(newest.pk)])
        self.assertEqual((told[0]["question"], told[0]["answer"]), ("", ""))
        self.assertEqual((told[1]["question"], len(told[1]["answer"])), ("Where do whales sleep?", 200))

    def test_bad_arguments_are_told_to_the_model(self) -> None:
        pk = str(self.talk(self.alice, "hello").pk)
        for name, arguments, code in (
            ("search_history", {}, "validation_error"),
            ("search_history", {"query": ""}, "validation_error"),
            ("search_history", {"query": "  "}, "validation_error"),
            ("search_history", {"query": 5}, "validation_error"),
            ("search_history", {"query": "x" * 1_001}, "validation_error"),
            ("search_history", {"query": "x", "limit": 51}, "validation_error"),
            ("search_history", {"query": "x", "limit": 0}, "validation_error"),
            ("search_history", {"query": "x", "since": "yesterday"}, "validation_error"),
            ("search_history", {"query": "x", "owner_id": "x"}, "validation_error"),
            ("list_conversations", {"until": "9999-12-31"}, "validation_error"),
            ("list_conversations", {"cursor": "x"}, "bad_cursor"),
            ("recent", {"limit": 10**30}, "validation_error"),
            ("read_conversation", {"id": "x"}, "not_found"),
            ("read_conversation", {"id": pk, "around": "x"}, "not_found"),
            ("read_conversation", {"id": pk, "around": str(uuid.uuid4())}, "not_found"),
        ):
            with self.subTest(f"{name} {str(arguments)[:60]}"):
                self.assertEqual(self.code(name, **arguments), code)


class ResourcesTest(HistoryCase):
    def test_conversations_are_resources(self) -> None:
        made = [self.talk(self.carol, f"hello {number}", title=f"number {number}") for number in range(60)]

        async def ask(client: Any) -> Any:
            first = await client.list_resources()
            rest = await client.list_resources(cursor=first.next_cursor)
            templates = await client.list_resource_templates()
            read = await client.read_resource(f"{URI}{made[0].pk}")
            return first, rest, templates, read

        for mode in (LEGACY, MODERN):
            with self.subTest(mode):
                first, rest, templates, read = with_client(self.service.url, self.carol.headers, ask, mode=mode)
                uris = [str(each.uri) for each in (*first.resources, *rest.resources)]
                self.assertEqual(sorted(uris), sorted(f"{URI}{each.pk}" for each in made))
                self.assertEqual((len(first.resources), rest.next_cursor), (50, None))
                self.assertEqual([each.uri_template for each in templates.resource_templates], [f"{URI}{{id}}"])
                [content] = read.contents
                self.assertIn("hello 0", content.text)
                self.assertIn(f"{self.service.url}/#{made[0].pk}", content.text)
