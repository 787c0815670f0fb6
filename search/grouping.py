"""Folds the hits of one conversation into its best, with the number of the others that were found."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence

from search.candidates import Candidate
from search.scopes import Scope

BLOCKS = 10  # that are folded, on every page: so a count does not depend on the page that shows it


def fold(
    scope: Scope, candidates: Sequence[Candidate], messages: Mapping[int, uuid.UUID]
) -> list[tuple[Candidate, int]]:
    """Return the best candidate of each conversation, best first, and how many others of it were found.

    `messages` are those of the candidates' entries.
    """
    talks = dict(scope.messages.filter(pk__in=list(messages.values())).values_list("id", "conversation_id"))
    best: dict[object, Candidate] = {}
    counted: Counter[object] = Counter()
    for candidate in candidates:
        message = messages.get(candidate.entry)
        talk = talks.get(message) if message is not None else None
        if talk is None:  # the entry of a message that is gone
            continue
        best.setdefault(talk, candidate)
        counted[talk] += candidate.found
    return [(candidate, max(counted[talk] - 1, 0)) for talk, candidate in best.items()]
