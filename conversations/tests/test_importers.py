"""Reading conversations exported by other services: every trap found in a real export."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.test import SimpleTestCase

from conversations.importers import parse
from conversations.importers.values import ImportedConversation, Unusable, moment
from conversations.tests.exports import START, chat, claude_message, node, root, without


def told(conversation: ImportedConversation) -> list[tuple[str, str | None]]:
    """Return each message's text and its parent."""
    return [(message.content, message.parent) for message in conversation.messages]


class ChatGPTTest(SimpleTestCase):
    def test_a_thread_keeps_what_it_is_made_of(self):
        talk = parse(
            chat(
                "talk",
                root(),
                node("q", "root", at=START + 1, author="Ann", metadata={"model_slug": "gpt-4o"}),
                node(
                    *("a", "q", "assistant", ["One", "Two"]),
                    at=START + 2,
                    metadata={"model_slug": "gpt-4o", "finish_details": {"type": "stop"}},
                ),
                is_archived=True,
                is_starred=True,
                gizmo_id="g-1",
            )
        )
        question, answer = talk.messages
        self.assertEqual((question.author, question.role, question.model), ("Ann", "user", ""))
        self.assertEqual((answer.content, answer.model, answer.finish_reason), ("One\n\nTwo", "gpt-4o", "stop"))
        self.assertEqual(answer.created_at, dt.datetime.fromtimestamp(START + 2, dt.UTC))
        self.assertEqual((talk.source_id, talk.title, talk.head), ("talk", "About talk", "a"))
        self.assertEqual((talk.archived_at, talk.metadata), (talk.updated_at, {"gizmo_id": "g-1", "starred": "true"}))

    def test_links_come_from_parents_when_children_are_missing_or_partial_and_order_does_not_matter(self):
        nodes = [
            without(node("a2", "q", "assistant", at=START + 5), "children"),
            without(node("q", "root", at=START + 1), "children"),
            node("a1", "q", "assistant", at=START + 2, children=["gone"]),
            node("q2", "a1", at=START + 3),
            without(root(), "children"),
        ]
        talk = parse(chat("talk", *nodes, current="q2"))
        self.assertEqual(told(talk), [("q", None), ("a1", "q"), ("q2", "a1"), ("a2", "q")])
        self.assertEqual(talk.head, "q2")

    def test_a_parent_that_only_the_parent_knows_is_found(self):
        lost = without(node("a", None, "assistant"), "parent")
        talk = parse(chat("talk", node("q", None, children=["a"]), lost))
        self.assertEqual(told(talk), [("q", None), ("a", "q")])

    def test_there_may_be_no_root_or_several(self):
        talk = parse(chat("talk", node("one", "nowhere"), node("two", None), node("three", "two")))
        self.assertEqual(told(talk), [("one", None), ("two", None), ("three", "two")])

    def test_what_nobody_said_is_left_out_and_what_followed_it_moves_up(self):
        hidden = {"is_visually_hidden_from_conversation": True}
        nodes = [
            root(),
            node("system", "root", "system", [""]),
            node("memory", "system", "user", content={"content_type": "user_editable_context", "user_profile": "x"}),
            node("hidden", "memory", "user", metadata=hidden),
            node("q", "hidden"),
            node("thought", "q", "assistant", content={"content_type": "thoughts", "thoughts": []}),
            node("call", "thought", "assistant", content={"content_type": "code", "text": "1+1"}, recipient="python"),
            node("result", "call", "tool", content={"content_type": "execution_output", "text": "2"}),
            node("quote", "result", "tool", content={"content_type": "tether_quote", "text": "far"}),
            node("web", "quote", "tool", content={"content_type": "sonic_webpage", "text": "far"}),
            node("weightless", "web", "assistant", weight=0),
            node("analysis", "weightless", "assistant", channel="analysis"),
            node("a", "analysis", "assistant", channel="final"),
            node("empty", "a", "assistant", [""]),
        ]
        talk = parse(chat("talk", *nodes))
        self.assertEqual(told(talk), [("q", None), ("a", "q")])
        self.assertEqual(talk.head, "a")
        kinds = {"hidden message": 2, "settings": 1, "reasoning": 2, "tool input": 1, "tool output": 3}
        self.assertEqual(talk.left_out, kinds | {"empty message": 2})

    def test_every_kind_of_content_has_a_text(self):
        kinds = [
            ({"content_type": "code", "language": "python", "text": "print('```')"}, "````python\nprint('```')\n````"),
            ({"content_type": "code", "language": "unknown", "text": "x"}, "```\nx\n```"),
            ({"content_type": "a_new_kind", "text": "new"}, "new"),
            ({"content_type": "a_new_kind", "parts": ["newer", 7, None]}, "newer"),
            ({"content_type": "tether_browsing_display", "result": "found"}, "found"),
            ({"parts": ["no type"]}, "no type"),
        ]
        for content, text in kinds:
            talk = parse(chat("talk", node("a", None, "assistant", content=content)))
            self.assertEqual(talk.messages[0].content, text)

    def test_pictures_and_recordings_are_named(self):
        parts = [
            {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1"},
            "What is this?",
            {"content_type": "audio_transcription", "text": "and this"},
            {"content_type": "real_time_user_audio_video_asset_pointer", "audio_asset_pointer": {"asset_pointer": "s"}},
        ]
        content = {"content_type": "multimodal_text", "parts": parts}
        drawn = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}]}
        talk = parse(chat("t", node("q", None, content=content), node("d", "q", "tool", content=drawn, author="dalle")))
        self.assertEqual(
            talk.messages[0].content, "[image: file-service://file-1]\n\nWhat is this?\n\nand this\n\n[recording: s]"
        )
        self.assertEqual((talk.messages[1].role, talk.messages[1].content), ("assistant", "[image]"))

    def test_a_model_that_only_the_conversation_names_is_each_answers(self):
        bare = node("a", "q", "assistant")
        del bare["message"]["metadata"]
        talk = parse(chat("talk", node("q", None), bare))
        self.assertEqual([message.model for message in talk.messages], ["", "gpt-default"])

    def test_times_may_be_missing_or_mad(self):
        self.assertIsNone(moment(None))
        mad: Any
        for mad in (
            True,
            0,
            -5,
            1e300,
            float("nan"),
            float("inf"),
            "soon",
            "",
            [],
            10**400,
            "9999-12-31T23:59:59-23:00",
        ):
            self.assertIsNone(moment(mad), mad)
        at = dt.datetime(2023, 11, 14, 22, 13, 20, 123456, dt.UTC)
        for good in (1700000000.123456, "1700000000.123456", 1700000000123.456, "2023-11-14T22:13:20.123456Z"):
            self.assertEqual(moment(good), at, good)
        self.assertEqual(moment("2023-11-14 22:13:20.123456"), at)
        talk = parse(chat("talk", node("q", None), node("a", "q", "assistant"), create_time=None, update_time="x"))
        self.assertEqual([message.created_at for message in talk.messages], [None, None])

    def test_an_unfinished_answer_says_so(self):
        def status(**fields: Any) -> tuple[str, str]:
            [message] = parse(chat("talk", node("a", None, "assistant", **fields))).messages
            return message.status, message.finish_reason

        self.assertEqual(status(), ("complete", ""))
        self.assertEqual(status(status="in_progress"), ("interrupted", ""))
        self.assertEqual(status(status="finished_partial_completion"), ("interrupted", ""))
        self.assertEqual(status(metadata={"finish_details": {"type": "interrupted"}}), ("cancelled", ""))
        self.assertEqual(
            status(status="finished_partial_completion", metadata={"finish_details": {"type": "max_tokens"}}),
            ("complete", "length"),
        )

    def test_what_is_no_conversation_says_why(self):
        for entry, reason in (
            (without(chat("x", node("q", None)), "mapping") | {"messages": "none"}, "not a list"),
            (chat("x") | {"mapping": None}, "no mapping"),
            (chat("x", root()), "it has no text"),
            ({"title": "A folder"}, "neither mapping nor chat_messages"),
            (None, "not a conversation"),
            ([1], "not a conversation"),
        ):
            with self.assertRaisesRegex(Unusable, reason):
                parse(entry)

    def test_nodes_that_lead_in_a_circle_without_saying_anything_are_passed(self):
        nodes = [
            {"id": "x", "parent": "y", "message": None, "children": []},
            {"id": "y", "parent": "x", "message": None, "children": []},
            node("q", "x"),
        ]
        self.assertEqual(told(parse(chat("talk", *nodes))), [("q", None)])

    def test_a_circle_costs_the_link_that_closes_it_and_not_the_conversation(self):
        lone, late = node("self", "self"), node("late", None, "assistant", at=START + 9)
        pair = [node("a", "b", "assistant", at=START + 2), node("b", "a", at=START + 1)]
        talk = parse(chat("talk", late, *pair, node("under", "a"), lone, node("c", "lost")))
        self.assertEqual(
            sorted(told(talk)),
            [("a", "b"), ("b", None), ("c", None), ("late", None), ("self", None), ("under", "a")],
        )
        self.assertEqual((talk.head, talk.left_out), ("c", {"link in a circle": 2}))

    def test_a_circle_is_cut_where_an_entry_outside_of_it_goes_on(self):
        circle = [node("a", "c", "assistant"), node("b", "a"), node("c", "b", "assistant")]
        talk = parse(chat("talk", root() | {"children": ["top"]}, node("top", "root", children=["b"]), *circle))
        self.assertEqual(told(talk), [("top", None), ("b", "top"), ("c", "b"), ("a", "c")])
        both = [node("x", None, children=["y", "x", "?"]), node("y", None, children=["x"])]
        self.assertEqual(len(parse(chat("talk", *both)).messages), 2)
        entry = {"uuid": "c", "chat_messages": [claude_message("q", "a"), claude_message("a", "q", "assistant")]}
        self.assertEqual(told(parse(entry)), [("q", None), ("a", "q")])

    def test_a_message_without_an_author_is_the_other_ones_turn(self):
        nobody: list[Any] = [None, {}, {"role": None}, {"role": ""}, "?", []]
        for author in nobody:
            nodes = [node("q", None), node("a", "q"), node("q2", "a"), node("t", "q2")]
            for each in nodes:
                each["message"]["author"] = author
            nodes[3]["message"]["content"] = {"content_type": "execution_output", "text": "42"}
            talk = parse(chat("talk", *nodes))
            spoken = [(message.content, message.role, message.model) for message in talk.messages]
            self.assertEqual(spoken, [("q", "user", ""), ("a", "assistant", "gpt-default"), ("q2", "user", "")])
            self.assertEqual(talk.left_out, {"tool output": 1})
        talk = parse(
            {"uuid": "c", "chat_messages": [claude_message("q", sender=""), without(claude_message("a"), "sender")]}
        )
        self.assertEqual([message.role for message in talk.messages], ["user", "assistant"])

    def test_a_kind_of_content_that_nobody_knows_is_named_in_its_place(self):
        new = {"content_type": "brand_new_type", "body": "?"}
        mixed = {"content_type": "multimodal_text", "parts": ["See", {"content_type": "hologram", "id": 1}]}
        nodes = [
            node("q", None, content=mixed),
            node("a", "q", "assistant", content=new),
            node("n", "a", content="plain"),
        ]
        nodes.append(node("nothing", "n", "assistant") | {"message": {"author": {"role": "user"}, "content": None}})
        texts = [message.content for message in parse(chat("talk", *nodes)).messages]
        self.assertEqual(texts, ["See\n\n[hologram]", "[brand_new_type]", "plain"])

    def test_what_a_tool_found_in_files_is_its_output_although_it_has_parts(self):
        found = {
            "content_type": "multimodal_text",
            "parts": ["\u30104:0\u2020file.pdf\u3011 far", {"content_type": "x"}],
        }
        talk = parse(chat("talk", node("q", None), node("t", "q", "tool", content=found)))
        self.assertEqual((told(talk), talk.left_out), ([("q", None)], {"tool output": 1}))

    def test_a_conversation_without_an_id_is_known_by_its_first_message(self):
        short = without(chat("x", node("q", None, at=START)), "id", "conversation_id")
        long = without(chat("x", node("q", None, at=START), node("a", "q", at=START + 1)), "id", "conversation_id")
        self.assertEqual(parse(short).source_id, parse(long).source_id)

    def test_odd_types_anywhere_are_survived(self):
        odd: list[Any] = [None, 1, "x", [], {}, True, [None], {"a": []}]
        names = ("author", "content", "metadata", "status", "weight", "recipient", "create_time", "channel")
        for value in odd:
            for name in names:
                parse(chat("talk", node("q", None), node("a", "q", "user", **{name: value})))
            for name in ("title", "create_time", "current_node", "default_model_slug", "gizmo_id", "is_archived"):
                parse(chat("talk", node("q", None), **{name: value}))
            for name in ("parent", "children", "message"):
                parse(chat("talk", node("q", None), {**node("a", "q"), name: value}))

    def test_a_thread_longer_than_the_stack_is_put_in_order(self):
        nodes = [node(f"n{at}", f"n{at - 1}" if at else None) for at in range(5_000)]
        hidden = [node(f"h{at}", f"h{at - 1}" if at else "n4999", weight=0) for at in range(5_000)]
        talk = parse(chat("talk", *reversed(nodes), *reversed(hidden), current="h4999"))
        self.assertEqual([message.content for message in talk.messages], [f"n{at}" for at in range(5_000)])
        self.assertEqual(talk.head, "n4999")


