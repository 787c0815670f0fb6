"""An answer that is rendered block by block, while it is written, is the answer that is rendered at its end."""

from __future__ import annotations

import random
import time
from itertools import islice

from django.test import SimpleTestCase

from conversations.finished_blocks import FinishedBlocks, RenderState, render_finished
from conversations.rendering import MAX_TEXT, render_markdown
from conversations.tests.test_rendering import assert_harmless

# What goes on, opens, ends or interrupts blocks, each as whole lines.
LINES = (
    *("one\ntwo\n", "# A\n", "---\n", "===\n", "\n", "\n", "\n\n", "    indented\n", "   text\n", "end\\\n", "<b>\n"),
    *(
        "- a\n",
        "- a\n\n- b\n",
        "* * *\n",
        "+ k\n",
        "10) k\n",
        "1. x\n   y\n\n   z\n",
        "  - nested\n",
        "- ```\n  x\n\n  y\n  ```\n",
    ),
    *("> q\nlazy\n", "> - a\n>\n> b\n", "```python\ndef f():\n\n    pass\n```\n", "```\nopen\n", "~~~\nx\n~~~\n"),
    *(
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "a | b\n",
        "--|--\n",
        "\\[\nx\n- y\n\\]\n",
        "$$\na\n$$\n",
        "\\[ open\n",
        "\\]\n",
        "$$\n",
    ),
    *("see [a] and [b][]\n", "[c\n", "'title'\n"),
)
REFERENCES = "[a]: https://a.example\n[b]: https://b.example 'B'\n\n"


def written(text: str, chance: random.Random) -> list[str]:
    """Return the blocks of a text that comes in deltas, each as soon as it is finished."""
    html: list[str] = []
    state, rest, at = RenderState.parse(""), "", 0
    while at < len(text):
        size = chance.randint(1, 60)
        rest, at = rest + text[at : at + size], at + size
        found = render_finished(rest[: rest.rfind("\n") + 1], state)
        html += found.html
        state = RenderState.parse(str(found.state))
        rest = "".join(islice(rest.splitlines(keepends=True), found.lines, None))
    return html


class FinishedBlocksTest(SimpleTestCase):
    def test_what_is_finished_stays_as_it_is(self) -> None:
        finished = 0
        for seed in range(1_500):
            chance = random.Random(seed)
            text = REFERENCES * (seed % 2) + "".join(chance.choices(LINES, k=chance.randint(2, 14)))
            html = written(text, chance)
            finished += len(html)
            self.assertTrue(render_markdown(text).startswith("".join(html)), (seed, text, html))
        self.assertGreater(finished, 3_000)

    def test_each_block_is_there_as_soon_as_the_next_begins(self) -> None:
        found = render_finished("Hello\n\n```py\nx = 1\n```\nand\n\n- a\n- b\n\nso", RenderState.parse(""))
        self.assertEqual([html.split(">")[0] for html in found.html], ["<p", "<pre", "<p", "<ul"])
        self.assertEqual(found.lines, 10)

    def test_code_is_coloured_up_to_the_limit_of_the_whole(self) -> None:
        text = f"```python\n{'x = 1  # one' * 80}\n```\n\n" * 40 + "end\n"
        html = written(text, random.Random(1))
        self.assertEqual(len(html), 40)
        self.assertTrue(render_markdown(text).startswith("".join(html)))
        self.assertNotIn("<span", html[-1])

    def test_a_state_is_what_was_given_or_refused(self) -> None:
        for bad in (
            "{}",
            "[]",
            "[1]",
            "[1, [1]]",
            '[1, {"a": 1}]',
            '["x", {}]',
            "[" * 5_000,
            "[1e999, {}]",
            "null",
            "\x00",
        ):
            with self.assertRaises(ValueError, msg=bad[:20]):
                RenderState.parse(bad)
        evil = RenderState.parse('[-5, {"A": ["javascript:alert(1)", "\\"><script>"]}]')
        found: FinishedBlocks = render_finished("[a]\n\nx\n", evil)
        self.assertEqual(evil.coloured, 0)
        assert_harmless("".join(found.html))

    def test_much_costs_little(self) -> None:
        for text in ("[a]: x\n" * 14_000, "a\n\n" * 33_000, "> [a\n" * 16_000, "\\[ a\n" * 20_000):
            began = time.process_time()
            render_finished(text[:MAX_TEXT], RenderState.parse(""))
            self.assertLess(time.process_time() - began, 10)
