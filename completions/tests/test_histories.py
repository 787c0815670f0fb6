"""What is sent of a stored branch is valid by OpenAI's published rules, whatever the branch contains."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from completions.context import estimate_tokens, fit
from completions.given_back import for_upstream, given_back
from completions.histories import (
    NO_ANSWER,
    NO_QUESTION,
    NO_RESULT,
    alternating,
    as_input,
    for_chat,
    valid,
    without_items,
)
from completions.tests.asking import assistant_says, user_says
from completions.types import Wire
from conversations.chat_wire import ROLES, text_and_extras

FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "function_call", "refusal", "audio"},
    "tool": {"role", "content", "tool_call_id"},
    "function": {"role", "content", "name"},
}


def call(pk: str, arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": pk, "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def calling(*calls: Any, content: Any = None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **fields}


def result(pk: str, content: Any = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": pk, "content": content}


def check(messages: Sequence[Wire]) -> None:
    """Refuse what OpenAI's endpoint refuses."""
    assert messages
    due: list[tuple[str, str]] = []
    for wire in messages:
        role = wire["role"]
        assert set(wire) <= FIELDS[role], wire
        if role in ("tool", "function"):
            due.remove((role, wire["tool_call_id" if role == "tool" else "name"]))  # else: a result without its call
            assert isinstance(wire["content"], str), wire
            continue
        assert not due, f"{due} have no result"
        content = wire.get("content")
        if role != "assistant":
            assert isinstance(content, str | list) and content is not None, wire
            continue
        calls = wire.get("tool_calls", [])
        assert "tool_calls" not in wire or calls, "an empty list of calls"
        for each in calls:
            assert set(each) == {"id", "type", "function"} and each["type"] == "function", each
            due.append(("tool", each["id"]))
            assert isinstance(json.loads(each["function"]["arguments"]), dict)
        if function := wire.get("function_call"):
            assert not calls
            due.append(("function", function["name"]))
            assert isinstance(json.loads(function["arguments"]), dict)
        assert due or (isinstance(content, str) and content.strip()), f"says nothing: {wire}"
        assert content is None or content.strip(), wire
    assert not due, f"{due} have no result"


def check_template(messages: Sequence[Wire]) -> None:
    """Refuse what the chat templates of Mistral and Gemma refuse."""
    check(messages)
    turns = [wire for at, wire in enumerate(messages) if at or wire["role"] not in ("system", "developer")]
    last = "assistant"
    for wire in turns:
        role = "tool" if wire["role"] in ("tool", "function") else wire["role"]
        assert role in {"assistant": ("user", "tool"), "user": ("assistant",), "tool": ("tool", "assistant")}[last]
        last = role


texts = st.sampled_from(["", " \n", "Hello", "Wörter 🙂", "x" * 200])
ids = st.sampled_from(["c1", "c2", "c3"])
calls = st.one_of(
    st.builds(
        call,
        ids,
        st.sampled_from(["{}", "", '{"city": "Bonn"}', '{"ci', "5", None, {"city": "Bonn"}]),
        index=st.integers(0, 2),
    ),
    st.sampled_from([{}, None, "f", {"id": "c1"}, {"id": "c2", "function": None}, {"id": None, "function": {}}]),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "reasoning": texts,
        "reasoning_content": texts,
        "reasoning_details": st.just([{"type": "reasoning.text", "text": "hm"}]),
        "annotations": st.just([{"type": "url_citation", "url_citation": {"url": "https://example.org"}}]),
        "refusal": st.sampled_from([None, "I cannot."]),
        "audio": st.sampled_from([None, {"id": "a1", "data": "…", "transcript": "Hello"}, {"id": "a2"}]),
        "tool_calls": st.lists(calls, max_size=3),
        "function_call": st.sampled_from([{"name": "f", "arguments": "{}"}, {"name": "f", "arguments": '{"a'}, None]),
        "mood": st.just("sunny"),
    },
)
written = st.builds(
    lambda content, more: {"role": "assistant", "content": content, **more}, st.one_of(st.none(), texts), extras
)
others = st.one_of(
    st.builds(user_says, texts),
    st.builds(
        lambda role, content: {"role": role, "content": content}, st.sampled_from(["system", "developer"]), texts
    ),
    st.builds(result, ids, st.one_of(st.none(), texts)),
    st.builds(lambda content: {"role": "function", "name": "f", "content": content}, texts),
)
branches = st.lists(st.one_of(written, others), max_size=14)