class ClaudeTest(SimpleTestCase):
    def test_branches_come_from_parents_and_not_from_the_order(self):
        entry = {
            "uuid": "talk",
            "name": "Tea",
            "model": "claude-x",
            "created_at": "2026-03-01T10:00:00Z",
            "updated_at": "2026-03-02T10:00:00Z",
            "project_uuid": "p-1",
            "current_leaf_message_uuid": "a2",
            "chat_messages": [
                claude_message("a2", "q", "assistant", created_at="2026-03-01T10:02:00Z"),
                claude_message("q", "00000000-0000-4000-8000-000000000000", created_at="2026-03-01T10:00:00Z"),
                claude_message("a1", "q", "assistant", created_at="2026-03-01T10:01:00Z"),
                claude_message("q3", "a1", created_at="2026-03-01T10:03:00Z"),
            ],
        }
        talk = parse(entry)
        self.assertEqual(told(talk), [("q", None), ("a1", "q"), ("a2", "q"), ("q3", "a1")])
        self.assertEqual((talk.head, talk.title, talk.metadata), ("a2", "Tea", {"project_uuid": "p-1"}))
        self.assertEqual(
            [(each.role, each.model) for each in talk.messages[:2]], [("user", ""), ("assistant", "claude-x")]
        )
        self.assertEqual(talk.created_at, dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC))

    def test_old_exports_have_their_order_alone(self):
        said = [claude_message("q"), claude_message("a", sender="assistant"), claude_message("q2")]
        talk = parse({"uuid": "talk", "name": None, "chat_messages": said})
        self.assertEqual(told(talk), [("q", None), ("a", "q"), ("q2", "a")])

    def test_two_turns_under_one_id_are_two_turns_and_one_that_is_there_twice_is_one(self):
        asked, said = claude_message("same"), claude_message("same", sender="assistant")
        for message in (asked, said):
            message.pop("parent_message_uuid", None)
        first, second = parse({"uuid": "talk", "chat_messages": [asked, dict(asked), said]}).messages
        self.assertEqual((first.role, second.role, second.parent), ("user", "assistant", first.source_id))

    def test_text_is_the_text_blocks_and_what_was_attached(self):
        blocks = [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "Look"},
            {"type": "tool_use", "name": "search", "input": {}},
            {"type": "text", "text": "Here"},
        ]
        attached = [{"file_name": "notes.txt", "extracted_content": "milk"}, {}, None]
        files = [{"file_name": "cat.png"}]
        said = [
            claude_message("q", content=blocks, text="This block is not supported", attachments=attached, files=files),
            claude_message("tools", content=[{"type": "tool_use"}], text="This block is not supported"),
            claude_message("old", content=None, text="old text"),
            claude_message("odd", sender="nobody"),
        ]
        talk = parse({"uuid": "talk", "chat_messages": said})
        self.assertEqual(
            [message.content for message in talk.messages],
            ["Look\n\nHere\n\n[attachment: notes.txt]\nmilk\n\n[file: cat.png]", "old text"],
        )
        self.assertEqual(talk.messages[1].parent, "q")
        self.assertEqual(talk.left_out, {"reasoning": 1, "tool input": 2, "message of an unknown sender": 1})

    def test_no_turn_is_lost_for_a_block_that_cannot_be_shown(self):
        remark = "Flat\n```\nThis block is not supported on your current device yet.\n```\n\nmore"
        turns: list[tuple[dict[str, Any], str]] = [
            ({"text": "", "content": [{"type": "voice_note", "title": "Voice", "text": "spoken"}]}, "spoken"),
            ({"text": "flat", "content": [{"type": "text", "text": None}]}, "flat"),
            ({"text": "flat", "content": [{"type": "thinking", "thinking": "hm"}]}, "flat"),
            ({"text": "flat", "content": []}, "flat"),
            ({"text": remark, "content": [{"type": "tool_use", "name": "x"}]}, "Flat\n\n\nmore"),
            ({"text": "flat", "content": [{"type": "brand_new", "body": "?"}]}, "flat\n\n[brand_new]"),
            ({"text": "", "content": [{"type": "text", "text": "a"}, {"type": "x"}, "b"]}, "a\n\n[x]\n\nb"),
            ({"text": "flat", "content": [{"type": "note", "text": "its text"}]}, "[note]\nits text"),
            ({"text": "", "content": [{"type": "image", "file_name": "cat.png"}]}, "[image: cat.png]"),
            ({"text": None, "content": "a string"}, "a string"),
            ({"text": "flat", "content": [{"text": "no type"}, None, 5]}, "no type"),
        ]
        for fields, expected in turns:
            talk = parse({"uuid": "talk", "chat_messages": [claude_message("q", **fields)]})
            self.assertEqual([message.content for message in talk.messages], [expected], fields)

    def test_files_that_a_newer_service_lists_twice_are_named_once_and_their_text_is_kept(self):
        files = [{"file_uuid": "1", "file_name": "a.png"}, {"file_name": "b.txt", "extracted_content": "beans"}]
        newer = [{"file_uuid": "1", "file_name": "a.png"}, {"file_uuid": "2", "file_name": "c.pdf"}]
        turn = claude_message("q", files=files, files_v2=newer, attachments=[{"extracted_content": "loose"}])
        [message] = parse({"uuid": "talk", "chat_messages": [turn]}).messages
        names = ["q", "[attachment: unnamed]\nloose", "[file: a.png]", "[file: b.txt]\nbeans", "[file: c.pdf]"]
        self.assertEqual(message.content, "\n\n".join(names))

    def test_a_conversation_without_messages_says_so(self):
        for messages in ([], [None, 5], [claude_message("q", text=None, content=None)]):
            with self.assertRaisesRegex(Unusable, "no text"):
                parse({"uuid": "talk", "name": "Empty", "chat_messages": messages})


