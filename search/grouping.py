"""Folds the hits of one conversation into its best, with the number of the others that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from search.candidates import Candidate
from search.scopes import Scope

BLOCKS = 10  # that are folded, on every page: so a count does not depend on the page that shows it


def fold(scope: Scope, candidates: Sequence[Candidate]) -> list[tuple[Candidate, int]]:
    """Return the best candidate of each conversation, best first, and how many others of it were found."""
    messages = [each.message for each in candidates]
    talks = dict(scope.messages.filter(pk__in=messages).values_list("id", "conversation_id"))
    best: dict[object, Candidate] = {}
    counted: Counter[object] = Counter()
    for candidate in candidates:
        talk = talks.get(candidate.message)
        if talk is None:  # it is gone since, or no longer visible
            continue
        best.setdefault(talk, candidate)
        counted[talk] += candidate.found
    return [(candidate, max(counted[talk] - 1, 0)) for talk, candidate in best.items()]
