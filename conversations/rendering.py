"""Renders Markdown of messages as safe HTML, for staff in the admin and for users on the chat page.

What users type and what models answer are equally untrusted. None of their HTML gets through, nothing remote is loaded
(an image would tell its server who is reading what), and no input takes long to render.
"""

from __future__ import annotations

import logging
import re

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

logger = logging.getLogger(__name__)

# Limits on the characters of one text, of the delimiters in one block, and of coloured code: beyond them text is shown
# plain. Inline markup can cost the square of its delimiters, nesting and colouring a multiple of the text.
MAX_TEXT = 100_000
MAX_DELIMITERS = 2_000
MAX_COLOURED = 10_000
MAX_COLOURED_IN_ALL = 30_000
MAX_LINE_COLOURED = 1_000
MAX_NESTING = 20
DELIMITERS = re.compile(r"[\[\]*_`~!<>&|\\()]")
BLANK_LINE = re.compile(r"\n[ \t]*\n")
# Absolute links only: a link in somebody's text must not lead into this site.
LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
CLASS = re.compile(r"(?:language-[a-z0-9+#.-]{1,30}|align-(?:left|right|center)|[a-z]{1,2}[0-9a-z]?)\Z")
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "li", "hr", "br"}
TAGS = BLOCKS | {"em", "strong", "s", "code", "a", "span", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    **{tag: {"class"} for tag in ("code", "span", "th", "td")},
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


def render_markdown(text: str) -> SafeString:
    """Return `text` as HTML without scripts, styles, images or remote content; escaped in <pre> if it is too long.

    Code is coloured by Pygments classes: show it with `conversations/code.css`.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) > MAX_TEXT or any(
        sum(1 for _ in DELIMITERS.finditer(block)) > MAX_DELIMITERS for block in BLANK_LINE.split(text)
    ):
        return plain(text)
    try:
        html = MARKDOWN.render(text)
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


def _adapt(state: StateCore) -> None:
    """Replace images by links, align table cells by class, and limit how much code is coloured."""
    coloured = 0
    for token in state.tokens:
        coloured += len(token.content) if token.type == "fence" else 0
        if token.type == "fence" and coloured > MAX_COLOURED_IN_ALL:
            token.info = ""
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", "")):
            token.attrSet("class", f"align-{str(style).rpartition(':')[2]}")
        inside_link = 0
        children: list[Token] = []
        for child in token.children or ():
            inside_link += child.nesting if child.type in ("link_open", "link_close") else 0
            children += [child] if child.type != "image" else _link(child, nested=inside_link > 0)
        if token.children is not None:
            token.children = children


def _link(image: Token, *, nested: bool) -> list[Token]:
    address = str(image.attrs.get("src", ""))
    text = Token("text", "", 0, content=unescapeAll(image.content) or address)
    if nested:
        return [text]
    return [Token("link_open", "a", 1, attrs={"href": address}), text, Token("link_close", "a", -1)]


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if LINK.match(value) else None
    if name == "class":
        return " ".join(each for each in value.split() if CLASS.match(each)) or None
    return value


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _colour, "maxNesting": MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = lambda url: LINK.match(url) is not None  # type: ignore[method-assign]
    parser.core.ruler.push("adapt", _adapt)
    return parser


MARKDOWN = _parser()
CLEANER = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    attribute_filter=_attribute,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)
