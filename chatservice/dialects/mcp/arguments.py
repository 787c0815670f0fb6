"""What the tools take. A docstring is the tool's description, for the model that chooses among them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatservice.dialects.problems import BadRequest
from chatservice.dialects.searching import MAX_QUERY_CHARS

MAX_HITS = 50
MAX_CONVERSATIONS = 100
MAX_RECENT = 20
MAX_TEXT = 200
MESSAGE_CHARS = 300

Time = Annotated[str, Meta(max_length=MAX_TEXT, examples=["2026-01-31", "2026-01-31T12:00:00Z"])]
Identifier = Annotated[str, Meta(max_length=MAX_TEXT)]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of a tool. An empty text and null mean absent, so that the schemas need no alternatives."""


class SearchHistory(Arguments, frozen=True, kw_only=True):
    """Search what the user and their assistants wrote in past conversations, by words and by meaning. Returns the best
    passages, each with its conversation and a link."""

    query: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_QUERY_CHARS,
            description='What to search for. `"a phrase"` must occur exactly; `-word` must not occur.',
        ),
    ]
    since: Annotated[Time, Meta(description="Written on this day or later, or at this time (UTC) or later.")] = ""
    until: Annotated[Time, Meta(description="Written on this day or earlier, or before this time (UTC).")] = ""
    tag: Annotated[Identifier, Meta(description="Only in conversations that the user gave this tag.")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_HITS, description="The most passages to return.")] = 10


class ReadConversation(Arguments, frozen=True, kw_only=True):
    """Read a part of one conversation: its last messages, or those around a message that a search found."""

    id: Annotated[Identifier, Meta(description="The id of the conversation.")]
    around: Annotated[
        Identifier,
        Meta(description="The id of a message: read those before and after it, and its whole text."),
    ] = ""


class ListConversations(Arguments, frozen=True, kw_only=True):
    """List the user's conversations by title, date and tags, the last changed first."""

    since: Annotated[Time, Meta(description="Last changed on this day or later, or at this time or later.")] = ""
    until: Annotated[Time, Meta(description="Last changed on this day or earlier, or before this time.")] = ""
    tag: Annotated[Identifier, Meta(description="Only those that the user gave this tag, in any case.")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_CONVERSATIONS, description="The most conversations to return.")] = 20
    cursor: Annotated[Identifier, Meta(description="`next_cursor` of the page before.")] = ""


class Recent(Arguments, frozen=True, kw_only=True):
    """Tell what the user talked about last: the newest conversations, each with the beginning of its last question and
    answer."""

    limit: Annotated[int, Meta(ge=1, le=MAX_RECENT, description="The most conversations to return.")] = 5


def read_arguments(kind: type[Arguments], given: dict[str, Any] | None) -> Any:
    """Return the arguments of a tool; raises BadRequest. Numbers may be written as text: some models do."""
    present = {name: value for name, value in (given or {}).items() if value is not None}
    try:
        return msgspec.convert(present, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)[:MESSAGE_CHARS], code="validation_error") from error
