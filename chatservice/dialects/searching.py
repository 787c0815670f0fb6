"""The parameters of a search, the same in every dialect, and the parts of a response that all dialects share.

`since` and `until` are the engine's `after` and `before`: on the wire those names are used for cursors and for the
messages around a hit.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from accounts.callers import Principal
from accounts.guests import as_id
from chatservice.dialects.problems import BadRequest
from conversations.models import Message, load_parts
from conversations.storable import is_storable
from conversations.tags import tag_key
from search.queries import search_messages
from search.results import MAX_HITS, Filters, Group, Hit, Hits, Mode

MAX_QUERY_CHARS = 1000
MAX_NAME_CHARS = 200
DEFAULT_LIMIT = 20
NEIGHBOUR_CHARS = 200
NUMBER = re.compile(r"[0-9]{1,6}\Z", re.ASCII)
DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
ARCHIVED = {"all": None, "true": True, "false": False}
MODES = [str(mode) for mode in Mode]
GROUPS = [str(group) for group in Group]
ROLES = [str(value) for value in Message.Role.values]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A validated request for a search."""

    text: str
    mode: Mode
    filters: Filters
    limit: int
    cursor: str
    group: Group | None = None

    def find(self, principal: Principal) -> Hits:
        """Search the messages that `principal` may see; raises InvalidCursor, SearchNotAllowed. Uses the database."""
        hits = search_messages(
            principal,
            self.text,
            mode=self.mode,
            filters=self.filters,
            limit=self.limit,
            cursor=self.cursor,
            group=self.group,
        )
        load_parts([hit.message for hit in hits.hits])  # by one query: a refusal is told by its parts
        return hits


def read_search(given: Mapping[str, str], roles: Sequence[str] = (), *, query: str = "q") -> SearchRequest:
    """Read a search request from query parameters; raises BadRequest naming every wrong one."""
    reader = _Reader(given)
    text = reader.text(query, MAX_QUERY_CHARS)
    if not text.strip() and query not in reader.wrong:
        reader.wrong[query] = ["This must not be empty."]
    group = reader.choice("group", GROUPS, GROUPS[0]) if given.get("group") else None
    search_request = SearchRequest(
        text=text,
        mode=Mode(reader.choice("mode", MODES, str(Mode.HYBRID))),
        filters=Filters(
            conversation_id=reader.identifier("conversation_id"),
            roles=reader.roles(roles),
            model=reader.text("model", MAX_NAME_CHARS),
            after=reader.time("since"),
            before=reader.time("until", whole_day=True),
            archived=ARCHIVED[reader.choice("archived", list(ARCHIVED), "all")],
            end_user=reader.text("end_user", MAX_NAME_CHARS),
            tag=tag_key(reader.text("tag", MAX_NAME_CHARS)),
        ),
        limit=reader.limit(),
        cursor=given.get("cursor") or "",
        group=Group(group) if group else None,
    )
    _refuse(reader.wrong)
    return search_request


def read_times(given: Mapping[str, str]) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return the times that `since` and `until` name, each None if absent; raises BadRequest."""
    reader = _Reader(given)
    times = reader.time("since"), reader.time("until", whole_day=True)
    _refuse(reader.wrong)
    return times


def _refuse(wrong: Mapping[str, list[str]]) -> None:
    """Raise BadRequest if anything is wrong."""
    if wrong:
        name, (message, *_) = next(iter(wrong.items()))
        raise BadRequest(f"{name}: {message}", code="validation_error", param=name, details=wrong)


class _Reader:
    """Reads parameters by name; an empty one counts as absent. `wrong` collects the errors."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self.wrong: dict[str, list[str]] = {}

    def text(self, name: str, max_chars: int) -> str:
        value = self._given.get(name) or ""
        if len(value) > max_chars:
            self.wrong[name] = [f"At most {max_chars} characters."]
        elif not is_storable(value):
            self.wrong[name] = ["Text must not contain NUL characters or lone surrogates."]
        return value

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        value = self._given.get(name) or default
        if value in choices:
            return value
        self.wrong[name] = [f"One of {', '.join(choices)}."]
        return default

    def roles(self, given: Sequence[str]) -> tuple[str, ...]:
        wanted = tuple(sorted({role for role in given if role}))
        if not set(wanted) <= set(ROLES):
            self.wrong["role"] = [f"One of {', '.join(ROLES)}; may be repeated."]
            return ()
        return wanted

    def identifier(self, name: str) -> uuid.UUID | None:
        value = self._given.get(name)
        if not value:
            return None
        if (pk := as_id(value)) is None:
            self.wrong[name] = ["This must be an id."]
        return pk

    def limit(self) -> int:
        value = self._given.get("limit") or str(DEFAULT_LIMIT)
        if NUMBER.match(value) and 1 <= int(value) <= MAX_HITS:
            return int(value)
        self.wrong["limit"] = [f"A whole number from 1 to {MAX_HITS}."]
        return DEFAULT_LIMIT

    def time(self, name: str, *, whole_day: bool = False) -> dt.datetime | None:
        value = self._given.get(name)
        if not value:
            return None
        try:
            return _time(value, whole_day=whole_day)
        except (ValueError, OverflowError):
            self.wrong[name] = ["A day or a time in ISO 8601: 2026-01-31, 2026-01-31T12:00:00Z."]
            return None


