"""ChatGPT's citation and entity marks -> Markdown links and sources, or nothing. Pure.

A mark stands between U+E200 and U+E201: a kind and its arguments, with U+E202 between them. U+E203 and U+E204 enclose
words that a source supports, U+E206 stands for a source alone. Marks may be nested, cut off, or bare
(`citeturn0search1`). Older ones look like `【12†source】`. What a mark stands for is in the message's metadata:
`content_references` name it by its text, `citations` by its place; two marks that read the same may have two sources.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from conversations.importers.values import mapping, sequence, text

OPEN, CLOSE, SEPARATOR = "\ue200", "\ue201", "\ue202"
GAP, LINK = "\ufdd0", "\ufdd1"  # no characters of any text: the place of a mark that says nothing, and of a link
MAX_NESTED = 8
SENTENCE_ENDS = frozenset(".,;:!?)]}\n")
TRACKING = frozenset({"utm_source=chatgpt.com", "utm_source=openai"})

_ANY = re.compile("[\ue200-\ue206\ufdd0\ufdd1†]|citeturn[0-9]|【[0-9][0-9:]*\\s*\\Z")
_LOST = re.compile("[\ue200-\ue206]")
_OLD = re.compile("【[^【】\n]{0,300}†[^【】\n]{0,300}】")
# One that was cut off: to the end of the text, or as far as it is no sentence.
_OLD_CUT = re.compile(
    r"【[0-9]+(?::[0-9]+)?†(?:source\b|[^【】\n]{0,80}\s*\Z|[A-Za-z0-9._-]{0,80})|【[0-9]+(?::[0-9]*)?\s*\Z"
)
_INNERMOST = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")
_NUMBER = re.compile("【([0-9]+)")
_BARE = re.compile(r"(?:file|mem)?cite(?:turn[0-9]+[a-z]+[0-9]+)+")
_CUT = re.compile(
    "(?:[a-z_]+(?=[\ue202\\[{]|\\Z)(?:[\\[{][^\n]*)?)?"
    "(?:\ue202(?:[^\n\ue202]*(?=\ue202)|turn[0-9]+[a-z]+[0-9]+|t(?:u(?:r(?:n(?:[0-9]+[a-z_]*)?)?)?)?\\Z"
    "|[\\[{][^\n]*)?)*"
)
_KIND = re.compile("([a-z_]+)(?=[\\[{\ue202]|\\Z)\ue202?")
_POINTER = re.compile(r"turn[0-9]+[a-z_]+[0-9]+\Z")
_ALT_LINK = re.compile(r"\[([^\[\]\n]{0,300})\]\((https?://[^()\s]{1,2000})\)")
_UNSAFE = re.compile(r"[\s()<>\"\\]")


class Source(NamedTuple):
    """Where something is from: a page, or with no `url` a file."""

    title: str
    url: str


class _Reference(NamedTuple):
    """What a message's metadata says of a mark; `start` is where it is, if that is a number."""

    start: Any
    sources: list[Source]


class Cleaned(NamedTuple):
    """A text without marks. `annotations` are its sources as the chat wire has them, with their places in `text`."""

    text: str
    annotations: list[dict[str, Any]]


def clean(value: str, about: Mapping[str, Any] | None = None) -> Cleaned:
    """Return a text with links in place of its marks; `about` is the metadata of its message."""
    about = about or {}
    footnotes = [
        source
        for each in sequence(about.get("content_references"))
        if mapping(each).get("type") == "sources_footnote"
        for source in _sources(mapping(each))
    ]
    if not footnotes and not _ANY.search(value):
        return Cleaned(value, [])
    return _Cleaner(value, about).cleaned(footnotes)


