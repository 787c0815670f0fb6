"""The entry points of search. Ownership is a condition inside every query, never a filter after it."""

from __future__ import annotations

import math
import time

from django.conf import settings

from accounts.callers import Principal
from search import parsing, reranking, timings
from search.backends import backend
from search.candidates import BLOCK, MAX_BLOCKS, find
from search.cursors import read_cursor, write_cursor
from search.embedders import CannotEmbed, Embedder, are_alike, loading, same_model
from search.grouping import BLOCKS, fold
from search.hits import make_hits
from search.indexing import catch_up
from search.models import Embedder as EmbedderRow
from search.results import MAX_HITS, Filters, Group, Hit, Hits, InvalidCursor, Mode, SearchNotAllowed
from search.scopes import Scope, allowed_entries
from search.semantic import SemanticQuery
from search.signals import searched

__all__ = ["Filters", "Group", "Hit", "Hits", "InvalidCursor", "Mode", "search_everybody", "search_messages"]

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
    group: Group | None = None,
    rerank_seconds: float = math.inf,
) -> Hits:
    """Search the messages that `principal` may see; raises InvalidCursor and SearchNotAllowed.

    `filters.owner_id` is ignored. With `group` each conversation is one hit, its best. A reranker has at most
    `rerank_seconds`, and never more than SEARCH_RERANK_SECONDS.
    """
    if name := principal.limits.forbids_search:
        raise SearchNotAllowed(f"This account may not search ({name}).")
    catch_up(principal)
    return _search(principal, Scope.of(principal), text, mode, filters, limit, cursor, group, rerank_seconds)


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
    return _search(None, Scope.everybodys(filters.owner_id), text, mode, filters, limit, cursor)


def _search(
    principal: Principal | None,
    scope: Scope,
    text: str,
    mode: Mode,
    filters: Filters,
    limit: int,
    cursor: str,
    group: Group | None = None,
    rerank_seconds: float = math.inf,
) -> Hits:
    began = time.perf_counter()
    size = max(1, min(limit, MAX_HITS))
    search = (scope.who, text, str(mode), filters, *([str(group)] if group else []))
    offset, ordered = read_cursor(cursor, *search)
    order = [scope.base + number for number in ordered]
    parsed = query = parsing.parse(text)
    embedders, why = ([], "") if mode == Mode.TEXT else _embedders()
    answered = mode if embedders or mode == Mode.TEXT else Mode.TEXT
    if answered == Mode.SEMANTIC:
        # A search by meaning ignores the words of the query, but applies its phrases and exclusions.
        query = parsing.Query((), query.phrases, query.excluded)
    blocks = BLOCKS if group else min(MAX_BLOCKS, -(-(offset + size + 1) // BLOCK))
    allowed = allowed_entries(scope, filters)
    try:
        semantic = SemanticQuery(scope, embedders, text) if embedders else None
        found = find(scope, query, semantic, allowed, blocks)
    except CannotEmbed as error:
        answered, why, semantic = Mode.TEXT, str(error), None
        found = find(scope, parsed, semantic, allowed, blocks)
    asks = not cursor and reranking.is_on(principal)
    if asks:
        best = found[: reranking.BEST]
        seconds = min(rerank_seconds, settings.SEARCH_RERANK_SECONDS)
        order, first = reranking.new_order(principal, scope, text, best, parsed.tokens, semantic, seconds)
        why = " ".join(filter(None, (why, first)))
    found = reranking.reordered(found, order) if order else found
    folded = fold(scope, found) if group else [(each, None) for each in found]
    hits = make_hits(scope, folded[offset : offset + size], parsed.tokens, semantic)
    more = (
        write_cursor(offset + size, [entry - scope.base for entry in order], *search)
        if len(folded) > offset + size
        else ""
    )
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
        if current is None and same_model(row.name, loading.current_name()):
            continue  # loading it for its former vectors, too, would take its memory twice
        embedder = current if current is not None and are_alike(row.name, current.name) else loading.ready(row.name)
        if embedder is not None and embedder.dimensions == row.dimensions:
            usable.append((row.pk, embedder))
    if not usable and not why:
        why = NOTHING_EMBEDDED
    return usable, "" if usable and current is not None else why