def of_rows(branch: Sequence[Wire]) -> list[Wire]:
    """Return the branch as the runner reads it: with the fields of requests, where a model wrote it."""
    return [
        as_input(wire, role=wire["role"], text=text_and_extras(wire)[0]) if wire["role"] == "assistant" else wire
        for wire in branch
    ]


class RandomBranchTest(SimpleTestCase):
    @given(branches, st.integers(0, 300), st.sampled_from([user_says("Now?"), result("c1"), result("c2")]))
    @settings(max_examples=300, deadline=None)
    def test_what_is_sent_is_valid(self, branch: list[Wire], tokens: int, question: Wire) -> None:
        sent = valid(of_rows([*branch, question]))
        check(sent)
        fitted = fit(sent, tokens=tokens)
        check(fitted)
        check_template(alternating(fitted))
        self.assertEqual(valid(sent), sent)
        said = [wire["content"] for wire in branch if wire["role"] == "user" and wire["content"].strip()]
        self.assertEqual([wire["content"] for wire in sent if wire["role"] == "user"][: len(said)], said)

    @given(branches)
    @settings(max_examples=100, deadline=None)
    def test_a_whole_call_with_its_result_is_sent(self, branch: list[Wire]) -> None:
        pair = [calling(call("mine")), result("mine")]
        sent = valid(of_rows([*branch, *pair, user_says("Now?")]))
        self.assertEqual(sent[-3:], [*pair, user_says("Now?")])


class ValidTest(SimpleTestCase):
    def test_a_valid_history_is_sent_as_it_is(self) -> None:
        history = [
            {"role": "system", "content": "Be brief"},
            user_says("Weather?"),
            calling(call("c1"), call("c2")),
            result("c1"),
            result("c2", ""),
            {"role": "system", "content": "In French"},
            assistant_says("Beau"),
            user_says("Hello?"),
            user_says("Anybody?"),
        ]
        self.assertEqual(valid(history), history)

    def test_a_call_without_results_is_left_out(self) -> None:
        for cut_off in (calling(call("c1")), calling(call("c1", '{"ci')), calling(call("c1"), content="")):
            self.assertEqual(valid([user_says("a"), cut_off, user_says("b")]), [user_says("a"), user_says("b")])
        cut_off = calling(call("c1"), content="Let me look")
        self.assertEqual(valid([cut_off, user_says("b")]), [assistant_says("Let me look"), user_says("b")])

    def test_of_parallel_calls_those_without_a_result_say_so(self) -> None:
        sent = valid([calling(call("c1"), call("c2"), call("c3", '{"a')), result("c2"), user_says("b")])
        self.assertEqual(sent, [calling(call("c1"), call("c2")), result("c1", NO_RESULT), result("c2"), user_says("b")])

    def test_results_follow_their_calls_in_their_order(self) -> None:
        both = calling(call("c1"), call("c2"))
        sent = valid([both, user_says("wait"), result("c2", "two"), result("c1", "one"), user_says("b")])
        self.assertEqual(sent, [both, result("c1", "one"), result("c2", "two"), user_says("wait"), user_says("b")])

    def test_an_id_that_is_used_again_belongs_to_the_later_call(self) -> None:
        sent = valid([calling(call("c1")), calling(call("c1")), result("c1"), result("c1", "again"), user_says("b")])
        self.assertEqual(sent, [calling(call("c1")), result("c1"), user_says("b")])

    def test_a_result_without_its_call_is_left_out_unless_it_is_the_question(self) -> None:
        self.assertEqual(valid([result("c1"), user_says("b")]), [user_says("b")])
        self.assertEqual(valid([user_says("a"), result("c1")]), [user_says("a"), user_says("sunny")])

    def test_the_older_form_of_a_call(self) -> None:
        asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
        told = {"role": "function", "name": "f", "content": "sunny"}
        self.assertEqual(valid([asked, told, user_says("b")]), [asked, told, user_says("b")])
        self.assertEqual(valid([asked, user_says("b"), told | {"name": "g"}, user_says("c")]), [*map(user_says, "bc")])

    def test_answers_that_say_nothing_are_left_out(self) -> None:
        for content in (None, "", " \n", [], [{"type": "text", "text": ""}]):
            nothing = {"role": "assistant", "content": content}
            self.assertEqual(valid([user_says("a"), nothing, user_says("b")]), [user_says("a"), user_says("b")])


