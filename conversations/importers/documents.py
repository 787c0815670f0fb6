"""Documents that were written beside a conversation, version by version, and how they stand in it as text. Pure.

Each version links to the one before it in its branch, so that a branch sees what was changed in it alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import regex

MAX_CHARS = 4_000_000
"""What the edited versions of one conversation hold together: many small edits of a large text are shown as edits."""
MAX_STEPS = 500
PATTERN_SECONDS = 0.5
BACKTICKS = re.compile("`+")
EVERYTHING = frozenset({".*", ".+", "(?s).*", "(?s).+", r"[\s\S]*", r"[\s\S]+", "^.*$", r"\A.*\Z", "(?s)^.*$"})
PROSE = frozenset({"", "document", "markdown", "md", "txt", "text", "plain"})
LANGUAGES = {"react": "jsx", "htm": "html", "yml": "yaml"}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document. `before` is what was written before it in its branch, also of another document."""

    key: str
    title: str
    language: str
    text: str
    number: int = 1
    before: Version | None = None


class CannotEdit(Exception):
    """The text is not known, or what was to be replaced is not in it."""


class Documents:
    """Writes the documents of one conversation."""

    def __init__(self) -> None:
        self._room = MAX_CHARS

    def write(self, before: Version | None, *, key: str, title: str, language: str, text: str) -> Version:
        """Return the next version of the document `key`, after `before`."""
        known = find(before, key)
        language = LANGUAGES.get(language.lower(), language.lower()) or (known.language if known else "")
        title = title or (known.title if known else "")
        return Version(key, title, language, text, known.number + 1 if known else 1, before)

    def edit(self, before: Version | None, key: str, change: Callable[[str, int], str]) -> Version:
        """Return a version that `change` makes of the last text; it gets the most characters that it may return."""
        known = find(before, key)
        if known is None:
            raise CannotEdit
        text = change(known.text, self._room)
        self._room -= len(text)
        return Version(known.key, known.title, known.language, text, known.number + 1, before)


def find(version: Version | None, key: str) -> Version | None:
    """Return the last version of the document `key`, or with an empty key of any; None too for one too far back."""
    for _ in range(MAX_STEPS):
        if version is None or not key or version.key == key:
            return version
        version = version.before
    return None


def replace(text: str, old: str, new: str, *, most: int, every: bool = False) -> str:
    """Return `text` with `new` for the first `old` in it, or for each; raises CannotEdit."""
    found = text.count(old) if old else 0
    times = found if every else min(found, 1)
    if not times or len(text) + times * len(new) > most:
        raise CannotEdit
    return text.replace(old, new, times)


def substitute(text: str, pattern: str, new: str, *, most: int, every: bool) -> str:
    """Return `text` with `new` for what a regular expression finds, as ChatGPT's canvas does; raises CannotEdit."""
    if pattern in EVERYTHING:
        if len(new) > most:
            raise CannotEdit
        return new
    out: list[str] = []
    at = size = 0
    try:
        # Not the standard library's: its search may take for ever, and knows no time limit.
        for found in regex.finditer(pattern, text, timeout=PATTERN_SECONDS):
            out += [text[at : found.start()], _expanded(found, new)]
            at = found.end()
            size += len(out[-1])
            if size + len(text) > most:
                raise CannotEdit
            if not every:
                break
    except (regex.error, TimeoutError, RecursionError, OverflowError, MemoryError) as error:
        raise CannotEdit from error
    if not out:
        return replace(text, pattern, new, most=most, every=every)  # written as the text itself
    return "".join([*out, text[at:]])


def _expanded(found: regex.Match[str], new: str) -> str:
    try:
        return found.expand(new) if "\\" in new else new
    except (regex.error, IndexError, KeyError):
        return new


def shown(version: Version) -> str:
    """Return a version as a conversation shows it: its title, and its whole text."""
    name = f"{_one_line(version.title) or 'unnamed'}{f', version {version.number}' if version.number > 1 else ''}"
    prose = version.language in PROSE
    return f"[document: {name}]\n\n{version.text if prose else fenced(version.text, version.language)}".rstrip()


def shown_edit(title: str, edits: list[tuple[str, str]]) -> str:
    """Return edits of a text that is not known: what was replaced, and by what."""
    changes = [f"replaced:\n{fenced(old, '')}\nby:\n{fenced(new, '')}" for old, new in edits]
    return "\n\n".join([f"[document: {_one_line(title) or 'unnamed'}, edited]", *changes])


def fenced(code: str, language: str) -> str:
    """Return code as Markdown shows it, whatever backticks are in it."""
    fence = "`" * max(3, 1 + max(map(len, BACKTICKS.findall(code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def _one_line(title: str) -> str:
    return " ".join(title.split())
