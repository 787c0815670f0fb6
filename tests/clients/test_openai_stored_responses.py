"""OpenAI's Python library reads, follows, cancels, counts, compacts and deletes responses."""

from __future__ import annotations

from typing import Any

import openai

from chatservice.testing import needs_dialect, tried_once, wait_until
from tests.clients.case import MODEL
from tests.clients.openai_case import ESSAY, MODEL_SLOW, OpenAITestCase

needs_dialect("openai_v1")

UNKNOWN = "resp_0123456789abcdef0123456789abcdef"


@tried_once
class StoredResponsesTest(OpenAITestCase):
    def finished(self, response: Any) -> Any:
        def found() -> Any:
            now = self.responses.retrieve(response.id)
            return now if now.status not in ("queued", "in_progress") else None

        answer = wait_until(found, what="the end of the response")
        return self.checked(answer)

    def test_a_response_is_read_again(self):
        made = self.create("What is 17 * 3?", metadata={"purpose": "sums"})
        self.assertEqual(self.checked(self.responses.retrieve(made.id)).to_dict(), made.to_dict())

    def test_a_response_that_was_not_to_be_stored_is_not(self):
        made = self.create("What is 17 * 3?", store=False)
        self.assertIs(made.store, False)
        with self.assertRaises(openai.NotFoundError):
            self.responses.retrieve(made.id)

    def test_only_its_owner_has_it(self):
        made = self.create("What is 17 * 3?")
        bob: Any = self.client_of(self.bob).responses
        for call in (bob.retrieve, bob.delete, bob.cancel, lambda it: list(bob.input_items.list(it))):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)
            with self.assertRaises(openai.NotFoundError):
                call(UNKNOWN)
        self.assertEqual(self.responses.retrieve(made.id).output_text, "51")

    def test_a_deleted_response_is_gone(self):
        made = self.create("What is 17 * 3?")
        self.responses.delete(made.id)
        for call in (self.responses.retrieve, self.responses.delete):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)

    def test_what_was_asked_is_listed_in_pages(self):
        given = [{"role": "user", "content": f"Number {n}"} for n in range(5)]
        made = self.create(given)

        def texts(**fields: Any) -> list[str]:
            return [item.content[0].text for item in self.responses.input_items.list(made.id, **fields)]

        asked = [each["content"] for each in given]
        self.assertEqual(texts(order="asc"), asked)
        self.assertEqual(texts(order="asc", limit=2), asked)
        self.assertEqual(texts(limit=2), asked[::-1])
        page = self.responses.input_items.list(made.id, limit=2, order="asc")
        self.assertTrue(page.has_more)
        self.assertEqual(len(page.data), 2)
        after = self.responses.input_items.list(made.id, after=page.data[1].id, order="asc")
        self.assertEqual([item.content[0].text for item in after.data], asked[2:])

    def test_what_a_response_goes_on_from_is_not_its_input(self):
        first = self.create("My name is Ada.")
        second = self.create("What is my name?", previous_response_id=first.id)
        items = list(self.responses.input_items.list(second.id, order="asc"))
        self.assertEqual([item.role for item in items], ["user"])

    def test_a_background_response_is_made_without_its_client(self):
        made = self.checked(self.responses.create(model=MODEL, input="Count to 9.", background=True))
        self.assertIn(made.status, ("queued", "in_progress"))
        self.assertIs(made.background, True)
        self.assertEqual(self.finished(made).output_text, "1 2 3 4 5 6 7 8 9")

    def test_a_stream_goes_on_where_it_was_left(self):
        with self.responses.create(model=MODEL_SLOW, input="Count to 30.", background=True, stream=True) as stream:
            seen = [next(stream) for _ in range(12)]
        identity = seen[0].response.id
        rest = self.checked_events(self.responses.retrieve(identity, stream=True, starting_after=11))
        self.assertEqual([each.sequence_number for each in rest], list(range(12, 12 + len(rest))))
        self.assertEqual(rest[-1].type, "response.completed")
        whole = self.checked_events(self.responses.retrieve(identity, stream=True))
        self.assertEqual([each.to_dict() for each in whole[:12]], [each.to_dict() for each in seen])
        self.assertEqual([each.to_dict() for each in whole[12:]], [each.to_dict() for each in rest])
        said = "".join(each.delta for each in whole if each.type == "response.output_text.delta")
        self.assertEqual(said, " ".join(map(str, range(1, 31))))

    def test_the_librarys_stream_goes_on_with_a_response(self):
        made = self.responses.create(model=MODEL, input="Count to 9.", background=True)
        with self.responses.stream(response_id=made.id) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output_text, "1 2 3 4 5 6 7 8 9")

    def test_a_background_response_is_cancelled(self):
        made = self.responses.create(model=MODEL_SLOW, input=ESSAY, background=True)
        self.assertIn(self.checked(self.responses.cancel(made.id)).status, ("cancelled", "in_progress"))
        self.assertEqual(self.finished(made).status, "cancelled")
        self.assertEqual(self.responses.cancel(made.id).status, "cancelled")

    def test_only_a_background_response_is_cancelled(self):
        made = self.create("What is 17 * 3?")
        with self.assertRaises(openai.BadRequestError):
            self.responses.cancel(made.id)

    def test_tokens_are_counted_before_they_are_paid_for(self):
        short = self.checked(self.responses.input_tokens.count(model=MODEL, input="What is 17 * 3?"))
        long = self.responses.input_tokens.count(model=MODEL, input=ESSAY * 20, instructions="Be brief.")
        self.assertEqual(short.object, "response.input_tokens")
        self.assertGreater(short.input_tokens, 0)
        self.assertGreater(long.input_tokens, short.input_tokens * 5)

    def test_a_conversation_is_compacted_and_goes_on(self):
        given: list[Any] = [
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello, Ada."},
        ]
        compacted = self.checked(self.responses.compact(model=MODEL, input=given))
        self.assertEqual(compacted.object, "response.compaction")
        self.assertEqual([item.type for item in compacted.output if item.type != "message"], ["compaction"])
        items = [item.to_dict() for item in compacted.output]
        answer = self.create([*items, {"role": "user", "content": "What is 17 * 3?"}])
        self.assertEqual(answer.output_text, "51")
        first = self.create("My name is Ada.")
        by_id = self.responses.compact(model=MODEL, previous_response_id=first.id)
        self.assertEqual(by_id.output[-1].type, "compaction")
        with self.assertRaises(openai.BadRequestError):
            self.openai.post("/responses/compact", body={"input": "Hi"}, cast_to=object)