class _Cleaner:
    def __init__(self, value: str, about: Mapping[str, Any]) -> None:
        self._links: list[tuple[str, list[Source]]] = []
        self._known = _known(value, about)
        self._seen: Counter[str] = Counter()
        self._marked = value.replace(GAP, "").replace(LINK, "")

    def cleaned(self, footnotes: list[Source]) -> Cleaned:
        marked = _OLD.sub(lambda found: self._put(self._sources_of(found[0]) or []), self._marked)
        marked = _OLD_CUT.sub(GAP, marked)
        marked = _BARE.sub(GAP, self._without_marks(marked))
        parts = _close_gaps(_LOST.sub(GAP, marked.replace("\ue203", "").replace("\ue204", ""))).split(LINK)
        out: list[str] = []
        at = 0
        annotations: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            shown, sources = self._links[int(part)] if number % 2 else (part, [])
            annotations += [_annotation(source, at, at + len(shown)) for source in sources if source.url]
            out.append(shown)
            at += len(shown)
        cited = {each["url_citation"]["url"] for each in annotations}
        annotations += [_annotation(source, at, at) for source in footnotes if source.url and source.url not in cited]
        return Cleaned("".join(out), annotations)

    def _without_marks(self, value: str) -> str:
        """Return the text with what each mark stands for; an inner mark is replaced before the one around it."""
        open_marks: list[tuple[list[str], list[str]]] = [([], [])]  # what is shown, and what was there
        for token in re.split(f"([{OPEN}{CLOSE}])", value):
            if token == OPEN and len(open_marks) <= MAX_NESTED:
                open_marks.append(([], []))
            elif token == CLOSE and len(open_marks) > 1:
                shown, raw = map("".join, open_marks.pop())
                mark = f"{OPEN}{raw}{CLOSE}"
                open_marks[-1][0].append(self._render(shown, self._sources_of(mark)))
                open_marks[-1][1].append(mark)
            else:
                open_marks[-1][0].append(GAP if token in (OPEN, CLOSE) else token)
                open_marks[-1][1].append(token)
        outer, *cut_off = ["".join(shown) for shown, _ in open_marks]
        return outer + "".join(GAP + _CUT.sub("", each, count=1) for each in cut_off)

    def _sources_of(self, mark: str) -> list[Source] | None:
        """Return the sources of a mark, of the next one where several read the same; None if it is not known."""
        known = self._known.get(mark)
        self._seen[mark] += 1
        return known[min(self._seen[mark], len(known)) - 1] if known else None

    def _render(self, inner: str, sources: list[Source] | None) -> str:
        kind = _KIND.match(inner)
        rest = inner[kind.end() :] if kind else ""
        if sources is None and (kind is None or ("\n" in rest and rest[0] not in "[{")):
            return GAP + _CUT.sub("", inner, count=1) + GAP  # what closed here began elsewhere: words are between
        if kind is not None and kind[1] == "entity":
            return _entity(rest) or (sources[0].title if sources else GAP)
        label = next((each for each in rest.split(SEPARATOR) if each and not _POINTER.match(each)), "")
        if kind is not None and kind[1] in ("url", "link") and label:
            title, url = _title(label), _url(sources[0].url if sources else label)
            return self._link(Source(title, url)) if url else title
        return self._put(sources or [])

    def _put(self, sources: list[Source]) -> str:
        """Return the place of links to `sources`, in brackets."""
        if not sources:
            return GAP
        links = [f"[{source.title}]({source.url})" if source.url else source.title for source in sources]
        self._links.append((f"({', '.join(dict.fromkeys(links))})", sources))
        return f"{GAP} {LINK}{len(self._links) - 1}{LINK}"

    def _link(self, source: Source) -> str:
        self._links.append((f"[{source.title}]({source.url})", [source]))
        return f"{LINK}{len(self._links) - 1}{LINK}"


def _known(value: str, about: Mapping[str, Any]) -> dict[str, list[list[Source]]]:
    """Return the sources of each mark, by the mark's text: of each one in turn where several read the same."""
    referred: dict[str, list[_Reference]] = defaultdict(list)
    for each in map(mapping, sequence(about.get("content_references"))):
        mark = text(each.get("matched_text")) or _slice(value, each.get("start_idx"), each.get("end_idx"))
        if _ANY.search(mark):
            referred[mark].append(_Reference(each.get("start_idx"), _sources(each)))
    cited: dict[str, list[_Reference]] = defaultdict(list)
    citations = [mapping(each) for each in sequence(about.get("citations"))]
    marks = _OLD.findall(value)
    numbered = {found[1]: mark for mark in reversed(marks) if (found := _NUMBER.match(mark))}
    for number, each in enumerate(citations):
        source = mapping(each.get("metadata"))
        mark = _slice(value, each.get("start_ix"), each.get("end_ix"))
        if not (mark.startswith(OPEN) or _OLD.fullmatch(mark)):  # counted in other units, or not at all
            index = mapping(source.get("extra")).get("cited_message_idx")
            mark = numbered.get(str(index)) or (marks[number] if len(marks) == len(citations) else "")
        if mark:
            cited[mark].append(_Reference(each.get("start_ix"), _sources(source)))
    places: dict[str, list[int]] = defaultdict(list)
    for pattern in (_OLD, _INNERMOST):
        for found in pattern.finditer(value):
            places[found[0]].append(found.start())
    return {mark: _in_turn(references, places[mark]) for mark, references in {**cited, **referred}.items()}


