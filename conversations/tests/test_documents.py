"""Documents beside a conversation: ChatGPT's canvas, Claude's artifacts and files, version by version."""

from __future__ import annotations

import json
import time
from typing import Any

from django.test import SimpleTestCase

from conversations.importers import documents, parse
from conversations.tests.exports import chat, claude_message, node, root


def canvas(name: str, parent: str, function: str, call: Any, **fields: Any) -> dict[str, Any]:
    """Return a call to the canvas."""
    content = {"content_type": "code", "language": "json", "text": call if isinstance(call, str) else json.dumps(call)}
    return node(name, parent, "assistant", content=content, recipient=f"canmore.{function}", **fields)


def reply(name: str, parent: str, key: str = "1", title: str = "Letter") -> dict[str, Any]:
    about = {"canvas": {"textdoc_id": key, "textdoc_type": "document", "title": title}}
    return node(name, parent, "tool", ["Successfully done"], metadata=about)


def letter(content: str = "Dear Bob,\nyours, Alice", kind: str = "document") -> dict[str, Any]:
    return {"name": "letter", "type": kind, "content": content}


def update(*changes: tuple[str, str], multiple: bool = False) -> dict[str, Any]:
    return {"updates": [{"pattern": old, "multiple": multiple, "replacement": new} for old, new in changes]}


def shown(*nodes: dict[str, Any]) -> list[str]:
    return [message.content for message in parse(chat("talk", root(), node("q", "root"), *nodes)).messages][1:]


class CanvasTest(SimpleTestCase):
    def test_each_version_is_in_the_conversation_in_its_order(self):
        nodes = [
            canvas("c", "q", "create_textdoc", letter()),
            reply("t", "c"),
            node("a", "t", "assistant"),
            canvas("u1", "a", "update_textdoc", update(("Bob", "Carol"), (r"(yours), (\w+)", r"\1 ever, \2"))),
            reply("t1", "u1"),
            canvas("u2", "t1", "update_textdoc", update((".*", "All\nnew \\d"), multiple=True)),
            reply("t2", "u2"),
            canvas("k", "t2", "comment_textdoc", {"comments": [{"pattern": "All", "comment": "Who?"}]}),
        ]
        self.assertEqual(
            shown(*nodes),
            [
                "[document: Letter]\n\nDear Bob,\nyours, Alice",
                "a",
                "[document: Letter, version 2]\n\nDear Carol,\nyours ever, Alice",
                "[document: Letter, version 3]\n\nAll\nnew \\d",
                '[comments on the document: Letter]\n\n- "All": Who?',
            ],
        )

    def test_a_branch_has_its_own_versions(self):
        nodes = [
            canvas("c", "q", "create_textdoc", letter("one two one")),
            canvas("x", "c", "update_textdoc", update(("one", "1"), multiple=True)),
            canvas("y", "c", "update_textdoc", update(("one", "uno"))),
            canvas("z", "y", "update_textdoc", update(("two", "due"))),
        ]
        texts = [text.partition("\n\n")[::2] for text in shown(*nodes)]
        self.assertEqual(
            texts,
            [
                ("[document: letter]", "one two one"),
                ("[document: letter, version 2]", "1 two 1"),
                ("[document: letter, version 2]", "uno two one"),
                ("[document: letter, version 3]", "uno due one"),
            ],
        )

    def test_two_documents_are_told_apart_by_their_ids(self):
        nodes = [
            canvas("c1", "q", "create_textdoc", letter("first")),
            reply("t1", "c1", "1", "First"),
            canvas("c2", "t1", "create_textdoc", letter("second")),
            reply("t2", "c2", "2", "Second"),
            canvas("u1", "t2", "update_textdoc", update(("first", "primo"))),
            reply("r1", "u1", "1", "First"),
            canvas("u2", "r1", "update_textdoc", update(("second", "secondo")) | {"textdoc_id": "2"}),
        ]
        self.assertEqual(
            shown(*nodes)[2:], ["[document: First, version 2]\n\nprimo", "[document: Second, version 2]\n\nsecondo"]
        )

    def test_code_stays_code_and_marks_stay_out(self):
        code = letter("print('```')\n", "code/python")
        react = letter("<A/>", "code/react")
        nodes = [
            canvas("c", "q", "create_textdoc", code),
            canvas("u", "c", "update_textdoc", update((".*", "x = 1"))),
            canvas("r", "u", "create_textdoc", react | {"name": "App"}),
            canvas("m", "r", "create_textdoc", {"name": "marked", "content": "so \ue200cite\ue202turn0search0\ue201"}),
        ]
        self.assertEqual(
            shown(*nodes),
            [
                "[document: letter]\n\n````python\nprint('```')\n\n````",
                "[document: letter, version 2]\n\n```python\nx = 1\n```",
                "[document: App]\n\n```jsx\n<A/>\n```",
                "[document: marked]\n\nso",
            ],
        )

    def test_what_cannot_be_carried_out_is_shown_as_it_was_asked_for(self):
        edited = "[document: letter, edited]\n\nreplaced:\n```\nnowhere\n```\nby:\n```\nnew words\n```"
        [_, update_of_none] = shown(
            canvas("c", "q", "create_textdoc", letter()),
            canvas("u", "c", "update_textdoc", update(("nowhere", "new words"))),
        )
        self.assertEqual(update_of_none, edited)
        for pattern in ("(", "(a+)+$", "[z"):
            told = shown(
                canvas("c", "q", "create_textdoc", letter("a" * 40 + "b")),
                canvas("u", "c", "update_textdoc", update((pattern, "new words"))),
            )
            self.assertIn("new words", told[1])
        [lost] = shown(canvas("u", "q", "update_textdoc", update((".*", "all of it"))))
        self.assertEqual(lost, "[document: unnamed]\n\nall of it")
        [cut] = shown(canvas("c", "q", "create_textdoc", '{"name": "x", "content": "half'))
        self.assertIn("half", cut)
        odd: list[Any] = ["", "[]", "null", {}, {"updates": 5}, {"updates": [None]}, {"comments": [5]}, {"content": 5}]
        for call in odd:
            shown(canvas("c", "q", "create_textdoc", call), canvas("u", "c", "open", call), reply("t", "u"))

    def test_literal_text_is_replaced_although_it_is_no_pattern(self):
        [_, told] = shown(
            canvas("c", "q", "create_textdoc", letter("cost (1+2) euro")),
            canvas("u", "c", "update_textdoc", update(("(1+2)", "two"))),
        )
        self.assertEqual(told, "[document: letter, version 2]\n\ncost two euro")

    def test_a_hidden_call_stays_hidden(self):
        talk = parse(chat("talk", node("q", None), canvas("c", "q", "create_textdoc", letter(), weight=0)))
        self.assertEqual((len(talk.messages), talk.left_out), (1, {"hidden message": 1}))

    def test_many_edits_of_a_long_text_use_neither_memory_nor_time(self):
        nodes = [canvas("c0", "q", "create_textdoc", letter("word " * 40_000))]
        nodes += [canvas(f"c{at}", f"c{at - 1}", "update_textdoc", update(("word", "w"))) for at in range(1, 60)]
        nodes += [canvas("big", "c59", "update_textdoc", update(("", "x" * 100_000), multiple=True))]
        begun = time.monotonic()
        told = shown(*nodes)
        self.assertLess(sum(map(len, told)), documents.MAX_CHARS + 400_000)
        self.assertEqual(len(told), 61)
        self.assertLess(time.monotonic() - begun, 10)


