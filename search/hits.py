"""The hits that a search shows: messages, snippets and surroundings, loaded through the messages the caller may see."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from conversations.message_files import carrying_texts, texts_of
from conversations.models import Message
from search import snippets
from search.analysis import Token, Word
from search.candidates import Candidate
from search.neighbours import surroundings
from search.results import Hit
from search.scopes import Scope
from search.semantic import SemanticQuery
from search.snippets import Snippet


def make_hits(
    scope: Scope,
    found: Sequence[tuple[Candidate, int | None]],
    wanted: Sequence[Token],
    semantic: SemanticQuery | None,
) -> tuple[Hit, ...]:
    """Return the hits of candidates and their numbers of others."""
    if not found:
        return ()
    # Loaded once more through the caller's visible messages, because an entry may be outdated.
    rows = scope.messages.select_related("conversation").in_bulk([each.message for each, _ in found])
    around = surroundings(list(rows.values()))
    shown = snippets_of([each for each, _ in found], rows, wanted, semantic)
    hits = []
    for candidate, others in found:
        message = rows.get(candidate.message)
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
                found=candidate.found,
                others=others,
            )
        )
    return tuple(hits)


def snippets_of(
    candidates: Sequence[Candidate],
    messages: Mapping[uuid.UUID, Message],
    wanted: Sequence[Token],
    semantic: SemanticQuery | None,
) -> dict[uuid.UUID, Snippet]:
    """Return what to show of each message, or of a file that it carries where more of the words are."""
    entries = {each.entry: each.message for each in candidates}
    matches: dict[uuid.UUID, list[Word]] = {
        each.message: [] if each.wordless else snippets.matching_words(messages[each.message].content, wanted)
        for each in candidates
        if each.message in messages
    }
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
