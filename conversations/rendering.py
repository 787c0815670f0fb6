"""Renders Markdown of messages as safe HTML, for staff in the admin and for users on the chat page.

What users type and what models answer are equally untrusted. None of their HTML gets through, nothing remote is loaded
(an image would tell its server who is reading what), and no input takes long to render.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.common.normalize_url import normalizeLink
from markdown_it.common.utils import unescapeAll
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from conversations.mathematics import add_mathematics

logger = logging.getLogger(__name__)

# Limits on the characters of one text, of the delimiters in one paragraph, and of coloured code: beyond them text is
# shown plain. Inline markup can cost the square of its delimiters, nesting and colouring a multiple of the text.
MAX_TEXT = 100_000
MAX_DELIMITERS = 2_000
MAX_COLOURED = 10_000
MAX_COLOURED_IN_ALL = 30_000
MAX_LINE_COLOURED = 1_000
MAX_NESTING = 20
DELIMITERS = re.compile(r"[\[\]*_`~!<>&|\\()$]")
# Absolute links only: a link in somebody's text must not lead into this site.
LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
ADDRESS = re.compile(r"(?<![\w/])https?://[^\s<>\"`]*[^\s<>\"`?!.,:;*_~'(]", re.IGNORECASE)
PUNCTUATION = "?!.,:;*_~')"
TASK = re.compile(r"\[([ xX])\] ")
CLASS = re.compile(
    r"(?:language-[a-z0-9+#.-]{1,30}|align-(?:left|right|center)|math|inline|display|task|[a-z]{1,2}[0-9a-z]?)\Z"
)
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "li", "hr", "br"}
TAGS = BLOCKS | {"em", "strong", "s", "code", "a", "span", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    **{tag: {"class"} for tag in ("code", "span", "li", "th", "td")},
}
# Lexers whose patterns are known to be safe, by the names people write after the fence.
LANGUAGES = frozenset(
    (
        *("bash", "c", "c++", "cpp", "css", "diff", "docker", "dockerfile", "elixir", "go", "graphql"),
        *("haskell", "html", "http", "ini", "java", "javascript", "js", "json", "kotlin", "lua", "make", "makefile"),
        *("nginx", "perl", "php", "powershell", "py", "python", "r", "rb", "ruby", "rs", "rust", "sh", "shell", "sql"),
        *("swift", "toml", "ts", "typescript", "xml", "yaml", "yml", "zsh"),
    )
)
FORMATTER = HtmlFormatter(nowrap=True)


def render_markdown(text: str, *, keep_breaks: bool = False) -> SafeString:
    """Return `text` as HTML without scripts, styles, images or remote content; escaped in <pre> if it is too long.

    `keep_breaks` keeps single line breaks, which Markdown joins: people press Enter where they want one. Code is
    coloured by Pygments classes: show it with `conversations/code.css`.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) > MAX_TEXT:
        return plain(text)
    try:
        html = MARKDOWN.render(text, {"breaks": keep_breaks})
    except Exception as error:  # a bug in the parser must not hide a message
        logger.warning("A text could not be rendered as Markdown: %s", type(error).__name__)
        return plain(text)
    return SafeString(CLEANER.clean(html))


def plain(text: str) -> SafeString:
    """Return `text` escaped, with its line breaks."""
    return SafeString(f"<pre>{escape(text)}</pre>")


def _colour(code: str, language: str, attributes: str) -> str:
    name = language.strip().lower()
    too_long = len(code) > MAX_COLOURED or max(map(len, code.split("\n"))) > MAX_LINE_COLOURED
    try:
        lexer = get_lexer_by_name(name) if name in LANGUAGES and not too_long else None
    except ClassNotFound:
        lexer = None
    inner = highlight(code, lexer, FORMATTER) if lexer else escape(code)
    return f'<pre><code class="language-{escape(name)}">{inner}</code></pre>'


