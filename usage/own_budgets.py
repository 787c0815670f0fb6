"""What is left of the budgets that apply to a caller, as far as a refusal would tell it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone

from accounts.callers import Principal
from accounts.models import User
from usage.budget_rules import Rule, Spender, rules
from usage.models import BudgetUse
from usage.periods import day_of, renewal


@dataclass(frozen=True, slots=True)
class OwnBudget:
    """A budget in its current period. What is taken includes what running requests have reserved.

    `is_shared`: others use it up, too. Costs are in millionths of the currency.
    """

    name: str
    period: str
    is_hard: bool
    is_shared: bool
    max_tokens: int | None
    left_tokens: int | None
    max_cost: int | None
    left_cost: int | None
    renews_at: dt.datetime | None


def own_budgets(principal: Principal) -> list[OwnBudget]:
    """Return the budgets that a request of this caller would be held to, and its own that only warn, by name.

    One that is shared and only warns is staff's alone: nobody else is told of it.
    """
    found, now = rules(), timezone.now()
    if not found.any():
        return []
    user_id = principal.counted_id
    members = User.groups.through.objects.filter(user_id=user_id)
    groups = frozenset(members.values_list("group_id", flat=True))
    uses = found.uses_of(Spender(user_id, groups, principal.key_id), day_of(now))
    alone = {*found.users.get(user_id, ())}
    if principal.key_id is not None:
        alone.update(found.keys.get(principal.key_id, ()))
    rows = BudgetUse.objects.in_bulk([use.pk for use in uses])
    told = []
    for use in uses:
        is_shared = not (use.rule.for_each or use.rule in alone)
        if use.rule.is_hard or not is_shared:
            told.append(_own(use.rule, rows.get(use.pk), is_shared=is_shared, now=now))
    return sorted(told, key=lambda budget: budget.name)


def _own(rule: Rule, row: BudgetUse | None, *, is_shared: bool, now: dt.datetime) -> OwnBudget:
    tokens = row.used_tokens + row.reserved_tokens if row else 0
    cost = row.used_cost + row.reserved_cost if row else 0
    return OwnBudget(
        name=rule.name,
        period=rule.period,
        is_hard=rule.is_hard,
        is_shared=is_shared,
        max_tokens=rule.max_tokens,
        left_tokens=_left(rule.max_tokens, tokens),
        max_cost=rule.max_cost,
        left_cost=_left(rule.max_cost, cost),
        renews_at=renewal(rule.period, now),
    )


def _left(most: int | None, taken: int) -> int | None:
    return None if most is None else max(0, most - taken)
