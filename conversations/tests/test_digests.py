"""Chain digests: equal histories have equal digests, and different histories different ones."""

from __future__ import annotations

import uuid
from typing import Any

from django.test import SimpleTestCase

from conversations import digests

ALICE, BOB = uuid.UUID(int=1), uuid.UUID(int=2)
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello!"}


class DigestTest(SimpleTestCase):
    def test_a_longer_history_begins_with_the_digests_of_the_shorter_one(self):
        short, long = digests.chain(digests.root(ALICE), [HI]), digests.chain(digests.root(ALICE), [HI, HELLO])
        self.assertEqual(long[:1], short)
        self.assertEqual(long[1], digests.follow(short[0], HELLO))
        self.assertEqual(digests.chain(digests.root(ALICE), []), [])

    def test_a_digest_fits_its_column(self):
        self.assertEqual({len(each) for each in digests.chain(digests.root(ALICE), [HI, HELLO])}, {43})

    def test_the_digests_of_one_conversation_stand_together_and_are_not_those_of_another(self):
        first, second = [HI, HELLO, HI], [{"role": "user", "content": "Something else"}, HELLO, HI]
        chains = [digests.chain(digests.root(ALICE), messages) for messages in (first, second)]
        tags = [{digest[:5] for digest in chain} for chain in chains]
        self.assertEqual([len(each) for each in tags], [1, 1])
        self.assertNotEqual(*tags)
        self.assertEqual(len({digest[5:] for chain in chains for digest in chain}), 6)

    def test_a_chain_that_an_earlier_version_began_goes_on_as_it_was(self):
        chain = digests.chain(digests.untagged(uuid.UUID(int=7)), [HI, HELLO])
        self.assertEqual(
            chain,
            ["9LZUd2yS3tO5519snQ8r6bUFTaV_XoRXxYGldMw-xGY", "73JFUWmPCxoQO1dREqx4faBf5V_LDIX9BYKR_BAkZKs"],
        )

    def test_every_owner_has_chains_of_its_own(self):
        self.assertNotEqual(digests.chain(digests.root(ALICE), [HI]), digests.chain(digests.root(BOB), [HI]))

    def test_whatever_was_said_differently_is_another_digest(self):
        root = digests.root(ALICE)
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        different: list[dict[str, Any]] = [
            HI,
            {"role": "user", "content": "Hi "},
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "Hi"},
            {"role": "user", "content": "Hi", "name": "alice"},
            {"role": "user", "content": ""},
            {"role": "user", "content": None},
            {"role": "user", "content": "2\nHi"},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "Hi", "tool_call_id": "c"},
            {"role": "tool", "content": "Hi", "tool_call_id": "d"},
        ]
        told = [digests.follow(root, wire) for wire in different]
        self.assertEqual(len(set(told)), len(different))

    def test_where_a_message_ends_and_the_next_begins_is_part_of_it(self):
        joined = digests.chain(digests.root(ALICE), [{"role": "user", "content": "a\nuser\n1\nb"}])
        apart = digests.chain(digests.root(ALICE), [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
        self.assertNotEqual(joined[-1], apart[-1])

    def test_one_text_part_is_the_same_as_its_text(self):
        root = digests.root(ALICE)
        part = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
        self.assertEqual(digests.follow(root, part), digests.follow(root, HI))

    def test_what_does_not_change_the_meaning_does_not_change_the_digest(self):
        root = digests.root(ALICE)
        extras: tuple[dict[str, Any], ...] = ({"refusal": None}, {"tool_calls": []}, {"annotations": []}, {"name": ""})
        for extra in extras:
            self.assertEqual(digests.follow(root, {**HELLO, **extra}), digests.follow(root, HELLO), extra)

    def test_the_order_of_keys_does_not_matter(self):
        root = digests.root(ALICE)
        one = {"role": "user", "content": [{"type": "x", "a": 1, "b": {"c": 2, "d": 3}}]}
        two = {"content": [{"b": {"d": 3, "c": 2}, "a": 1, "type": "x"}], "role": "user"}
        self.assertEqual(digests.follow(root, one), digests.follow(root, two))

    def test_an_answer_is_found_however_its_client_writes_it(self):
        root = digests.root(ALICE)
        for stored in ('{"b":1,"a":"é"}', '{"b": 1, "a": "é"}', "", "{"):
            function = {"name": "f", "arguments": stored}
            call = {"id": "c", "type": "function", "function": function}
            answer = {"role": "assistant", "content": "", "tool_calls": [call]}
            anew = {**function, "arguments": stored.replace(" ", "").replace("é", "\\u00e9")}
            for extra in (
                {},
                {"content": None},
                {"content": None, "refusal": None, "function_call": None, "annotations": None},
                {"tool_calls": [{**call, "index": 0}]},
                {"tool_calls": [{"id": "c", "function": {**function, "parsed_arguments": {"b": 1}}}]},
                {"content": None, "tool_calls": [{**call, "function": anew}]},
            ):
                told = [digests.chain(root, spelled) for spelled in digests.spellings([{**answer, **extra}])]
                self.assertIn(digests.chain(root, [answer]), told, (stored, extra))

    def test_nothing_else_is_spelled_in_another_way(self):
        self.assertEqual(digests.spellings([HI, HELLO]), [[HI, HELLO]])
        odd: tuple[Any, ...] = (
            {},
            "",
            [None],
            ["x"],
            [{"function": None}],
            [{}],
            [{"function": {"arguments": "[" * 5_000}}],
        )
        for calls in odd:
            wires: list[dict[str, Any]] = [HI, {"role": "assistant", "content": None, "tool_calls": calls}]
            self.assertEqual({spelled[0]["content"] for spelled in digests.spellings(wires)}, {"Hi"})

    def test_half_a_surrogate_pair_has_a_digest_too(self):
        self.assertEqual(len(digests.follow(digests.root(ALICE), {"role": "user", "content": "\ud83d"})), 43)