def _in_turn(references: list[_Reference], places: list[int]) -> list[list[Source]]:
    """Return the sources of each place, matched by the order of the references or by their offsets."""
    if len(references) == len(places):
        starts = [each.start for each in references if isinstance(each.start, int)]
        ordered = len(starts) == len(set(starts)) == len(references)
        return [each.sources for each in (sorted(references, key=lambda each: each.start) if ordered else references)]
    first = references[0].sources
    if len(references) == 1:
        return [first]
    by_place = {each.start: each.sources for each in references if isinstance(each.start, int)}
    return [by_place.get(place, first) for place in places] or [first]


def _slice(value: str, start: Any, end: Any) -> str:
    whole = isinstance(start, int) and isinstance(end, int) and 0 <= start < end
    return value[start:end] if whole else ""


def _sources(reference: Mapping[str, Any]) -> list[Source]:
    found = list(dict.fromkeys(_listed(reference)))
    if not found and (own := _source(reference)):
        found = [own]
    if not found:
        found = [Source(_title(title) or url, url) for title, url in _ALT_LINK.findall(text(reference.get("alt")))]
        found = [Source(each.title, _url(each.url)) for each in found]
    return found


def _listed(reference: Mapping[str, Any]) -> Iterator[Source]:
    for name in ("items", "sources", "fallback_items"):
        for item in map(mapping, sequence(reference.get(name))):
            for each in (item, *map(mapping, sequence(item.get("supporting_websites")))):
                if source := _source(each):
                    yield source


def _source(value: Mapping[str, Any]) -> Source | None:
    url = _url(text(value.get("url")) or text(value.get("content_url")))
    title = next(
        (_title(each) for name in ("title", "attribution", "name") if (each := text(value.get(name))).strip()), ""
    )
    return Source(title or urlsplit(url).netloc, url) if url or title else None


def _title(value: str) -> str:
    plain = _LOST.sub("", value.replace("[", "(").replace("]", ")").replace(LINK, "").replace(GAP, ""))
    return " ".join(plain.split())


def _url(value: str) -> str:
    """Return an address as it can stand in a link, without what ChatGPT adds to be counted; empty for no address."""
    if not value.startswith(("https://", "http://")):
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    query = "&".join(each for each in parts.query.split("&") if each not in TRACKING)
    return _UNSAFE.sub(lambda found: quote(found[0]), _LOST.sub("", parts._replace(query=query).geturl()))


def _entity(argument: str) -> str:
    """Return the name in an entity's `["people", "Ada", 0]`."""
    try:
        value = json.loads(argument)
    except (ValueError, RecursionError):
        return ""
    if isinstance(value, dict):
        return _title(text(value.get("name")))
    names = [each for each in sequence(value) if isinstance(each, str)]
    return _title(names[1]) if len(names) > 1 else ""


def _annotation(source: Source, start: int, end: int) -> dict[str, Any]:
    citation = {"start_index": start, "end_index": end, "title": source.title, "url": source.url}
    return {"type": "url_citation", "url_citation": citation}


def _close_gaps(value: str) -> str:
    """Take the gaps out, with the space that each would leave doubled, at an end of a line or before a full stop."""
    out, *rest = value.split(GAP)
    done: list[str] = [out]
    carried = ""
    for number, piece in enumerate(rest, 1):
        piece = carried + piece
        if not piece.strip(" \t") and number < len(rest):
            carried = piece  # marks side by side leave one gap
            continue
        carried = ""
        left, right = done[-1].rstrip(" \t"), piece.lstrip(" \t")
        spaced = left != done[-1] or right != piece
        begins = not left or left.endswith("\n")
        ends = not right or right[0] in SENTENCE_ENDS
        done[-1] = left + (" " if spaced and not begins and not ends else "")
        done.append(right)
    return "".join(done)