class JsonlTest(SimpleTestCase):
    WIRES = (
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "assistant", "content": "Sunny", "name": "Bot"},
    )

    def test_a_wire_message_stays_what_it_is(self):
        talk = parse({"messages": list(self.WIRES), "model": "gpt-x"})
        self.assertEqual([message.content for message in talk.messages], ["Be brief", "Weather?", "", "sun", "Sunny"])
        self.assertEqual(talk.messages[2].extras, {"content": None, "tool_calls": [{"id": "c1"}]})
        self.assertEqual((talk.messages[4].author, talk.messages[4].model), ("Bot", "gpt-x"))
        self.assertEqual(talk.head, talk.messages[4].source_id)

    def test_a_line_is_known_again_and_a_grown_one_by_its_id(self):
        whole, part = ({"id": "x", "messages": list(self.WIRES[:size])} for size in (5, 2))
        ids = [[message.source_id for message in parse(each).messages] for each in (whole, part)]
        self.assertEqual(ids[0][:2], ids[1])
        again = [parse({"messages": list(self.WIRES[:size])}).source_id for size in (2, 2, 3)]
        self.assertTrue(again[0] == again[1] != again[2])

    def test_batches_and_preference_pairs_are_read(self):
        said = [{"role": "user", "content": "Hi"}]
        batch = parse({"custom_id": "r-1", "method": "POST", "body": {"model": "m", "messages": said, "user": "u-1"}})
        self.assertEqual((batch.source_id, batch.end_user), ("r-1", "u-1"))
        good, bad = ({"role": "assistant", "content": text} for text in ("Good", "Bad"))
        pair = parse({"input": {"messages": said}, "preferred_output": [good], "non_preferred_output": [bad]})
        question, worse, better = pair.messages
        self.assertEqual((worse.parent, better.parent), (question.source_id, question.source_id))
        self.assertEqual((worse.content, pair.head), ("Bad", better.source_id))

    def test_lines_that_are_no_messages_say_why(self):
        for messages, reason in (
            ([], "no messages"),
            ([1], "not a list"),
            ({}, "not a list"),
            ([{"content": "x"}], "no role"),
            ([{"role": "user", "content": 5}], "neither text nor parts"),
        ):
            with self.assertRaisesRegex(Unusable, reason):
                parse({"messages": messages})
