"""Filters, phrases and exclusions give the same hits whether the entries that pass are listed or tested one by one."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from unittest import mock

import numpy as np
from django.utils import timezone

from accounts.callers import Principal
from conversations.models import Message
from conversations.services import update_conversation
from search import allowed, queries, scopes, semantic
from search.allowed import Allowed
from search.models import Entry
from search.queries import Filters, Mode, search_everybody, search_messages
from search.tests.case import SearchTestCase, as_values

WORDS = ("whale", "harbour", "lighthouse", "boat", "storm", "captain", "anchor", "rope", "tide", "gull", "lantern")
QUERIES = ("whale harbour", "storm -boat", '"gull lantern"', 'captain -"tide gull" -rope', "-whale -boat", "far coast")
FILTERS = (
    Filters(roles=("user",)),
    Filters(after=timezone.now() - dt.timedelta(days=30)),
    Filters(before=timezone.now() - dt.timedelta(days=45), roles=("assistant",)),
    Filters(archived=True),
    Filters(archived=False),
    Filters(model="none-has-it"),
    Filters(),
)


class AllowedTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in range(24):
            said = (" ".join(random.choices(WORDS, k=5)) for _ in range(4))
            conversation, messages = self.talk((self.alice, self.bob)[number % 2], *said)
            days = dt.timedelta(days=number * 3)
            Message.objects.filter(pk__in=[each.pk for each in messages]).update(created_at=timezone.now() - days)
            if number % 3 == 0:
                update_conversation(conversation=conversation, archived_at=timezone.now())
        self.index()
        self.some = random.sample(list(itertools.product((None, self.alice), QUERIES, Mode, FILTERS)), 25)

    def search(self, who: Principal | None, query: str, mode: Mode, filters: Filters) -> object:
        if who is None:
            return as_values(search_everybody(query, mode=mode, filters=filters, limit=40))
        return as_values(search_messages(who, query, mode=mode, filters=filters, limit=40))

    def asked(self) -> dict[object, object]:
        return {asked: self.search(*asked) for asked in self.some}

    def listed(self, scope: scopes.Scope, filters: Filters) -> Allowed:
        """Return every entry in a list, whatever is asked for."""
        left = scopes.narrow(scope.messages, filters).values("id")
        return Allowed(ids=np.array(sorted(Entry.objects.filter(message_id__in=left).values_list("pk", flat=True))))

    def test_the_hits_are_the_same_in_the_same_order(self):
        with mock.patch.object(queries, "allowed_entries", self.listed):
            expected = self.asked()
        self.assertEqual(self.asked(), expected)
        for tested, more, listed in ((3, 2, 2), (7, 3, 2), (1_000, 16, 2), (3, 2, 30), (7, 2, 1_000)):
            with (
                self.subTest(tested=tested, listed=listed),
                mock.patch.object(allowed, "LISTED_FIRST", 2),
                mock.patch.object(allowed, "LISTED", listed),
                mock.patch.object(allowed, "TESTED", tested),
                mock.patch.object(semantic, "MORE", more),
            ):
                self.assertEqual(self.asked(), expected)
