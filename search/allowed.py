"""Which entries a search may show: those in a list or, where that would be too long, those that pass a test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from conversations.models import MessageQuerySet
from search.models import Entry

LISTED = 20_000
"""More entries than these are not listed; the best found are tested instead, of which one in some passes."""
TESTED = 1_000  # entries of one query

NONE = np.zeros(0, "i8")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The entries that pass a search's filters, phrases and exclusions.

    Those in `ids` (None: all), but not in `without`, whose messages are among `messages` (None: all).
    """

    ids: np.ndarray | None = None
    without: np.ndarray = field(default_factory=lambda: NONE)
    messages: MessageQuerySet | None = None

    @classmethod
    def of(cls, messages: MessageQuerySet, *, listed: bool) -> Allowed:
        """Return the entries of `messages`, listed if they are few or have to be."""
        entries = Entry.objects.filter(message_id__in=messages.values("id")).values_list("id", flat=True)
        ids = np.fromiter((entries if listed else entries[: LISTED + 1]).iterator(chunk_size=10_000), "i8")
        if len(ids) > LISTED and not listed:
            return cls(messages=messages)
        return cls(ids=np.sort(ids))

    @property
    def all(self) -> bool:
        return self.ids is None and self.messages is None and not len(self.without)

    def only(self, ids: np.ndarray) -> Allowed:
        """Return those that are also among the sorted `ids`."""
        if self.ids is not None:
            return replace(self, ids=np.intersect1d(self.ids, ids))
        return Allowed(ids=ids[self.among(ids)])

    def but(self, ids: np.ndarray) -> Allowed:
        """Return all but `ids`."""
        if self.ids is not None:
            return replace(self, ids=np.setdiff1d(self.ids, ids))
        return replace(self, without=np.union1d(self.without, ids))

    def among(self, ids: np.ndarray) -> np.ndarray:
        """Return for each of `ids` whether it is allowed."""
        found: np.ndarray = np.ones(len(ids), bool) if self.ids is None else np.isin(ids, self.ids)
        if len(self.without):
            found &= ~np.isin(ids, self.without)
        if self.messages is not None:
            left = self.messages.values("id")
            for start in range(0, len(ids), TESTED):
                part = slice(start, start + TESTED)
                passing = Entry.objects.filter(pk__in=ids[part].tolist(), message_id__in=left)
                found[part] &= np.isin(ids[part], np.fromiter(passing.values_list("pk", flat=True), "i8"))
        return found

    def first(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Return the positions of the first `count` of `ids` that are allowed, and test no more than it must."""
        if self.messages is None:
            return np.flatnonzero(self.among(ids))[:count]
        places = NONE
        for start in range(0, len(ids), TESTED):
            places = np.append(places, start + np.flatnonzero(self.among(ids[start : start + TESTED])))
            if len(places) >= count:
                break
        return places[:count]
