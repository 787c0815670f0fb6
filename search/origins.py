"""Where candidates come from, as far as the ranking reads it: conversation, author, and whether the message asks."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from search.analysis import stems
from search.backends import backend
from search.languages import usual_language
from search.parsing import Query
from search.ranking import Origins

QUESTION_MARKS = ("?", "？", "؟")
CLOSING = " \t\r\n\"'”’»)]}*_"  # what may follow the end of a sentence


def origins_of(ids: np.ndarray, query: Query) -> Origins:
    """Return where these entries come from. One without a message is a conversation of its own."""
    rows = {row[0]: row[1:] for row in backend().origins(ids.tolist())}
    wanted = {token.stem(usual_language()) for token in query.tokens}
    named = {author: not wanted.isdisjoint(stems(author)) for author in {row[3] for row in rows.values()}}
    found = [rows.get(pk, (0, None, pk, "", "")) for pk in ids.tolist()]
    return Origins(
        messages=[_uuid(message) for _, message, *_ in found],
        conversations=[conversation for _, _, conversation, _, _ in found],
        lengths=np.array([length for length, *_ in found], "f8"),
        named=np.array([named.get(author, False) for *_, author, _ in found], bool),
        asking=np.array([ending.rstrip(CLOSING).endswith(QUESTION_MARKS) for *_, ending in found], bool),
    )


def _uuid(message: Any) -> uuid.UUID | None:
    """Return an id as the models have it: SQLite stores its digits."""
    return uuid.UUID(message) if isinstance(message, str) else message