class InputTest(SimpleTestCase):
    def test_what_only_answers_have_is_not_sent(self) -> None:
        wire = {**assistant_says("Hi"), "reasoning": "hm", "annotations": [1], "reasoning_content": "x", "images": [2]}
        self.assertEqual(as_input(wire, role="assistant", text="Hi"), assistant_says("Hi"))

    def test_a_refusal_and_a_recording_are_text(self) -> None:
        refused = {"role": "assistant", "content": None, "refusal": "I cannot."}
        self.assertEqual(as_input(refused, role="assistant", text="I cannot."), assistant_says("I cannot."))
        spoken = {"role": "assistant", "content": None, "audio": {"id": "a", "transcript": "Hello"}}
        self.assertEqual(as_input(spoken, role="assistant", text=""), assistant_says("Hello"))

    def test_an_unknown_role_becomes_the_stored_one(self) -> None:
        self.assertEqual(as_input({"role": "critic", "content": "hm"}, role="user", text="hm"), user_says("hm"))
        self.assertNotIn("critic", ROLES)


class AlternatingTest(SimpleTestCase):
    def test_turns_of_one_role_are_merged(self) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:,"}}
        history = [
            {"role": "system", "content": "Be brief"},
            user_says("a"),
            user_says("b"),
            {"role": "developer", "content": "In French"},
            {"role": "user", "content": [picture]},
            assistant_says("c"),
            assistant_says("d"),
            user_says("e"),
        ]
        self.assertEqual(
            alternating(history),
            [
                {"role": "developer", "content": "Be brief\n\nIn French"},
                {"role": "user", "content": [{"type": "text", "text": "a\n\nb"}, picture]},
                assistant_says("c\n\nd"),
                user_says("e"),
            ],
        )

    def test_a_missing_turn_is_named(self) -> None:
        pair = [calling(call("c1")), result("c1")]
        self.assertEqual(
            alternating([*pair, user_says("b")]),
            [user_says(NO_QUESTION), *pair, assistant_says(NO_ANSWER), user_says("b")],
        )
        self.assertTrue(all(re.fullmatch(r"\(.+\)", text) for text in (NO_QUESTION, NO_ANSWER)))


class FitPairsTest(SimpleTestCase):
    def test_a_call_and_its_results_are_sent_or_dropped_together(self) -> None:
        history = [user_says("a"), calling(call("c1"), call("c2")), result("c1"), result("c2", "x" * 400)]
        for end in ([], [user_says("b")]):
            whole = [*history, *end]
            for tokens in range(sum(map(estimate_tokens, whole)) + 1):
                check(fit(whole, tokens=tokens))


def test_items_that_are_no_part_of_a_chat_message_are_not_sent_as_one() -> None:
    wire = {"role": "assistant", "content": "Found it.", "response_items": [{"type": "web_search_call"}]}
    assert without_items(wire) == {"role": "assistant", "content": "Found it."}
    plain = {"role": "assistant", "content": "Found it."}
    assert without_items(plain) is plain


def test_reasoning_is_given_back_to_its_writer_alone() -> None:
    wire = calling(call("c1"), reasoning="hm", reasoning_details=[{"type": "reasoning.text", "text": "hm"}])
    sent = {**calling(call("c1")), **given_back(wire, "a")}
    assert for_upstream([sent], "a") == [wire]
    assert for_upstream([sent], "b") == [calling(call("c1"))]
    assert for_upstream(for_chat([sent]), "a") == [wire]
    assert for_chat([wire]) == [calling(call("c1"))]
    assert given_back(assistant_says("Hi", reasoning="hm"), "a") == {}
    assert given_back(calling(call("c1")), "a") == {}
