"""Stored chat completions by the official client: listed, read, labelled, deleted, and never somebody else's."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletion

from chatservice.dialects.openai_v1.tests.documented import problems_of
from chatservice.testing import ApiUser, ServiceTestCase, wait_until
from completions.models import Run, RunMetadata
from completions.tests.upstream_wire import TEXT
from conversations.models import Conversation, Message
from search.models import Entry, Passage

ASKED: list[Any] = [{"role": "user", "content": "Hi"}]
PATH = "/v1/chat/completions"
# What must be refused as metadata.
WRONG: tuple[Any, ...] = (
    *("x", 5, [], ["a"], {"a": 1}, {"a": None}, {"a": ["b"]}, {"a": {"b": "c"}}, {"k" * 65: "v"}, {"k": "v" * 513}),
    {str(number): "v" for number in range(17)},
)


class StoredCompletionsTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.openai = self.client_of(self.alice)

    def client_of(self, api_user: ApiUser) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=api_user.secret, max_retries=0)
        self.addCleanup(client.close)
        return client

    def ask(self, *said: Any, behaviour: str = "ok", **fields: Any) -> ChatCompletion:
        messages: list[Any] = [{"role": "user", "content": each} if isinstance(each, str) else each for each in said]
        created: ChatCompletion = self.openai.chat.completions.create(
            model=f"fake/{behaviour}", messages=messages or ASKED, **fields
        )
        return created

    def ids(self, **query: Any) -> list[str]:
        return [completion.id for completion in self.openai.chat.completions.list(**query)]

    def run_of(self, completion: ChatCompletion) -> Run:
        return Run.objects.select_related("message").get(pk=completion.id.removeprefix("chatcmpl-"))

    # --- reading

    def test_what_was_created_is_retrieved_by_its_id(self) -> None:
        for behaviour, fields in (
            ("ok", {}),
            ("tools", {"tools": [{"type": "function", "function": {"name": "weather"}}]}),
            ("refusal", {}),
            ("reasoning", {}),
            ("logprobs", {"logprobs": True}),
            ("n2", {"n": 2}),
            ("nothing:length:\n\n", {}),
        ):
            with self.subTest(behaviour):
                created = self.ask(behaviour=behaviour, metadata={"topic": behaviour}, **fields)
                again = self.openai.chat.completions.retrieve(created.id)
                self.assertEqual(again.object, "chat.completion")
                self.assertEqual(
                    again.to_dict(exclude_none=True), {**created.to_dict(exclude_none=True), "metadata": again.metadata}
                )
                self.assertEqual(again.metadata, {"topic": behaviour})
                self.get(f"/{created.id}")

    def test_a_streamed_answer_is_retrieved_by_the_id_of_its_chunks(self) -> None:
        chunks = list(self.openai.chat.completions.create(model="fake/n2", messages=ASKED, n=2, stream=True))
        [name] = {chunk.id for chunk in chunks}
        again = self.openai.chat.completions.retrieve(name)
        self.assertEqual([(each.index, each.message.content) for each in again.choices], [(0, TEXT), (1, TEXT)])

    def test_an_unstored_answer_keeps_the_upstreams_id_and_is_not_here(self) -> None:
        created = self.ask(store=False)
        self.assertEqual(created.id, "chatcmpl-1")
        streamed = self.openai.chat.completions.create(model="fake/ok", messages=ASKED, store=False, stream=True)
        self.assertEqual({chunk.id for chunk in streamed}, {"chatcmpl-1"})
        self.assertEqual(self.ids(), [])
        run = Run.objects.filter(user=self.alice.user).latest("id")
        with self.assertRaises(openai.NotFoundError):
            self.openai.chat.completions.retrieve(f"chatcmpl-{run.pk.hex}")

    def test_answers_that_other_apis_asked_for_are_here(self) -> None:
        sent = self.alice.http.post("/conversations/start", json={"user_id": "1", "message": "Hello"})
        [completion] = self.openai.chat.completions.list()
        self.assertEqual(completion.choices[0].message.content, sent.json()["reply"])
        [message] = self.openai.chat.completions.messages.list(completion.id)
        self.assertEqual((message.role, message.content), ("user", "Hello"))

    def test_what_failed_is_not_listed(self) -> None:
        with self.assertRaises(openai.APIStatusError):
            self.ask(behaviour="http-500")
        kept = self.ask()
        self.assertEqual(self.ids(), [kept.id])

    def test_the_list_is_paged_in_both_directions(self) -> None:
        made = [self.ask(f"Question {number}").id for number in range(5)]
        self.assertEqual(self.ids(), made)
        self.assertEqual(self.ids(limit=2), made)
        self.assertEqual(self.ids(limit=2, order="desc"), made[::-1])
        page = self.openai.chat.completions.list(limit=2, after=made[1])
        self.assertEqual(([each.id for each in page.data], page.has_more), (made[2:4], True))
        raw = self.get("?limit=2&order=desc").json()
        self.assertEqual((raw["object"], raw["first_id"], raw["last_id"]), ("list", made[4], made[3]))
        self.openai.chat.completions.delete(made[2])
        self.assertEqual(self.ids(after=made[2]), made[3:], "a deleted one is still a position")
        self.assertEqual(self.get(f"?after={made[4]}").json()["first_id"], "")

    def test_the_list_is_filtered_by_model_and_metadata(self) -> None:
        one = self.ask(metadata={"app": "a", "user": "1"}).id
        two = self.ask(metadata={"app": "a", "user": "2"}).id
        other = self.ask(behaviour="logprobs", metadata={"app": "a", "odd[key]": "ü 🙂"}).id
        bare = self.ask().id
        self.assertEqual(self.ids(), [one, two, other, bare])
        self.assertEqual(self.ids(model="fake/ok"), [one, two, bare])
        self.assertEqual(self.ids(model="fake/nothing-such"), [])
        self.assertEqual(self.ids(metadata={"app": "a"}), [one, two, other])
        self.assertEqual(self.ids(metadata={"app": "a"}, order="desc", limit=1), [other, two, one])
        self.assertEqual(self.ids(metadata={"app": "a", "user": "2"}), [two])
        self.assertEqual(self.ids(metadata={"app": "a"}, model="fake/logprobs"), [other])
        self.assertEqual(self.ids(metadata={"odd[key]": "ü 🙂"}), [other])
        self.assertEqual(self.ids(metadata={"user": "a"}), [])

    def test_the_messages_are_those_that_were_answered(self) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        asked: list[Any] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture], "name": "zoe"},
        ]
        first = self.ask(*asked)
        second = self.ask(*asked, {"role": "assistant", "content": TEXT}, "And then?")
        messages = list(self.openai.chat.completions.messages.list(first.id, limit=1))
        self.assertEqual([each.role for each in messages], ["system", "user"])
        self.assertEqual((messages[0].content, messages[0].content_parts), ("Be brief.", None))
        self.assertEqual(messages[1].content, "What is this?")
        parts = [part.to_dict() for part in messages[1].content_parts or ()]
        self.assertEqual(parts[0], asked[1]["content"][0])
        shown: Any = parts[1]["image_url"]
        content = self.alice.http.get(shown["url"]).content
        self.assertEqual(content, base64.b64decode("iVBORw0KGgo="))
        self.assertEqual(self.openai.files.content(shown["file_id"]).content, content)
        self.get(f"/{first.id}/messages")
        later = list(self.openai.chat.completions.messages.list(second.id, order="desc", limit=3))
        self.assertEqual([each.content for each in later], ["And then?", TEXT, "What is this?", "Be brief."])
        self.assertEqual(later[2].id, messages[1].id)
        strange = self.get(f"/{first.id}/messages?after={later[0].id}")
        self.assert_refused(strange, 400, "after")

    def test_the_async_client_is_served_as_well(self) -> None:
        made = [self.ask(f"Question {number}").id for number in range(3)]

        async def read() -> list[str]:
            url = f"{self.service.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=self.alice.secret, max_retries=0) as client:
                found = [each.id async for each in client.chat.completions.list(limit=2)]
                messages = [each.content async for each in client.chat.completions.messages.list(found[0])]
                return [*found, *(str(text) for text in messages)]

        self.assertEqual(asyncio.run(read()), [*made, "Question 0"])

    # --- metadata

    def test_metadata_is_replaced_and_found_by(self) -> None:
        made = self.ask(metadata={"a": "1", "b": "2"}).id
        changed = self.openai.chat.completions.update(made, metadata={"b": "3", "c": ""})
        self.assertEqual((changed.id, changed.metadata), (made, {"b": "3", "c": ""}))
        self.assertEqual(self.openai.chat.completions.retrieve(made).metadata, {"b": "3", "c": ""})
        self.assertEqual((self.ids(metadata={"b": "3"}), self.ids(metadata={"b": "2"})), ([made], []))
        self.assertEqual(self.ids(metadata={"a": "1"}), [])
        self.assertEqual(self.openai.chat.completions.update(made, metadata=None).metadata, {})
        self.assertEqual(RunMetadata.objects.filter(user_id=self.alice.user.pk).count(), 0)

    def test_the_most_metadata_is_kept_whatever_else_the_call_says(self) -> None:
        most = {f"{number:064}": "ü" * 512 for number in range(16)}
        schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"description": "x" * 5_000}}}
        made = self.ask(metadata=most, response_format=schema)
        self.assertEqual(self.openai.chat.completions.retrieve(made.id).metadata, most)
        self.assertEqual(self.ids(metadata=dict(list(most.items())[:1])), [made.id])
        self.assertNotIn("response_format", self.run_of(made).parameters)

    def test_wrong_metadata_is_refused_and_changes_nothing(self) -> None:
        made = self.ask(metadata={"a": "1"}).id
        for wrong in WRONG:
            with self.subTest(str(wrong)[:80]):
                reply = self.alice.http.post(f"{PATH}/{made}", json={"metadata": wrong})
                self.assert_refused(reply, 400, "metadata")
        self.assert_refused(self.alice.http.post(f"{PATH}/{made}", json={}), 400, "metadata")
        self.assert_refused(self.alice.http.post(f"{PATH}/{made}", json={"metadata": {"a\x00": "b"}}), 400, None)
        self.assertEqual(self.openai.chat.completions.retrieve(made).metadata, {"a": "1"})

    # --- deletion

    def test_deleting_the_only_answer_deletes_everything(self) -> None:
        made = self.ask("A zebra", metadata={"a": "1"})
        run = self.run_of(made)
        ids = list(Message.objects.filter(conversation=run.conversation_id).values_list("pk", flat=True))
        indexed = Entry.objects.filter(message_id__in=ids)
        wait_until(lambda: indexed.count() == len(ids), what="the index")
        vectors = Passage.objects.filter(entry_id__in=list(indexed.values_list("pk", flat=True)))
        wait_until(lambda: vectors.count() == len(ids), what="the vectors")
        deleted = self.openai.chat.completions.delete(made.id)
        self.assertEqual(deleted.to_dict(), {"object": "chat.completion.deleted", "id": made.id, "deleted": True})
        self.assertFalse(Run.objects.filter(pk=run.pk).exists() or RunMetadata.objects.filter(run=run.pk).exists())
        self.assertFalse(Message.objects.filter(pk__in=ids).exists())
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())
        wait_until(lambda: not (indexed.exists() or vectors.exists()), what="an index without it")
        for call in (self.openai.chat.completions.retrieve, self.openai.chat.completions.delete):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)
        self.assertEqual(self.alice.http.get("/search", params={"q": "zebra", "mode": "text"}).json(), [])

    def test_what_continues_from_a_deleted_answer_stays(self) -> None:
        first = self.ask("One")
        second = self.ask("One", {"role": "assistant", "content": TEXT}, "Two")
        self.openai.chat.completions.delete(first.id)
        self.assertEqual(self.ids(), [second.id])
        messages = self.openai.chat.completions.messages.list(second.id)
        self.assertEqual([each.content for each in messages], ["One", "Two"])
        self.openai.chat.completions.delete(second.id)
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())

    def test_all_choices_are_deleted_and_other_answers_to_the_question_stay(self) -> None:
        one = self.ask("One")
        both = self.ask("One", {"role": "assistant", "content": TEXT}, "Two", behaviour="n2", n=2)
        again = self.ask("One", {"role": "assistant", "content": TEXT}, "Two")
        conversation = self.run_of(one).conversation_id
        self.openai.chat.completions.delete(both.id)
        self.assertEqual(self.ids(), [one.id, again.id])
        self.assertEqual(Message.objects.filter(conversation=conversation).count(), 4)
        self.openai.chat.completions.delete(again.id)
        head = Conversation.objects.get(owner=self.alice.user).head_id
        self.assertEqual((self.ids(), head), ([one.id], self.run_of(one).message_id))

    def test_a_running_answer_is_refused_and_a_stopped_one_can_go(self) -> None:
        stream = self.openai.chat.completions.create(model="fake/slow:30ms", messages=ASKED, stream=True)
        name = next(iter(stream)).id
        reply = self.alice.http.delete(f"{PATH}/{name}")
        self.assert_refused(reply, 409, None)
        self.assert_refused(self.get(f"/{name}"), 404, "completion_id")
        stream.close()
        run = Run.objects.filter(pk=name.removeprefix("chatcmpl-"))
        wait_until(lambda: run.get().is_over, what="the end of an answer whose client left")
        self.assert_refused(self.get(f"/{name}"), 404, "completion_id")
        self.assertTrue(self.openai.chat.completions.delete(name).deleted)
        self.assertFalse(run.exists())

    # --- refusals

    def test_bob_finds_nothing_of_alices(self) -> None:
        made = self.ask("Mine", metadata={"app": "a"})
        bob = self.client_of(self.bob)
        self.assertEqual(list(bob.chat.completions.list()), [])
        self.assertEqual(list(bob.chat.completions.list(metadata={"app": "a"})), [])
        self.assertEqual(list(bob.chat.completions.list(model="fake/ok", metadata={"app": "a"})), [])
        for call in (
            lambda: bob.chat.completions.retrieve(made.id),
            lambda: bob.chat.completions.update(made.id, metadata={"x": "y"}),
            lambda: bob.chat.completions.delete(made.id),
            lambda: bob.chat.completions.messages.list(made.id),
        ):
            with self.assertRaises(openai.NotFoundError):
                call()
        self.assertEqual(self.openai.chat.completions.retrieve(made.id).metadata, {"app": "a"})

    def test_bad_queries_are_refused(self) -> None:
        for query, param in (
            *((f"limit={value}", "limit") for value in ("0", "101", "-1", "x", "", "1.5", "٣", "9" * 99)),
            *((f"order={value}", "order") for value in ("", "ASC", "id")),
            *((f"after={value}", "after") for value in ("x", "chatcmpl-", "chatcmpl-x", "%00", "resp_" + "0" * 32)),
            ("model=" + "x" * 201, "model"),
            ("model=%00", "model"),
            ("metadata=x", "metadata"),
            ("metadata[a]=%00", "metadata"),
            ("metadata[" + "k" * 65 + "]=v", "metadata"),
            ("&".join(f"metadata[{number}]=v" for number in range(17)), "metadata"),
        ):
            with self.subTest(query[:60]):
                self.assert_refused(self.get(f"?{query}"), 400, param)

    def test_unknown_paths_have_openais_errors(self) -> None:
        for path in ("/x", "/x/messages", "/x/y/z", "/chatcmpl-" + "0" * 32, f"/chatcmpl-{'0' * 32}/messages"):
            with self.subTest(path):
                reply = self.get(path)
                self.assertEqual((reply.status_code, set(reply.json())), (404, {"error"}))
                self.assertEqual(set(reply.json()["error"]), {"message", "type", "param", "code"})

    def get(self, rest: str) -> httpx2.Response:
        response = self.alice.http.get(f"{PATH}{rest}")
        if response.status_code == 200:
            self.assertEqual(list(problems_of(response)), [])
        return response

    def assert_refused(self, reply: httpx2.Response, status: int, param: str | None) -> None:
        self.assertEqual(reply.status_code, status, reply.text)
        self.assertEqual(reply.json()["error"]["param"], param, reply.text)
