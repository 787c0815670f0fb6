"""Conversations by the official client: made, filled, read by items, found, deleted, and never somebody else's."""

from __future__ import annotations

import asyncio
import base64
import uuid
from typing import Any

import httpx2
import openai

from chatservice.dialects.openai_v1.tests.documented import problems_of
from chatservice.testing import ApiUser, ServiceTestCase, wait_until
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from conversations.models import Conversation, Message
from conversations.services import edit_message

PATH = "/v1/conversations"
CALL: Any = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'}
RESULT: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
THOUGHT: Any = {"type": "reasoning", "id": "rs_theirs", "summary": [{"type": "summary_text", "text": "Hm."}]}
PICTURE: Any = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
SEARCHED: Any = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "whales"}}
# What must be refused as the content of a message, and as items.
CONTENTS: tuple[Any, ...] = (None, 5, [], ["x"], [{}], [{"type": "input_text"}])
WRONG: tuple[Any, ...] = (
    *("x", 5, {}, ["x"], [None], [5], [{"type": 5}], [{"type": "message"}], [{"role": "user"}], [{"role": 5}]),
    *([{"role": "user", "content": content}] for content in CONTENTS),
    [{"role": "nobody", "content": "x"}],
    [{"role": "user", "content": "x"}] * 21,
    [{"type": "function_call", "name": "f"}],
    [{"type": "function_call_output", "output": "x"}],
    [{"type": "reasoning", "summary": "x"}],
    [{"type": "item_reference", "id": "msg_x"}],
    [{"type": "item_reference", "id": f"msg_{uuid.uuid4().hex}"}],
    [{"type": "compaction_trigger"}],
    [{"role": "user", "content": "x" * 262_145}],
)


def said(text: str, role: str = "user") -> Any:
    return {"type": "message", "role": role, "content": text}


class ConversationsTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.openai = self.client_of(self.alice)
        self.conversations = self.openai.conversations

    def client_of(self, api_user: ApiUser) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=api_user.secret, max_retries=0)
        self.addCleanup(client.close)
        return client

    def texts(self, conversation: str, **query: Any) -> list[str]:
        """Return what each item says: its text, its arguments, its output, or its type."""
        return [text_of(item.to_dict()) for item in self.conversations.items.list(conversation, **query)]

    def ask(self, text: str, conversation: str = "", model: str = "fake/ok") -> str:
        """Ask through another API; return the id of the conversation."""
        path = f"{conversation}/message" if conversation else "start"
        body = {"message": text, "model": model} | ({} if conversation else {"user_id": "1"})
        response = self.alice.http.post(f"/conversations/{path}", json=body)
        self.assertEqual(response.status_code, 200, response.text)
        return conversation or str(response.json()["conversation_id"])

    def get(self, rest: str) -> httpx2.Response:
        response = self.alice.http.get(f"{PATH}{rest}")
        if response.status_code == 200:
            self.assertEqual(list(problems_of(response)), [])
        return response

    def assert_refused(self, reply: httpx2.Response, status: int, param: str | None = None) -> None:
        self.assertEqual(reply.status_code, status, reply.text[:500])
        error = reply.json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        if param is not None:
            self.assertEqual(str(error["param"]).partition("[")[0], param, reply.text)

    # --- the conversation

    def test_a_conversation_is_created_read_labelled_and_deleted(self) -> None:
        made = self.conversations.create(metadata={"topic": "whales"}, items=[said("Hello"), said("Hi", "assistant")])
        self.assertRegex(made.id, r"\Aconv_[0-9a-f]{32}\Z")
        self.assertEqual((made.object, made.metadata), ("conversation", {"topic": "whales"}))
        self.assertEqual(self.conversations.retrieve(made.id), made)
        self.assertEqual(self.texts(made.id, order="asc"), ["Hello", "Hi"])
        changed = self.conversations.update(made.id, metadata={"topic": "dolphins"})
        self.assertEqual((changed.id, changed.metadata), (made.id, {"topic": "dolphins"}))
        stored = Conversation.objects.get(pk=made.id.removeprefix("conv_"))
        self.assertEqual((stored.owner_id, stored.title), (self.alice.user.pk, "Hello"))
        self.assertFalse(stored.title_is_provisional, "a model may title it")
        deleted = self.conversations.delete(made.id)
        self.assertEqual(deleted.to_dict(), {"id": made.id, "object": "conversation.deleted", "deleted": True})
        self.assertFalse(Message.objects.filter(conversation_id=stored.pk).exists())
        for call in (self.conversations.retrieve, self.conversations.delete, self.conversations.items.list):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)

    def test_an_empty_one_is_documented_and_has_no_items(self) -> None:
        made = self.conversations.create()
        self.assertEqual((made.metadata, self.texts(made.id)), ({}, []))
        self.assertEqual(self.get(f"/{made.id}/items").json()["has_more"], False)
        self.get(f"/{made.id}")

    def test_deleting_stops_an_answer_that_is_being_written(self) -> None:
        stream = self.openai.chat.completions.create(model="fake/slow:30ms", messages=[said("Go on")], stream=True)
        next(iter(stream))
        run = Run.objects.filter(user=self.alice.user).latest("id")
        assert run.conversation_id is not None
        self.assertTrue(self.conversations.delete(f"conv_{run.conversation_id.hex}").deleted)
        self.assertFalse(Run.objects.filter(pk=run.pk).exists())
        stream.close()

    # --- items

    def test_items_of_every_kind_come_back(self) -> None:
        made = self.conversations.create()
        question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look"}, PICTURE]}
        given: list[Any] = [
            said("Be brief", "developer"),
            question,
            THOUGHT,
            said("Let me see", "assistant"),
            CALL,
            RESULT,
        ]
        added = self.conversations.items.create(made.id, items=[*given, SEARCHED])
        kinds = ["message", "message", "reasoning", "message", "function_call", "function_call_output"]
        self.assertEqual([item.type for item in added.data], [*kinds, "web_search_call"])
        self.assertEqual((added.first_id, added.last_id), (added.data[0].id, added.data[-1].id))
        for item in added.data:
            again = self.conversations.items.retrieve(str(item.id), conversation_id=made.id)
            self.assertEqual(again.to_dict(), item.to_dict())
        shown: list[Any] = [item.to_dict() for item in self.conversations.items.list(made.id, order="asc", limit=2)]
        self.assertEqual(shown, [item.to_dict() for item in added.data])
        picture = shown[1]["content"][1]
        self.assertEqual((picture["image_url"], picture["detail"]), (None, "low"))
        self.assertTrue(
            PICTURE["image_url"].endswith(
                base64.b64encode(self.openai.files.content(picture["file_id"]).content).decode()
            )
        )
        self.assertEqual(shown[2]["id"], "rs_theirs")
        self.assertEqual(self.openai.chat.completions.list().data, [], "nobody generated them")

    def test_reasoning_is_sent_encrypted_only_if_it_is_included(self) -> None:
        made = self.conversations.create(items=[THOUGHT | {"encrypted_content": "gAAA"}])
        [plain] = self.conversations.items.list(made.id)
        [whole] = self.conversations.items.list(made.id, include=["reasoning.encrypted_content"])
        self.assertEqual((plain.to_dict()["encrypted_content"], whole.to_dict()["encrypted_content"]), (None, "gAAA"))

    def test_the_items_are_paged_also_within_a_message(self) -> None:
        turns = [said("One"), THOUGHT, said("Two", "assistant"), CALL, RESULT, said("Three")]
        made = self.conversations.create(items=turns)
        told = ["One", "reasoning", "Two", CALL["arguments"], "sunny", "Three"]
        for limit in (1, 2, 3, 100):
            self.assertEqual(self.texts(made.id, order="asc", limit=limit), told)
            self.assertEqual(self.texts(made.id, limit=limit), told[::-1])
        page = self.get(f"/{made.id}/items?limit=2").json()
        self.assertEqual((len(page["data"]), page["has_more"]), (2, True))
        last = self.get(f"/{made.id}/items?limit=2&after={page['last_id']}&order=desc").json()
        self.assertEqual([text_of(item) for item in last["data"]], [CALL["arguments"], "Two"])

    def test_what_other_apis_made_is_there_and_goes_on(self) -> None:
        talk = self.ask("Hello")
        name = f"conv_{uuid.UUID(talk).hex}"
        self.assertEqual(self.texts(name, order="asc"), ["Hello", TEXT])
        self.conversations.items.create(name, items=[said("A note")])
        self.ask("And then?", talk)
        self.assertEqual(self.texts(name, order="asc"), ["Hello", TEXT, "A note", "And then?", TEXT])
        self.assertEqual(
            [wire["content"] for wire in self.upstream.posts[-1].body["messages"]],
            ["Hello", TEXT, "A note", "And then?"],
        )
        shown = self.alice.http.get(f"/conversations/{talk}/messages").json()
        self.assertEqual([each["content"] for each in shown], ["Hello", TEXT, "A note", "And then?", TEXT])

    def test_only_the_shown_branch_is_listed(self) -> None:
        made = self.conversations.create(items=[said("One"), said("Two", "assistant")])
        first = Message.objects.get(conversation__owner=self.alice.user, content="One")
        edit_message(message=first, content="Another")
        self.assertEqual(self.texts(made.id), ["Another"])
        hidden = self.conversations.items.retrieve(f"msg_{first.pk.hex}", conversation_id=made.id)
        self.assertEqual(text_of(hidden.to_dict()), "One")
        self.assert_refused(self.get(f"/{made.id}/items?after=msg_{first.pk.hex}"), 400, "after")

    def test_a_cut_answer_is_incomplete_and_one_that_says_nothing_is_not_there(self) -> None:
        talk = self.ask("Cut", model="fake/reasoning-only")
        items = self.get(f"/conv_{uuid.UUID(talk).hex}/items?order=asc").json()["data"]
        self.assertEqual([item["type"] for item in items], ["message", "reasoning"])
        with self.assertRaises(openai.APIStatusError):
            self.openai.chat.completions.create(model="fake/http-500", messages=[said("Fail")])
        failed = Run.objects.filter(user=self.alice.user).latest("id")
        assert failed.conversation_id is not None
        self.assertEqual(self.texts(f"conv_{failed.conversation_id.hex}"), ["Fail"])

    def test_an_item_is_deleted_with_its_message_and_what_follows_stays(self) -> None:
        made = self.conversations.create(items=[said("One"), THOUGHT, said("Two", "assistant"), said("Three")])
        items = list(self.conversations.items.list(made.id, order="asc"))
        kept = self.conversations.items.delete(str(items[2].id), conversation_id=made.id)
        self.assertEqual((kept.id, kept.object), (made.id, "conversation"))
        self.assertEqual(self.texts(made.id, order="asc"), ["One", "Three"])
        for item in (items[1], items[2]):
            with self.assertRaises(openai.NotFoundError):
                self.conversations.items.retrieve(str(item.id), conversation_id=made.id)
        talk = self.ask("Hello")
        name = f"conv_{uuid.UUID(talk).hex}"
        run = Run.objects.get(user=self.alice.user)
        assert run.message_id is not None
        self.conversations.items.delete(f"msg_{run.message_id.hex}", conversation_id=name)
        self.assertEqual((self.texts(name), Run.objects.filter(pk=run.pk).exists()), (["Hello"], False))

    def test_an_item_is_stored_again_by_reference(self) -> None:
        made = self.conversations.create(items=[said("Once")])
        [item] = self.conversations.items.list(made.id)
        other = self.conversations.create(items=[{"type": "item_reference", "id": str(item.id)}])
        self.assertEqual(self.texts(other.id), ["Once"])

    def test_the_async_client_is_served_as_well(self) -> None:
        async def talk() -> list[str]:
            url = f"{self.service.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=self.alice.secret, max_retries=0) as client:
                made = await client.conversations.create(items=[said("One"), said("Two")])
                await client.conversations.items.create(made.id, items=[said("Three")])
                found = [text_of(item.to_dict()) async for item in client.conversations.items.list(made.id, limit=2)]
                await client.conversations.delete(made.id)
                return found

        self.assertEqual(asyncio.run(talk()), ["Three", "Two", "One"])

    # --- lists and search

    def test_all_conversations_are_listed_newest_first(self) -> None:
        made = [self.conversations.create(items=[said(f"Talk {number}")]).id for number in range(5)]
        self.conversations.items.create(made[0], items=[said("More")])
        order = [made[0], *made[:0:-1]]
        seen, after = [], ""
        while True:
            page = self.get(f"?limit=2{f'&after={after}' if after else ''}").json()
            seen += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            after = page["last_id"]
        self.assertEqual(seen, order)
        self.assertEqual([each["id"] for each in self.get("?order=asc").json()["data"]], order[::-1])
        first = self.get("?limit=1").json()["data"][0]
        self.assertEqual((first["object"], first["title"]), ("conversation", "Talk 0"))
        self.assertEqual(self.bob.http.get(PATH).json()["data"], [])
        self.assert_refused(self.bob.http.get(f"{PATH}?after={made[0]}"), 400, "after")
        self.assert_refused(self.get(f"?after=conv_{uuid.uuid4().hex}"), 400, "after")

    def test_a_search_finds_items(self) -> None:
        made = self.conversations.create(items=[said("The zebra sleeps"), THOUGHT, said("Zebra, indeed", "assistant")])
        other = self.conversations.create(items=[said("Another zebra")])
        found = wait_until(lambda: self.found("zebra", 3), what="the index")
        self.assertEqual({each["conversation_id"] for each in found}, {made.id, other.id})
        for each in found:
            self.assertEqual(each["type"], "message")
            self.assertGreater(each["score"], 0)
            whole = self.conversations.items.retrieve(each["id"], conversation_id=each["conversation_id"]).to_dict()
            self.assertEqual(text_of(whole), text_of(each))
        first = self.get("?query=zebra&mode=text&limit=2").json()
        second = self.get(f"?query=zebra&mode=text&limit=2&cursor={first['next_cursor']}").json()
        self.assertEqual((first["has_more"], second["has_more"], second["next_cursor"]), (True, False, None))
        self.assertEqual({each["id"] for each in first["data"] + second["data"]}, {each["id"] for each in found})
        inside = self.get(f"?query=zebra&mode=text&conversation_id={other.id}").json()["data"]
        self.assertEqual([text_of(each) for each in inside], ["Another zebra"])
        self.assertEqual(self.bob.http.get(f"{PATH}?query=zebra&mode=text").json()["data"], [])

    def found(self, text: str, number: int) -> list[Any]:
        data: list[Any] = self.get(f"?query={text}&mode=text").json()["data"]
        return data if len(data) == number else []

    # --- refusals

    def test_wrong_items_are_refused_and_nothing_is_stored(self) -> None:
        made = self.conversations.create(items=[said("Kept")])
        stored = Conversation.objects.filter(owner=self.alice.user).count()
        for wrong in WRONG:
            with self.subTest(str(wrong)[:80]):
                self.assert_refused(self.alice.http.post(PATH, json={"items": wrong}), 400)
                self.assert_refused(self.alice.http.post(f"{PATH}/{made.id}/items", json={"items": wrong}), 400)
        mixed = {"items": [said("Not kept"), {"role": "user"}]}
        self.assert_refused(self.alice.http.post(f"{PATH}/{made.id}/items", json=mixed), 400, "items")
        self.assert_refused(self.alice.http.post(f"{PATH}/{made.id}/items", json={}), 400, "items")
        for body in ({"metadata": "x"}, {"metadata": {"a": 1}}, {"metadata": {"k" * 65: ""}}):
            self.assert_refused(self.alice.http.post(PATH, json=body), 400, "metadata")
            self.assert_refused(self.alice.http.post(f"{PATH}/{made.id}", json=body), 400, "metadata")
        self.assert_refused(self.alice.http.post(f"{PATH}/{made.id}", json={}), 400, "metadata")
        self.assertEqual(self.texts(made.id), ["Kept"])
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), stored)

    def test_bad_queries_are_refused(self) -> None:
        made = self.conversations.create(items=[said("Hello")])
        for query, param in (
            *((f"limit={value}", "limit") for value in ("0", "101", "-1", "x", "", "1.5", "٣", "9" * 99)),
            *((f"order={value}", "order") for value in ("", "ASC", "id")),
            *((f"after={value}", "after") for value in ("x", "conv_", "%00", f"msg_{'0' * 32}", f"msg_{'0' * 32}_1")),
        ):
            for path in ("", f"/{made.id}/items"):
                with self.subTest(f"{path} {query}"[:60]):
                    self.assert_refused(self.get(f"{path}?{query}"), 400, param)
        for query in ("include=x", "include[]=x", "include=owner&include=reasoning.encrypted_content"):
            self.assert_refused(self.get(f"/{made.id}/items?{query}"), 400, "include")
        for query, param in (
            *(("query=", "query"), ("query=%00", "query"), ("query=" + "x" * 1001, "query")),
            *(("query=x&mode=y", "mode"), ("query=x&conversation_id=conv_x", "conversation_id")),
        ):
            self.assert_refused(self.get(f"?{query}"), 400, param)
        self.assert_refused(self.get("?query=x&cursor=y"), 400)

    def test_bob_finds_nothing_of_alices(self) -> None:
        made = self.conversations.create(items=[said("Mine")])
        [item] = self.conversations.items.list(made.id)
        bob = self.client_of(self.bob).conversations
        his = bob.create()
        for call in (
            lambda: bob.retrieve(made.id),
            lambda: bob.update(made.id, metadata={"a": "b"}),
            lambda: bob.delete(made.id),
            lambda: bob.items.list(made.id),
            lambda: bob.items.create(made.id, items=[said("His")]),
            lambda: bob.items.retrieve(str(item.id), conversation_id=made.id),
            lambda: bob.items.delete(str(item.id), conversation_id=made.id),
            lambda: bob.items.retrieve(str(item.id), conversation_id=his.id),
            lambda: bob.items.delete(str(item.id), conversation_id=his.id),
        ):
            with self.assertRaises(openai.NotFoundError):
                call()
        with self.assertRaises(openai.BadRequestError):
            bob.items.create(his.id, items=[{"type": "item_reference", "id": str(item.id)}])
        self.assertEqual(self.texts(made.id), ["Mine"])


def text_of(item: dict[str, Any]) -> str:
    match item["type"]:
        case "message":
            return "".join(part.get("text", "") for part in item["content"])
        case "function_call":
            return str(item["arguments"])
        case "function_call_output":
            return str(item["output"])
    return str(item["type"])