def _time(text: str, *, whole_day: bool) -> dt.datetime:
    """Return the time; a date means the beginning of the day, or with `whole_day` its end. UTC if no zone is given."""
    if "T" in text:
        text = text.replace(" ", "+")  # a plus sign in the URL that was not escaped
    time = dt.datetime.fromisoformat(text)
    time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    return time + dt.timedelta(days=1) if whole_day and DAY.match(text) else time


def branch_of(hit: Hit) -> str:
    return "shown" if hit.shown else "other version"


FOUND = "false: the score is too low to say that it was found; it is only the nearest there is. Hits found come first"
OTHERS = "how many other messages of its conversation were found, with `group=conversation`; null without"


class WhyFound(serializers.Serializer[Any]):
    """The fields that every hit has besides its message: its branch, the words that matched, the score."""

    branch = serializers.ChoiceField(["shown", "other version"])
    snippet = serializers.CharField(allow_blank=True)
    highlights = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField(), min_length=2, max_length=2),
        help_text="[start, end] of each match, in code points of `snippet`",
    )
    score = serializers.FloatField(help_text="0 to 1, comparable within one response")
    text_score = serializers.FloatField(allow_null=True)
    semantic_score = serializers.FloatField(allow_null=True)
    matched = serializers.ChoiceField(["words", "meaning", "both"])
    found = serializers.BooleanField(help_text=FOUND)
    others = serializers.IntegerField(allow_null=True, help_text=OTHERS)


def why_found(hit: Hit) -> dict[str, Any]:
    """Return the fields of `WhyFound`."""
    return {
        "branch": branch_of(hit),
        "snippet": hit.snippet,
        "highlights": hit.highlights,
        "score": hit.score,
        "text_score": hit.text_score,
        "semantic_score": hit.semantic_score,
        "matched": hit.matched,
        "found": hit.found,
        "others": hit.others,
    }


def excerpt(message: Message) -> str:
    """Return the shortened text of a neighbouring message."""
    text = message.content
    return text if len(text) <= NEIGHBOUR_CHARS else f"{text[: NEIGHBOUR_CHARS - 1]}…"


def _parameter(name: str, schema: dict[str, Any], description: str, **options: Any) -> OpenApiParameter:
    return OpenApiParameter(name, schema, description=description, **options)


NAME = {"type": "string", "maxLength": MAX_NAME_CHARS}
TIME = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
# How the OpenAPI documents describe these parameters and fields.
PARAMETERS = [
    _parameter(
        "q",
        {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARS, "pattern": r"\S"},
        'What to search for. `"a phrase"` must occur exactly; `-word`, in small letters and after another term, must '
        "not occur. There is no other syntax",
        required=True,
    ),
    _parameter(
        "mode",
        {"type": "string", "enum": MODES, "default": "hybrid"},
        "Search by words (`text`), by meaning (`semantic`), or by both",
    ),
    _parameter("conversation_id", {"type": "string", "format": "uuid"}, "Only in this conversation"),
    _parameter(
        "role", {"type": "array", "items": {"type": "string", "enum": ROLES}}, "Role of the author; may be repeated"
    ),
    _parameter("model", NAME, "Only answers of this model"),
    _parameter("since", TIME, "Written at this time or later; a day counts from its start, in UTC"),
    _parameter("until", TIME, "Written before this time; a day counts to its end, in UTC"),
    _parameter(
        "archived",
        {"type": "string", "enum": list(ARCHIVED), "default": "all"},
        "Only in archived conversations (`true`), or only in the others (`false`)",
    ),
    _parameter("end_user", NAME, "Only in conversations with this end-user label"),
    _parameter("tag", NAME, "Only in conversations with this tag, in any case"),
    _parameter(
        "group",
        {"type": "string", "enum": GROUPS},
        "`conversation`: one hit for each conversation, its best, with the number of `others`",
    ),
    _parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_HITS, "default": DEFAULT_LIMIT},
        "Maximum number of hits",
    ),
    _parameter("cursor", {"type": "string"}, "The cursor from the previous page; valid only for the same search"),
]