def top_level(tokens: list[Token]) -> list[list[Token]]:
    """Return the tokens of each block that is in no other."""
    starts = [at for at, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
    return [tokens[start:end] for start, end in pairwise([*starts, len(tokens)])]


def _flatten(state: StateCore) -> None:
    """Show blocks plain that are nested too deep: the parser leaves out what is deeper."""
    lines = state.src.split("\n")
    tokens: list[Token] = []
    for block in top_level(state.tokens):
        if max(token.level for token in block) >= MAX_NESTING - 1 and block[0].map:
            begin, end = block[0].map
            block = [Token("plain", "", 0, map=block[0].map, content="\n".join(lines[begin:end]), block=True)]
        tokens += block
    state.tokens = tokens


def _render_plain(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Mapping[str, Any]) -> str:
    return f"{plain(tokens[at].content)}\n"


def _parse_inline(state: StateCore) -> None:
    """Parse what is in paragraphs, headings and cells; leave those with too many delimiters as they were written."""
    for at, token in enumerate(state.tokens):
        if token.type != "inline":
            continue
        token.children = []
        if sum(1 for _ in DELIMITERS.finditer(token.content)) <= MAX_DELIMITERS:
            state.md.inline.parse(token.content, state.md, state.env, token.children)
            continue
        token.children.append(Token("text", "", 0, content=token.content))
        around = state.tokens[at - 1], state.tokens[at + 1]
        for each in around if around[0].tag == "p" else ():
            each.tag = "pre"


def _adapt(state: StateCore) -> None:
    """Replace images by links, make links of addresses, keep line breaks, limit how much code is coloured.

    Table cells are aligned by class, and tasks get their boxes.
    """
    coloured = state.env.get("coloured", 0)
    for at, token in enumerate(state.tokens):
        coloured += len(token.content) if token.type == "fence" else 0
        if token.type == "fence" and coloured > MAX_COLOURED_IN_ALL:
            token.info = ""
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", "")):
            token.attrSet("class", f"align-{str(style).rpartition(':')[2]}")
        inside_link = 0
        children: list[Token] = []
        for child in token.children or ():
            inside_link += child.nesting if child.type in ("link_open", "link_close") else 0
            if child.type == "softbreak" and state.env.get("breaks"):
                child.type, child.tag = "hardbreak", "br"
            if child.type == "image":
                children += _link(child, nested=inside_link > 0)
            else:
                children += [child] if child.type != "text" or inside_link else _autolinks(child.content)
        if token.children is not None:
            token.children = children
        if children and at >= 2 and state.tokens[at - 2].type == "list_item_open":
            _mark_task(state.tokens[at - 2], children[0])
    state.env["coloured"] = coloured


def _link(image: Token, *, nested: bool) -> list[Token]:
    address = str(image.attrs.get("src", ""))
    text = Token("text", "", 0, content=unescapeAll(image.content) or address)
    if nested:
        return [text]
    return [Token("link_open", "a", 1, attrs={"href": address}), text, Token("link_close", "a", -1)]


def _mark_task(item: Token, text: Token) -> None:
    box = TASK.match(text.content)
    if box and text.type == "text":
        text.content = f"{'☐' if box[1] == ' ' else '☑'} {text.content[box.end() :]}"
        item.attrSet("class", "task")


def _autolinks(text: str) -> list[Token]:
    """Return the text with links where it has addresses, each without the punctuation that ends its sentence."""
    tokens: list[Token] = []
    at = 0
    for found in ADDRESS.finditer(text):
        address = found[0]
        length, surplus = len(address), address.count(")") - address.count("(")
        while address[length - 1] in PUNCTUATION and (address[length - 1] != ")" or surplus > 0):
            surplus -= address[length - 1] == ")"
            length -= 1
        if not LINK.match(address[:length]):
            continue
        tokens += [
            Token("text", "", 0, content=text[at : found.start()]),
            Token("link_open", "a", 1, attrs={"href": normalizeLink(address[:length])}),
            Token("text", "", 0, content=address[:length]),
            Token("link_close", "a", -1),
        ]
        at = found.start() + length
    return [*tokens, Token("text", "", 0, content=text[at:])]


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if LINK.match(value) else None
    if name == "class":
        return " ".join(each for each in value.split() if CLASS.match(each)) or None
    return value


def make_parser() -> MarkdownIt:
    """Return a parser. Its `env` may have `breaks`, and what is known of the text before: `references`, `coloured`."""
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _colour, "maxNesting": MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = lambda url: LINK.match(url) is not None  # type: ignore[method-assign]
    parser.core.ruler.after("block", "flatten", _flatten)
    parser.core.ruler.at("inline", _parse_inline)
    parser.add_render_rule("plain", _render_plain)
    parser.core.ruler.push("adapt", _adapt)
    add_mathematics(parser)
    return parser


MARKDOWN = make_parser()
CLEANER = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    attribute_filter=_attribute,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)
