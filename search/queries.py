"""The entry points of search. Ownership is a condition inside every query, never a filter after it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from accounts.callers import Principal
from conversations.message_files import carrying_texts, texts_of
from conversations.models import Message
from search import parsing, snippets, timings
from search.analysis import Token
from search.backends import backend
from search.candidates import BLOCK, MAX_BLOCKS, Candidate, find
from search.cursors import read_cursor, write_cursor
from search.embedders import CannotEmbed, Embedder, loading
from search.indexing import catch_up
from search.models import Embedder as EmbedderRow
from search.models import Entry
from search.neighbours import surroundings
from search.results import MAX_HITS, Filters, Hit, Hits, InvalidCursor, Mode, SearchNotAllowed
from search.scopes import Scope, allowed_entries
from search.semantic import SemanticQuery
from search.signals import searched
from search.snippets import Snippet

__all__ = ["Filters", "Hit", "Hits", "InvalidCursor", "Mode", "search_everybody", "search_messages"]

NO_VECTORS = "This database has no pgvector."
NOTHING_EMBEDDED = "Nothing has been embedded yet."


def search_messages(
    principal: Principal,
    text: str,
    *,
    mode: Mode = Mode.HYBRID,
    filters: Filters = Filters(),  # noqa: B008  frozen
    limit: int = 20,
    cursor: str = "",
) -> Hits:
    """Search the messages that `principal` may see; raises InvalidCursor and SearchNotAllowed.

    `filters.owner_id` is ignored.
    """
    if name := principal.limits.forbids_search:
        raise SearchNotAllowed(f"This account may not search ({name}).")
    catch_up(principal)
    return _search(Scope.of(principal), text, mode, filters, limit, cursor)


def search_everybody(
    text: str,
    *,
    mode: Mode = Mode.HYBRID,
    filters: Filters = Filters(),  # noqa: B008  frozen
    limit: int = 20,
    cursor: str = "",
) -> Hits:
    """Search all messages, or those of `filters.owner_id`: for staff only; raises InvalidCursor."""
    catch_up(None)
    return _search(Scope.everybodys(filters.owner_id), text, mode, filters, limit, cursor)


def _search(scope: Scope, text: str, mode: Mode, filters: Filters, limit: int, cursor: str) -> Hits:
    began = time.perf_counter()
    size = max(1, min(limit, MAX_HITS))
    search = (scope.who, text, str(mode), filters)
    offset = read_cursor(cursor, *search)
    parsed = query = parsing.parse(text)
    embedders, why = ([], "") if mode == Mode.TEXT else _embedders()
    answered = mode if embedders or mode == Mode.TEXT else Mode.TEXT
    if answered == Mode.SEMANTIC:
        # A search by meaning ignores the words of the query, but applies its phrases and exclusions.
        query = parsing.Query((), query.phrases, query.excluded)
    blocks = min(MAX_BLOCKS, -(-(offset + size + 1) // BLOCK))
    allowed = allowed_entries(scope, filters)
    try:
        semantic = SemanticQuery(scope, embedders, text) if embedders else None
        found = find(scope, query, semantic, allowed, blocks)
    except CannotEmbed as error:
        answered, why, semantic = Mode.TEXT, str(error), None
        found = find(scope, parsed, semantic, allowed, blocks)
    hits = _hits(scope, found[offset : offset + size], parsed.tokens, semantic)
    more = write_cursor(offset + size, *search) if len(found) > offset + size else ""
    took = (time.perf_counter() - began) * 1000
    timings.note(took)
    searched.send_robust(None, seconds=took / 1000, mode=str(answered))
    excluded = tuple(phrase.text for phrase in parsed.excluded)
    return Hits(hits, mode, answered, why, excluded, more, took)


def _embedders() -> tuple[list[tuple[int, Embedder]], str]:
    """Return the embedders whose vectors can answer, by id, and why the current one is not among them."""
    if not backend().has_vectors():
        return [], NO_VECTORS
    current = loading.ready()
    why = "" if current is not None else loading.why_not()
    usable = []
    for row in EmbedderRow.objects.order_by("id"):
        # The vectors of a former embedder are used until the current one has replaced them.
        embedder = current if current is not None and row.name == current.name else loading.ready(row.name)
        if embedder is not None:
            usable.append((row.pk, embedder))
    if not usable and not why:
        why = NOTHING_EMBEDDED
    return usable, "" if usable and current is not None else why


def _hits(
    scope: Scope, found: Sequence[Candidate], wanted: Sequence[Token], semantic: SemanticQuery | None
) -> tuple[Hit, ...]:
    if not found:
        return ()
    ids = dict(Entry.objects.filter(pk__in=[each.entry for each in found]).values_list("id", "message_id"))
    # Loaded once more through the caller's visible messages, because an entry may be outdated.
    rows = scope.messages.select_related("conversation").in_bulk(list(ids.values()))
    around = surroundings(list(rows.values()))
    shown = _snippets(ids, rows, wanted, semantic)
    hits = []
    for candidate in found:
        message = rows.get(ids.get(candidate.entry))
        if message is None:
            continue
        snippet = shown[message.pk]
        near = around[message.pk]
        hits.append(
            Hit(
                message=message,
                snippet=snippet.text,
                highlights=snippet.highlights,
                score=round(candidate.score, 6),
                text_score=None if candidate.text is None else round(candidate.text, 6),
                semantic_score=None if candidate.semantic is None else round(candidate.semantic, 6),
                shown=near.shown,
                before=near.before,
                after=near.after,
            )
        )
    return tuple(hits)


def _snippets(
    entries: Mapping[int, uuid.UUID],
    messages: Mapping[uuid.UUID, Message],
    wanted: Sequence[Token],
    semantic: SemanticQuery | None,
) -> dict[uuid.UUID, Snippet]:
    """Return what to show of each message, or of a file that it carries where more of the words are."""
    matches = {pk: snippets.matching_words(message.content, wanted) for pk, message in messages.items()}
    carrying = carrying_texts([pk for pk, message in messages.items() if message.has_parts])
    # A message found only by meaning is shown from its nearest passage on.
    wordless = {
        pk
        for pk, message in messages.items()
        if not matches[pk] and (pk in carrying or len(message.content) > snippets.CHARS)
    }
    nearest = [entry for entry, pk in entries.items() if pk in wordless]
    begins = semantic.begins(nearest) if semantic is not None else {}
    starts = {pk: begins.get(entry, 0) for entry, pk in entries.items()}
    found = {
        pk: snippets.snippet(message.content, matches[pk], min(starts[pk], len(message.content)))
        for pk, message in messages.items()
    }
    for pk, files in texts_of(list(carrying)):
        begin, known = starts[pk] - len(messages[pk].content), {word.stem for word in matches[pk]}
        found[pk] = snippets.of_files(files, wanted, begin, more_than=len(known)) or found[pk]
    return found
