"""Which budgets apply to whom, kept in memory for a few seconds: where there are none, a request asks nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from foundation.kept import Kept
from usage.models import Budget
from usage.periods import first_day
from usage.row_ids import row_id

KEPT_SECONDS = 2.0
"""How soon a changed budget applies in the other processes; in the one that changed it, it applies at once."""
ANY = "*"
MAX_REMEMBERED = 10_000


class Spender(NamedTuple):
    """Whose budgets a request uses: the account whose limits apply, its groups, the key and the end user's label."""

    user_id: uuid.UUID
    groups: frozenset[int] = frozenset()
    api_key_id: uuid.UUID | None = None
    end_user: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A budget, ready to use. Costs are in millionths of the currency."""

    budget_id: uuid.UUID
    name: str
    period: str
    max_tokens: int | None
    max_cost: int | None
    is_hard: bool
    end_user: str
    for_each: bool

    def covers(self, spender: Spender) -> bool:
        return not self.end_user or (bool(spender.end_user) and self.end_user in (ANY, spender.end_user))

    def member(self, spender: Spender) -> str:
        """Return whose own budget it is, if each has one; else ""."""
        if not self.for_each:
            return ""
        # An end user's label is one caller's name for somebody.
        return f"{spender.user_id.hex} {spender.end_user}" if self.end_user else spender.user_id.hex


class Use(NamedTuple):
    """The row in which a budget counts what a spender uses now; `pk` is its id."""

    pk: uuid.UUID
    rule: Rule
    member: str
    start: dt.date


@dataclass(frozen=True, slots=True)
class Rules:
    """All budgets in force, by whom they are for."""

    everybody: list[Rule] = field(default_factory=list)
    groups: dict[int, list[Rule]] = field(default_factory=lambda: defaultdict(list))
    users: dict[uuid.UUID, list[Rule]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[uuid.UUID, list[Rule]] = field(default_factory=lambda: defaultdict(list))

    uses: dict[tuple[Spender, dt.date], tuple[Use, ...]] = field(default_factory=dict)
    """What `uses_of` has returned: the same callers ask again and again."""
    members: dict[uuid.UUID, frozenset[int]] = field(default_factory=dict)
    """The groups of those who asked since, for as long as these budgets are known."""

    def any(self) -> bool:
        return bool(self.everybody or self.groups or self.users or self.keys)

    def of(self, spender: Spender) -> Iterator[Rule]:
        """Yield the budgets that apply to a request of this spender."""
        found = [*self.everybody, *self.users.get(spender.user_id, ())]
        if spender.api_key_id is not None:
            found += self.keys.get(spender.api_key_id, ())
        for group in spender.groups & self.groups.keys():
            found += self.groups[group]
        return (rule for rule in found if rule.covers(spender))

    def uses_of(self, spender: Spender, day: dt.date) -> tuple[Use, ...]:
        """Return the rows that count what this spender uses on a day."""
        key = spender, day
        found = self.uses.get(key)
        if found is None:
            if len(self.uses) >= MAX_REMEMBERED:
                self.uses.clear()
            found = self.uses[key] = tuple(_use(rule, rule.member(spender), day) for rule in self.of(spender))
        return found


def _use(rule: Rule, member: str, day: dt.date) -> Use:
    start = first_day(rule.period, day)
    return Use(row_id(rule.budget_id, member, start), rule, member, start)


def _read() -> Rules:
    found = Rules()
    for budget in Budget.objects.in_force():
        rule = Rule(
            budget_id=budget.pk,
            name=budget.name,
            period=budget.period,
            max_tokens=budget.max_tokens,
            max_cost=budget.max_cost,
            is_hard=budget.is_hard,
            end_user=budget.end_user,
            for_each=budget.for_each,
        )
        if budget.group_id is not None:
            found.groups[budget.group_id].append(rule)
        elif budget.user_id is not None:
            found.users[budget.user_id].append(rule)
        elif budget.api_key_id is not None:
            found.keys[budget.api_key_id].append(rule)
        else:
            found.everybody.append(rule)
    return found


_kept = Kept(_read, seconds=KEPT_SECONDS)


def rules() -> Rules:
    """Return the budgets in force. Reads the database once in a few seconds, in the calling thread."""
    return _kept.get()


def forget_budgets() -> None:
    """Read the budgets again when one is needed: call it when a change is committed."""
    _kept.forget()
