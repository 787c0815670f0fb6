"""OpenAI's Python library over its state APIs: a websocket, conversations with items, stored chat completions."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from chatservice.testing import needs_dialect, tried_once
from tests.clients.case import MODEL
from tests.clients.openai_case import ENDS, WEATHER, OpenAITestCase

needs_dialect("openai_v1")

HELLO = {"role": "user", "content": "Hello"}
ADA: dict[str, Any] = {"role": "user", "content": "My name is Ada."}
UNKNOWN = 32 * "0"


@tried_once
class SocketTest(OpenAITestCase):
    def test_responses_over_one_socket(self):
        with self.connected() as connection:
            connection.response.create(model=MODEL, input="My name is Ada.")
            first = self.last_of(connection)
            connection.response.create(model=MODEL, input="What is my name?", previous_response_id=first.id)
            second = self.last_of(connection)
            self.assertEqual(second.output_text, "Ada")
            # What is not stored goes on here alone.
            connection.response.create(
                model=MODEL, input="My dog is Byron.", store=False, previous_response_id=second.id
            )
            kept = self.last_of(connection)
            connection.response.create(model=MODEL, input="What is my dog?", store=False, previous_response_id=kept.id)
            self.assertEqual(self.last_of(connection).output_text, "Byron")
        self.assertEqual(self.responses.retrieve(second.id).to_dict(), second.to_dict())
        with self.assertRaises(openai.NotFoundError):
            self.responses.retrieve(kept.id)

    def test_a_socket_outlives_bad_requests(self):
        with self.connected() as connection:
            connection.response.create(model=MODEL, input="Hi", previous_response_id=f"resp_{UNKNOWN}")
            event = self.checked(connection.recv())
            self.assertEqual((event.type, event.error.code), ("error", "previous_response_not_found"))
            connection.send({"type": "response.create", "model": MODEL, "input": 5})
            self.assertEqual(self.checked(connection.recv()).type, "error")
            connection.response.create(model=MODEL, input="What is 17 * 3?")
            self.assertEqual(self.last_of(connection).output_text, "51")

    def test_handlers_are_called(self):
        with self.connected() as connection:
            deltas: list[str] = []
            connection.on("response.output_text.delta", lambda event: deltas.append(event.delta))
            connection.on("response.completed", lambda event: connection.close())
            connection.response.create(model=MODEL, input="Count to 5.")
            connection.dispatch_events()
        self.assertEqual("".join(deltas), "1 2 3 4 5")

    def test_an_asynchronous_socket(self):
        async def asked() -> list[str]:
            client: Any = openai.AsyncOpenAI(
                base_url=f"{self.service.url}/v1", api_key=self.alice.secret, max_retries=0
            )
            said: list[str] = []
            async with client, client.responses.connect() as connection:
                for question in ("What is 17 * 3?", "What is 2 + 2?"):
                    await connection.response.create(model=MODEL, input=question)
                    async for event in connection:
                        if self.checked(event).type in ENDS:
                            said.append(event.response.output_text)
                            break
            return said

        self.assertEqual(asyncio.run(asked()), ["51", "4"])


@tried_once
class ConversationsTest(OpenAITestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conversations: Any = self.openai.conversations

    def test_a_conversation_from_its_beginning_to_its_end(self):
        made = self.checked(self.conversations.create(items=[ADA], metadata={"topic": "names"}))
        self.assertEqual((made.object, made.metadata), ("conversation", {"topic": "names"}))
        changed = self.checked(self.conversations.update(made.id, metadata={"topic": "people"}))
        self.assertEqual(changed.metadata, {"topic": "people"})
        self.assertEqual(self.checked(self.conversations.retrieve(made.id)).to_dict(), changed.to_dict())
        gone = self.checked(self.conversations.delete(made.id))
        self.assertEqual((gone.id, gone.deleted), (made.id, True))
        for call in (self.conversations.retrieve, self.conversations.delete):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)

    def test_items_are_added_read_and_deleted(self):
        made = self.conversations.create()
        call = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
        result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
        added = self.checked(self.conversations.items.create(made.id, items=[ADA, call, result]))
        kinds = ["message", "function_call", "function_call_output"]
        self.assertEqual([item.type for item in added.data], kinds)
        for limit in (1, 2, 20):
            found = list(self.conversations.items.list(made.id, order="asc", limit=limit))
            self.assertEqual([item.to_dict() for item in found], [item.to_dict() for item in added.data])
        newest = [self.checked(item).type for item in self.conversations.items.list(made.id)]
        self.assertEqual(newest, kinds[::-1])
        one = self.conversations.items.retrieve(added.data[0].id, conversation_id=made.id)
        self.assertEqual(self.checked(one).content[0].text, "My name is Ada.")
        left = self.checked(self.conversations.items.delete(one.id, conversation_id=made.id))
        self.assertEqual(left.id, made.id)
        with self.assertRaises(openai.NotFoundError):
            self.conversations.items.retrieve(one.id, conversation_id=made.id)
        with self.assertRaises(openai.BadRequestError):
            self.conversations.items.create(made.id, items=21 * [ADA])

    def test_responses_go_on_in_a_conversation(self):
        made = self.conversations.create(items=[ADA])
        first = self.create("What is my name?", conversation=made.id)
        self.assertEqual((first.output_text, first.conversation.id), ("Ada", made.id))
        events = self.stream("What is the weather in Paris?", conversation={"id": made.id}, tools=[WEATHER])
        [call] = events[-1].response.output
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        last = self.create([result], conversation=made.id)
        self.assertEqual(last.output_text, "The tools say: rain")
        items = list(self.conversations.items.list(made.id, order="asc"))
        roles = [getattr(item, "role", item.type) for item in items]
        answered = ["user", "user", "assistant", "user", "function_call", "function_call_output", "assistant"]
        self.assertEqual(roles, answered)
        # An item has one id, in the response and in its conversation.
        self.assertEqual(items[2].to_dict(), first.output[0].to_dict())
        self.assertEqual(items[4].id, call.id)
        asked = [item.content[0].text for item in self.responses.input_items.list(first.id)]
        self.assertEqual(asked, ["What is my name?"])
        with self.assertRaises(openai.BadRequestError):
            self.create("Hi", conversation=made.id, previous_response_id=first.id)

    def test_a_response_that_is_not_stored_reads_its_conversation_and_leaves_it(self):
        made = self.conversations.create(items=[ADA])
        self.assertEqual(self.create("What is my name?", conversation=made.id, store=False).output_text, "Ada")
        self.assertEqual(len(list(self.conversations.items.list(made.id))), 1)

    def test_only_their_owner_has_them(self):
        made = self.conversations.create(items=[ADA])
        [item] = self.conversations.items.list(made.id)
        bob: Any = self.client_of(self.bob)
        for call in (
            lambda: bob.conversations.retrieve(made.id),
            lambda: bob.conversations.update(made.id, metadata={}),
            lambda: bob.conversations.delete(made.id),
            lambda: bob.conversations.items.list(made.id),
            lambda: bob.conversations.items.create(made.id, items=[HELLO]),
            lambda: bob.conversations.items.retrieve(item.id, conversation_id=made.id),
            lambda: bob.conversations.items.delete(item.id, conversation_id=made.id),
            lambda: bob.responses.create(model=MODEL, input="What is my name?", conversation=made.id),
        ):
            with self.assertRaises(openai.NotFoundError):
                call()
        self.assertEqual(self.create("What is my name?", conversation=made.id).output_text, "Ada")


@tried_once
class StoredCompletionsTest(OpenAITestCase):
    def setUp(self) -> None:
        super().setUp()
        self.completions: Any = self.openai.chat.completions

    def ask(self, question: str, **fields: Any) -> Any:
        return self.completions.create(model=MODEL, messages=[{"role": "user", "content": question}], **fields)

    def test_a_completion_from_its_beginning_to_its_end(self):
        made = self.ask("What is 17 * 3?", store=True, metadata={"topic": "sums"})
        kept = self.checked(self.completions.retrieve(made.id))
        self.assertEqual((kept.choices[0].message.content, kept.metadata), ("51", {"topic": "sums"}))
        self.assertEqual(kept.usage.to_dict(), made.usage.to_dict())
        changed = self.checked(self.completions.update(made.id, metadata={"topic": "numbers"}))
        self.assertEqual((changed.id, changed.metadata), (made.id, {"topic": "numbers"}))
        gone = self.checked(self.completions.delete(made.id))
        self.assertEqual((gone.id, gone.deleted), (made.id, True))
        for call in (self.completions.retrieve, self.completions.delete, self.completions.messages.list):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)

    def test_they_are_listed_by_what_is_known_of_them(self):
        made = [self.ask(f"What is {n} + 1?", metadata={"odd": str(n % 2), "all": "yes"}).id for n in range(5)]

        def found(**fields: Any) -> list[str]:
            return [self.checked(each).id for each in self.completions.list(**fields)]

        self.assertEqual(found(), made)
        self.assertEqual(found(limit=2, order="desc"), made[::-1])
        self.assertEqual(found(metadata={"odd": "1"}, model=MODEL), made[1::2])
        self.assertEqual(found(metadata={"odd": "1", "all": "no"}), [])
        self.assertEqual(found(model="another"), [])
        page = self.completions.list(limit=2)
        self.assertEqual((page.has_more, [each.id for each in page.data]), (True, made[:2]))
        self.assertEqual(found(after=made[1]), made[2:])
        bob: Any = self.client_of(self.bob).chat.completions
        self.assertEqual(list(bob.list()), [])

    def test_their_messages_are_listed(self):
        told = [{"role": "system", "content": "Be brief."}, ADA, {"role": "assistant", "content": "Hello!"}]
        made = self.completions.create(model=MODEL, messages=[*told, {"role": "user", "content": "What is my name?"}])
        self.assertEqual(made.choices[0].message.content, "Ada")
        asked = ["Be brief.", "My name is Ada.", "Hello!", "What is my name?"]
        for limit in (1, 3, 20):
            # Not checked: the library's type allows answers alone.
            messages = list(self.completions.messages.list(made.id, limit=limit))
            self.assertEqual([each.role for each in messages], ["system", "user", "assistant", "user"])
            self.assertEqual([each.content for each in messages], asked)
        newest = self.completions.messages.list(made.id, order="desc", limit=2)
        self.assertEqual([each.content for each in newest.data], asked[:1:-1])

    def test_a_streamed_one_and_a_response_are_among_them(self):
        streamed = [*self.ask("What is 2 + 2?", stream=True)][0].id
        self.assertEqual(self.completions.retrieve(streamed).choices[0].message.content, "4")
        response = self.create("What is 17 * 3?")
        said = [each.choices[0].message.content for each in self.completions.list()]
        self.assertEqual(said, ["4", "51"])
        self.assertEqual(self.responses.retrieve(response.id).output_text, "51")

    def test_what_was_not_to_be_stored_is_not_listed(self):
        made = self.ask("What is 17 * 3?", store=False)
        self.assertEqual(list(self.completions.list()), [])
        with self.assertRaises(openai.NotFoundError):
            self.completions.retrieve(made.id)