def tool(name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": given}


def done(name: str, *content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "name": name, "content": list(content) or [{"type": "text", "text": "OK"}]}


def answers(*turns: list[dict[str, Any]]) -> list[str]:
    said = [claude_message(f"a{at}", sender="assistant", text="", content=turn) for at, turn in enumerate(turns)]
    return [message.content for message in parse({"uuid": "talk", "chat_messages": said}).messages]


class ClaudeTest(SimpleTestCase):
    def test_an_artifact_is_a_document_of_its_turn_in_each_version(self):
        create = tool(
            "artifacts", id="poem", type="text/markdown", title="Poem", command="create", content="# Moon\nred"
        )
        update = tool("artifacts", id="poem", command="update", old_str="red", new_str="blue")
        rewrite = tool("artifacts", id="poem", command="rewrite", title="Ode", content="# Sun")
        told = answers(
            [{"type": "text", "text": "Here."}, create, done("artifacts"), {"type": "text", "text": "Done."}],
            [update, done("artifacts")],
            [rewrite],
            [tool("artifacts", id="poem", command="update", old_str="gone", new_str="kept")],
            [tool("artifacts", id="poem", command="rewrite", content="# Rain")],
        )
        self.assertEqual(
            told,
            [
                "Here.\n\n[document: Poem]\n\n# Moon\nred\n\nDone.",
                "[document: Poem, version 2]\n\n# Moon\nblue",
                "[document: Ode, version 3]\n\n# Sun",
                "[document: Ode, edited]\n\nreplaced:\n```\ngone\n```\nby:\n```\nkept\n```",
                "[document: Ode, version 4]\n\n# Rain",
            ],
        )

    def test_code_is_shown_as_the_language_that_it_is(self):
        for fields, language in (
            ({"type": "application/vnd.ant.code", "language": "Python"}, "python"),
            ({"type": "application/vnd.ant.react"}, "jsx"),
            ({"type": "text/html"}, "html"),
            ({"type": "image/svg+xml"}, "svg"),
            ({"type": "application/vnd.ant.mermaid"}, "mermaid"),
        ):
            [told] = answers([tool("artifacts", id="x", title="X", command="create", content="a", **fields)])
            self.assertEqual(told, f"[document: X]\n\n```{language}\na\n```")

    def test_a_file_that_a_tool_wrote_is_a_document_too(self):
        path = "/mnt/user-data/outputs/report.md"
        local = {"type": "local_resource", "file_path": path, "name": "report.md"}
        other = {"type": "local_resource", "file_path": "/mnt/chart.png", "name": "chart"}
        told = answers(
            [tool("create_file", path=path, file_text="one\ntwo\n"), done("create_file")],
            [tool("str_replace", path=path, old_str="two", new_str="2"), done("str_replace")],
            [tool("str_replace_based_edit_tool", command="insert", path=path, insert_line=1, insert_text="between")],
            [tool("str_replace", path="/else/code.py", old_str="a", new_str="b")],
            [tool("view", path=path), done("view"), done("present_files", local, other)],
            [tool("create_file", path="/x/code.py", file_text="pass")],
        )
        self.assertEqual(
            told,
            [
                "[document: report.md]\n\none\ntwo",
                "[document: report.md, version 2]\n\none\n2",
                "[document: report.md, version 3]\n\none\nbetween\n2",
                "[document: code.py, edited]\n\nreplaced:\n```\na\n```\nby:\n```\nb\n```",
                "[file: chart]",
                "[document: code.py]\n\n```py\npass\n```",
            ],
        )

    def test_a_tag_in_an_older_text_is_a_document_too(self):
        def tag(body: str, **about: str) -> str:
            attributes = "".join(f' {name}="{value}"' for name, value in about.items())
            return f"<antArtifact{attributes}>{body}</antArtifact>"

        poem = tag("\n# Moon\nred\n", identifier="poem", type="text/markdown", title="Moon &amp; sun")
        code = tag(
            "\nif a > b:\n    pass\n", identifier="x", type="application/vnd.ant.code", language="python", title="X"
        )
        told = answers(
            [{"type": "text", "text": f"<antThinking>A poem.</antThinking>\n\nHere.\n\n{poem}\n\nDone. {code}"}],
            [{"type": "text", "text": poem.replace("red", "blue")}],
            [tool("artifacts", id="poem", command="update", old_str="blue", new_str="green")],
            [{"type": "text", "text": "Cut: <antArtifact identifier='y' title='a > b'>\none\ntwo"}],
            [{"type": "text", "text": 'Cut: <antArtifact identifier="y'}],
            [{"type": "text", "text": "The tag `<antArtifact>` and </antThinking>"}],
        )
        self.assertEqual(
            told,
            [
                "Here.\n\n[document: Moon & sun]\n\n# Moon\nred\n\nDone.\n\n"
                "[document: X]\n\n```python\nif a > b:\n    pass\n```",
                "[document: Moon & sun, version 2]\n\n# Moon\nblue",
                "[document: Moon & sun, version 3]\n\n# Moon\ngreen",
                "Cut:\n\n[document: a > b]\n\none\ntwo",
                "Cut:",
                "The tag `<antArtifact>` and",
            ],
        )
        flat = claude_message("a", sender="assistant", text=f"So: {poem}", content=[])
        asked = claude_message("q", text=poem, content=[])
        talk = parse({"uuid": "talk", "chat_messages": [asked, flat]})
        self.assertEqual(
            [message.content for message in talk.messages], [poem, "So:\n\n[document: Moon & sun]\n\n# Moon\nred"]
        )
        self.assertEqual(talk.messages[1].formerly, f"So: {poem}")

    def test_marks_of_citations_do_not_stay_in_a_text(self):
        marked = (
            "It is <cite index=\"0-1,2\">so</cite> and <cite index='3'>so</cite>【10†source】. <cite>Ulysses</cite>"
        )
        told = answers(
            [{"type": "text", "text": marked}],
            [{"type": "text", "text": "Marked \ue200cite\ue202turn0search1\ue201【3†sour"}],
        )
        self.assertEqual(told, ["It is so and so. <cite>Ulysses</cite>", "Marked"])
        asked = claude_message("q", content=[{"type": "text", "text": "Why【4:0†a.pdf】?"}])
        talk = parse({"uuid": "talk", "name": "Whales【1†source】", "chat_messages": [asked]})
        self.assertEqual((talk.title, talk.messages[0].content), ("Whales", "Why?"))

    def test_many_tags_take_no_time(self):
        begun = time.monotonic()
        for text in (
            '<antArtifact a="',
            "<antArtifact ",
            "<antThinking>",
            '<antArtifact a="b">x',
            "<cite index='",
            "<antA",
        ):
            answers([{"type": "text", "text": f"x{text * 20_000}"}, {"type": "text", "text": f"{text}{' ' * 99_999}"}])
        self.assertLess(time.monotonic() - begun, 5)

    def test_a_tool_may_be_given_anything(self):
        odd: list[Any] = [None, 5, "x", [], {}, {"path": 5}, {"path": "a", "insert_line": 99, "insert_text": "t"}]
        odd += [
            {"id": 5, "content": None},
            {"path": "a", "old_str": "", "new_str": None},
            {"path": "/", "content": "x"},
        ]
        for given in odd:
            for name in ("artifacts", "create_file", None):
                answers([{"type": "text", "text": "ok"}, {"type": "tool_use", "name": name, "input": given}, done("x")])
