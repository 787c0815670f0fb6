"""Messages become items of responses and messages again; what Responses can say is the same afterwards."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from chatservice.dialects.openai_v1.item_parsing import messages_from
from chatservice.dialects.openai_v1.items import items_of, message_id_of
from chatservice.dialects.openai_v1.responses.references import References
from chatservice.dialects.openai_v1.responses.request_parsing import read_request
from chatservice.dialects.problems import BadRequest
from conversations import chat_wire

ID = uuid.UUID(int=7)

texts = st.text("ab ö🙂\n", min_size=1, max_size=5)
text_parts = st.builds(lambda text: {"type": "text", "text": text}, texts)
image_parts = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, "detail": detail}},
    st.sampled_from(("https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo=")),
    st.sampled_from(("auto", "low", "high")),
)
file_parts = st.sampled_from(
    (
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ==", "filename": "a.txt"}},
        {"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}},
    )
)
several = st.lists(text_parts | image_parts | file_parts, min_size=2, max_size=3)
calls = st.builds(
    lambda number, name, arguments: {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    st.integers(0, 10**6),
    st.sampled_from(("f", "weather")),
    texts,
) | st.just({"id": "call_x", "type": "custom", "custom": {"name": "shell", "input": "ls"}})
asked = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(("user", "system", "developer")),
    texts | several,
)
results = st.builds(
    lambda content: {"role": "tool", "tool_call_id": "call_1", "content": content},
    texts | st.just("") | st.lists(text_parts, min_size=2, max_size=2),
)
answers = st.builds(lambda content: {"role": "assistant", "content": content}, texts)
called = st.builds(
    lambda content, tool_calls: {"role": "assistant", "content": content, "tool_calls": tool_calls},
    texts | st.none(),
    st.lists(calls, min_size=1, max_size=3),
)
thought = st.builds(
    lambda content, named: {
        "role": "assistant",
        "content": content,
        "reasoning_details": [
            {"type": "reasoning.summary", "id": "rs_1", "summary": "Short"},
            {"type": "reasoning.summary", "id": "rs_1", "summary": "Let me think"},
            {"type": "reasoning.encrypted", "id": "rs_1", "data": "gAAAA"},
            *([{"type": "reasoning.summary", "id": "rs_2", "summary": "Again"}] if named else []),
        ],
    },
    texts,
    st.booleans(),
)
searched = st.just(
    {
        "role": "assistant",
        "content": "Found",
        "response_items": [{"id": "ws_1", "type": "web_search_call", "status": "completed"}],
    }
)
expressible = asked | results | answers | called | thought | searched
junk = st.sampled_from(
    (None, True, 3, 1e30, "", "a", [], {}, [None], ["a", {}], [{"type": "x", "x": {}}], [{"id": [], "type": {}}])
    + ({"type": []}, [{"type": "text", "text": 5}], [{"type": "text"}], [[]], [{"type": "image_url", "image_url": 5}])
    + ([{"function": {"name": 5, "arguments": {}}}], [{"text": 5, "summary": [], "data": {}, "id": {}}])
)
wires = st.dictionaries(
    st.sampled_from(
        ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "audio", "odd")
        + ("reasoning", "reasoning_content", "reasoning_details", "annotations", "response_items")
    ),
    junk | st.sampled_from(("user", "assistant", "tool", "function", "robot")),
)
items = st.dictionaries(
    st.sampled_from(
        ("id", "type", "role", "content", "call_id", "name", "arguments", "input", "output", "summary")
        + ("encrypted_content", "status")
    ),
    junk
    | st.sampled_from(("user", "assistant", "message", "reasoning", "function_call", "function_call_output"))
    | st.sampled_from(("custom_tool_call", "custom_tool_call_output", "compaction", "item_reference", "odd_call")),
)


def items_from(messages: list[Any]) -> list[dict[str, Any]]:
    """Return the items of messages, each with an id of its own."""
    return [item for at, message in enumerate(messages) for item in items_of(message, message_id=uuid.UUID(int=at + 1))]


class ItemsTest(SimpleTestCase):
    def test_a_picture_s_detail_is_one_of_those_that_clients_know(self) -> None:
        for sent, told in (("low", "low"), ("original", "original"), ("AAA", "auto"), (None, "auto"), ([], "auto")):
            part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": sent}}
            [item] = items_of({"role": "user", "content": [part]}, message_id=ID)
            self.assertEqual(item["content"][0]["detail"], told)

    @given(expressible)
    @settings(max_examples=80, deadline=None)
    def test_a_message_is_the_same_after_it_was_items(self, message):
        stored = chat_wire.split(message)
        kept = chat_wire.join(stored.role, stored.author, stored.parts) if stored.parts else message
        self.assertEqual(messages_from(items_of(kept, message_id=ID)), [message])

    @given(st.lists(expressible, max_size=5))
    @settings(max_examples=40, deadline=None)
    def test_a_history_is_the_same_but_for_answers_without_a_question_between(self, history):
        between = [each for message in history for each in ({"role": "user", "content": "And?"}, message)]
        found = items_from(between)
        self.assertEqual(messages_from(found), between)
        self.assertEqual(
            len({item["id"] for item in found if item["type"] != "reasoning"} - {"ws_1"}),
            len([item for item in found if item["type"] not in ("reasoning", "web_search_call")]),
        )
        for item in found:
            if item["type"] not in ("reasoning", "web_search_call"):
                self.assertIsNotNone(message_id_of(item["id"]))

    @given(wires)
    @settings(max_examples=150, deadline=None)
    def test_whatever_is_stored_can_be_shown_and_sent_again_or_is_refused_in_words(self, wire):
        stored = chat_wire.split(wire)
        message = chat_wire.join(stored.role, stored.author, stored.parts) if stored.parts else wire
        found = items_of(message, message_id=ID)
        self.assertTrue(found)
        json.dumps(found)
        try:
            messages_from(found)
        except BadRequest as refused:
            self.assertIn("input[", str(refused.problem.param))

    @given(st.lists(items | junk, max_size=4))
    @settings(max_examples=150, deadline=None)
    def test_hostile_items_are_messages_or_refused_in_words(self, given_items):
        References(given_items)
        try:
            asked_for = read_request({"input": given_items})
            asked_for.only_for_responses()
        except BadRequest as refused:
            self.assertTrue(str(refused.problem.param).startswith("input"), refused.problem)
        else:
            for message in asked_for.messages(
                {each: {"type": "message", "role": "user", "content": "x"} for each in asked_for.references.ids}
            ):
                items_of(message, message_id=ID)

    def test_ids_that_are_not_ours_lead_nowhere(self):
        for named in (
            None,
            5,
            "",
            "msg_",
            "msg_" + "g" * 32,
            f"xx_{ID.hex}",
            f"msg_{ID.hex}_",
            f"msg_{ID.hex}\n",
            f"msg_{ID}",
        ):
            self.assertIsNone(message_id_of(named), named)
        self.assertEqual(message_id_of(f"fc_{ID.hex}_12"), ID)

    def test_what_an_answer_of_chat_completions_cites_is_cited_as_responses_do(self):
        cited = {"url": "https://example.com/", "title": "Example", "start_index": 0, "end_index": 2}
        message = {
            "role": "assistant",
            "content": "Hi",
            "annotations": [{"type": "url_citation", "url_citation": cited}],
        }
        [item] = items_of(message, message_id=ID)
        self.assertEqual(item["content"][0]["annotations"], [{"type": "url_citation", **cited}])
