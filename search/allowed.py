"""Which entries a search may show: those in a list or, where that would be too long, those that pass a test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from django.db.models import Exists, OuterRef

from conversations.models import MessageQuerySet
from search.models import Entry

LISTED = 20_000
"""More entries than these are not listed; the best found are tested instead, of which one in some passes."""
LISTED_FIRST = 5_000
"""More entries than these are listed only if few of the best found pass."""
TESTED = 1_000  # entries of one query
RARE = 20  # of so many that are tested not even one passes

NONE = np.zeros(0, "i8")


class Passing:
    """The messages that pass a search's filters."""

    def __init__(self, messages: MessageQuerySet) -> None:
        self._messages = messages

    def entries(self, most: int | None = None) -> np.ndarray:
        """Return their entries, sorted, or any `most` of them."""
        entries = Entry.objects.filter(message_id__in=self._messages.values("id")).values_list("id", flat=True)
        return np.sort(np.fromiter(entries[:most].iterator(chunk_size=10_000), "i8"))

    @cached_property
    def few(self) -> np.ndarray | None:
        """Their entries, sorted; None if they are more than LISTED_FIRST."""
        # Asked without the entries, so that the database stops early on whichever index it takes.
        found = list(self._messages.values_list("id", flat=True)[: LISTED_FIRST + 1])
        if len(found) > LISTED_FIRST:
            return None
        return np.sort(np.fromiter(Entry.objects.filter(message_id__in=found).values_list("id", flat=True), "i8"))

    @cached_property
    def listed(self) -> np.ndarray | None:
        """Their entries, sorted; None if they are more than LISTED."""
        found = self.entries(LISTED + 1)
        return found if len(found) <= LISTED else None

    def among(self, ids: np.ndarray) -> np.ndarray:
        """Return for each of `ids` whether it is one of their entries."""
        found: np.ndarray = np.zeros(len(ids), bool)
        # One look-up for each: SQLite would list a subquery's messages before it begins.
        passes = Exists(self._messages.filter(pk=OuterRef("message_id")))
        for start in range(0, len(ids), TESTED):
            part = slice(start, start + TESTED)
            passing = Entry.objects.filter(passes, pk__in=ids[part].tolist()).values_list("pk", flat=True)
            found[part] = np.isin(ids[part], np.fromiter(passing, "i8"))
        return found


@dataclass(frozen=True, slots=True)
class Allowed:
    """The entries that pass a search's filters, phrases and exclusions.

    Those in `ids` (None: all), but not in `without`, whose messages are `passing` (None: all).
    """

    ids: np.ndarray | None = None
    without: np.ndarray = field(default_factory=lambda: NONE)
    passing: Passing | None = None

    @classmethod
    def of(cls, messages: MessageQuerySet, *, listed: bool) -> Allowed:
        """Return the entries of `messages`, listed if they are few or have to be."""
        passing = Passing(messages)
        ids = passing.entries() if listed else passing.few
        return cls(passing=passing) if ids is None else cls(ids=ids)

    @property
    def all(self) -> bool:
        return self.ids is None and self.passing is None and not len(self.without)

    def listed(self) -> Allowed | None:
        """Return the same with a list; None where that would be too long."""
        if self.ids is not None:
            return self
        ids = self.passing.listed if self.passing is not None else None
        return None if ids is None else Allowed(ids=np.setdiff1d(ids, self.without))

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
        if self.passing is not None:
            if len(ids) > TESTED and (listed := self.listed()):
                return listed.among(ids)
            found &= self.passing.among(ids)
        return found

    def first(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Return the positions of the first `count` of `ids` that are allowed, and test no more than it must."""
        if self.passing is None:
            return np.flatnonzero(self.among(ids))[:count]
        places, start, size = NONE, 0, min(2 * count, TESTED)
        while start < len(ids) and len(places) < count:
            # Where hardly any passes, a list of those that do is quicker than many tests.
            if start >= TESTED and len(places) * RARE < start and (listed := self.listed()):
                return np.append(places, start + listed.first(ids[start:], count - len(places)))
            places = np.append(places, start + np.flatnonzero(self.among(ids[start : start + size])))
            start += size
            # As many as should be enough, if as many pass as until now, and a quarter more.
            enough = (count - len(places)) * start // max(1, len(places))
            size = min(max(count, enough * 5 // 4), TESTED)
        return places[:count]
