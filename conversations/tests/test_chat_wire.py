"""Chat messages and their parts come back exactly as they were stored."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.services import register_user
from conversations import chat_wire, digests
from conversations.chat_wire import Part
from conversations.models import Conversation, Message, MessagePart, load_parts
from conversations.services import append_message, start_conversation

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
LONG = st.just("x" * 201)
# No negative zero, because PostgreSQL's JSON has none.
NUMBER = st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9).map(lambda number: number + 0.0)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MORE = st.dictionaries(TEXT | st.sampled_from(["raw", "field", "item", "type", "data"]), JSON, max_size=2)


def objects(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with any of the `known` fields, some of the wrong type, and with unknown fields."""
    fields = st.fixed_dictionaries({}, optional={name: value | JSON for name, value in known.items()})
    return st.tuples(MORE, fields).map(lambda both: {**both[0], **both[1]})


NAMES = TEXT | LONG
FUNCTION = st.fixed_dictionaries({"name": NAMES, "arguments": TEXT}) | objects(name=NAMES, arguments=TEXT)
CALL = st.fixed_dictionaries(
    {"id": NAMES, "type": st.just("function"), "function": FUNCTION}, optional={"index": NUMBER, "extra": JSON}
) | objects(id=NAMES, type=st.sampled_from(["function", "custom"]), function=FUNCTION)
KINDS = ["text", "input_text", "refusal", "image_url", "input_audio", "audio", "file", "video"]
ITEM = (
    objects(type=st.sampled_from(KINDS), text=TEXT, refusal=TEXT, image_url=JSON, file=JSON)
    | st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
    | JSON
)
MESSAGES = objects(
    role=st.sampled_from([*sorted(chat_wire.ROLES), "critic"]),
    content=TEXT | st.none() | st.lists(ITEM, max_size=4),
    name=NAMES,
    refusal=TEXT,
    reasoning=TEXT,
    reasoning_content=TEXT,
    reasoning_details=st.lists(objects(type=TEXT, text=TEXT) | JSON, max_size=3),
    tool_calls=st.lists(CALL | JSON, max_size=3),
    function_call=FUNCTION,
    tool_call_id=NAMES,
    annotations=st.lists(JSON, max_size=2),
    audio=objects(id=TEXT, transcript=TEXT),
)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALLED = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
REPLIES: tuple[dict[str, Any], ...] = (
    {"role": "assistant", "content": "x"},
    {"role": "assistant", "content": None},
    {"role": "assistant"},
    {"role": "assistant", "content": "", "refusal": "No."},
    {"role": "assistant", "content": "No.", "refusal": "No."},
    {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": [CALLED]},
    {"role": "user", "content": []},
    {"role": "user", "content": [{"type": "text", "text": "one"}]},
    {"role": "critic", "content": "hm", "name": ""},
    {"role": 5, "content": 7},
    {},
)


def joined(found: chat_wire.Split) -> dict[str, Any]:
    if found.parts:
        return chat_wire.join(found.role, found.author, found.parts)
    return chat_wire.with_extras(found.role, found.content, found.author, None)


class ChatWireTest(SimpleTestCase):
    @settings(max_examples=400, deadline=None)
    @given(MESSAGES)
    def test_what_came_in_goes_out_equal(self, wire: dict[str, Any]) -> None:
        self.assert_lossless(wire)

    def test_replies_that_differ_little_stay_different(self) -> None:
        for wire in REPLIES:
            with self.subTest(wire):
                self.assert_lossless(wire)

    def assert_lossless(self, wire: dict[str, Any]) -> None:
        found = chat_wire.split(wire)
        self.assertEqual(repr_of(joined(found)), repr_of(wire))
        if "content" in wire and "role" in wire:
            extras = chat_wire.extras_of(wire, role=found.role, content=found.content, author=found.author)
            again = chat_wire.with_extras(found.role, found.content, found.author, extras)
            self.assertEqual(repr_of(again), repr_of(wire))

    def test_roles_and_kinds_are_those_of_the_models(self) -> None:
        self.assertEqual(chat_wire.ROLES, set(Message.Role.values))
        kinds = {part.kind for wire in (*REPLIES, {"content": [IMAGE]}) for part in chat_wire.split(wire).parts}
        self.assertLess(kinds, set(MessagePart.Kind.values))

    def test_one_plain_text_has_no_parts(self) -> None:
        self.assertEqual(chat_wire.split({"role": "user", "content": "Hi", "name": "Al"}), ("user", "Hi", "Al", ()))

    def test_parts_are_typed_and_in_order(self) -> None:
        wire = {
            "role": "assistant",
            "content": [{"type": "text", "text": "See"}, IMAGE, {"type": "text", "text": "this"}],
            "tool_calls": [CALLED],
            "reasoning": "Hm",
            "mood": "good",
        }
        found = chat_wire.split(wire)
        self.assertEqual(found.content, "See\nthis")
        parts = (
            Part("reasoning", "Hm"),
            Part("text", "See", data={"type": "text"}),
            Part("image", data=IMAGE),
            Part("text", "this", data={"type": "text"}),
            Part("tool_call", "{}", "c1", "add"),
            Part("other", data={"fields": {"mood": "good"}}),
        )
        self.assertEqual(found.parts, parts)

    def test_a_tools_result_is_one_part(self) -> None:
        found = chat_wire.split({"role": "tool", "tool_call_id": "c1", "content": "42"})
        self.assertEqual(found, ("tool", "42", "", (Part("tool_result", "42", "c1"),)))

    def test_the_text_of_a_refusal_is_readable(self) -> None:
        item = {"type": "refusal", "refusal": "No."}
        for wire in (REPLIES[3], {**REPLIES[3], "content": None}, {"role": "assistant", "content": [item]}):
            self.assertEqual(chat_wire.split(wire).content, "No.")
        self.assertEqual(chat_wire.split({**REPLIES[3], "content": "Yes."}).content, "Yes.")


class StoredTest(TestCase):
    def setUp(self) -> None:
        self.talk: Conversation = start_conversation(owner_id=register_user(username="alice").pk)

    @settings(max_examples=60, deadline=None)
    @given(MESSAGES.filter(lambda wire: isinstance(wire.get("role"), str) and "content" in wire))
    def test_a_message_comes_back_from_the_database_equal_and_with_its_digest(self, wire: dict[str, Any]) -> None:
        found = chat_wire.split(wire)
        extras = chat_wire.extras_of(wire, role=found.role, content=found.content, author=found.author)
        stored = append_message(
            conversation=self.talk, role=found.role, content=found.content, author=found.author, extras=extras
        )
        row = Message.objects.get(pk=stored.pk)
        with self.assertNumQueries(1 if found.parts else 0):
            load_parts([row])
        with self.assertNumQueries(0):
            again = row.as_wire()
        # Numbers come back as numbers: PostgreSQL's JSON has only one kind of number.
        self.assertEqual((again, row.content), (wire, found.content))
        self.assertEqual(row.extras(), extras)
        before = row.parent.digest if row.parent else digests.root(self.talk.owner_id)
        self.assertEqual(row.digest, digests.follow(before, again))
        self.assertEqual(row.digest, digests.follow(before, wire))


def repr_of(value: Any) -> str:
    """Return a value that distinguishes 1 from true, but is the same for equal objects."""
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{name!r}: {repr_of(each)}" for name, each in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(repr_of, value)) + "]"
    return repr(value)
