"""The budgets and prices of the scenario `budgets`, and what is wrong with what is used and reserved of them now."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import CharField, OuterRef, Subquery, Sum, Value
from django.db.models.functions import Cast, Coalesce

from accounts.models import ApiKey
from tests.chaos.cluster import ApiUser, make_api_user
from usage.budget_rules import forget_budgets
from usage.models import Budget, BudgetUse, ModelPrice, Reservation
from usage.tests.prices import add_price

USERS = 8
GROUPED, DAILY, KEYED, DELETING = (0, 1, 2), 3, 4, (6, 7)
"""The users of a group, the one with a budget, the one whose key has one, and those whose conversations are deleted."""
LONGEST = 40
ALLOWANCE = {"everybody": 6_000, "each": 1_500, "group": 6_000, "user": 900, "key": 3_000}


def set_up() -> list[ApiUser]:
    add_price(
        "metered*", cached_input="0.5", reasoning="4", per_request="0.00001", max_output_tokens=LONGEST, upstream="fake"
    )
    users = [make_api_user(f"spender{number}") for number in range(USERS)]
    group = Group.objects.create(name=f"spenders {uuid.uuid4().hex[:8]}")
    group.user_set.add(*(users[number].user for number in GROUPED))
    key = ApiKey.objects.get(user=users[KEYED].user)
    Budget.objects.create(name="everybody", max_tokens=1, max_cost=10**6, period="total")
    Budget.objects.create(name="each", max_tokens=1, for_each=True, period="month")
    Budget.objects.create(name="group", max_cost=1, group=group, period="week")
    Budget.objects.create(name="user", max_tokens=1, user=users[DAILY].user, period="day")
    Budget.objects.create(name="key", max_cost=1, api_key=key, period="total")
    give_more()
    return users


def clean_up() -> None:
    """Leave nothing that would limit, or charge, what runs after this on the same database."""
    BudgetUse.objects.filter(budget__name__in=ALLOWANCE).delete()
    Budget.objects.filter(name__in=ALLOWANCE).delete()
    ModelPrice.objects.filter(model="metered*").delete()
    forget_budgets()


def give_more() -> None:
    for budget in Budget.objects.filter(name__in=ALLOWANCE):
        used = max(
            (use.used_cost if budget.max_tokens is None else use.used_tokens for use in budget.uses.all()), default=0
        )
        limit = used + ALLOWANCE[budget.name]
        if budget.max_tokens is None:
            Budget.objects.filter(pk=budget.pk, max_cost__lt=limit).update(max_cost=limit)
        else:
            Budget.objects.filter(pk=budget.pk, max_tokens__lt=limit).update(max_tokens=limit)


def _sum_of(name: str) -> Any:
    rows = Reservation.objects.filter(uses__contains=Cast(OuterRef("pk"), CharField())).annotate(all=Value(1))
    return Coalesce(Subquery(rows.values("all").annotate(total=Sum(name)).values("total")), 0)


def wrong_now() -> list[str]:
    """Return what is wrong at this moment, by one statement: limits only grow, so none was lower before."""
    found = BudgetUse.objects.filter(budget__name__in=ALLOWANCE).select_related("budget")
    wrong = []
    for use in found.annotate(tokens=_sum_of("tokens"), cost=_sum_of("cost")):
        budget = use.budget
        for name, used, reserved, limit, rows in (
            ("tokens", use.used_tokens, use.reserved_tokens, budget.max_tokens, use.tokens),
            ("cost", use.used_cost, use.reserved_cost, budget.max_cost, use.cost),
        ):
            where = f"{budget.name} {use.member[:6]} {name}: {used} used and {reserved} reserved"
            if limit is not None and used + reserved > limit:
                wrong.append(f"{where} of {limit}")
            if used < 0 or reserved < 0 or reserved != rows:
                wrong.append(f"{where}, and {rows} by request")
    return wrong


def reservations() -> dict[uuid.UUID, tuple[int, int]]:
    return {run_id: (tokens, cost) for run_id, _, tokens, cost in _held()}


def nothing_is_reserved() -> bool:
    return not reserved_now()


def reserved_now() -> list[tuple[Any, ...]]:
    uses = BudgetUse.objects.filter(budget__name__in=ALLOWANCE).exclude(reserved_tokens=0, reserved_cost=0)
    left = list(uses.values_list("budget__name", "reserved_tokens", "reserved_cost"))
    return left + [("by a request", run_id, tokens) for run_id, _, tokens, _ in _held()]


def _held() -> list[tuple[uuid.UUID, str, int, int]]:
    """Return the reservations under these budgets: others may be in the database."""
    uses = set(BudgetUse.objects.filter(budget__name__in=ALLOWANCE).values_list("pk", flat=True))
    rows = Reservation.objects.values_list("run_id", "uses", "tokens", "cost")
    return [row for row in rows if not uses.isdisjoint(map(uuid.UUID, row[1].split()))]


def cost_of(asked: int, cached: int, answered: int, reasoned: int) -> int:
    """Return the cost in millionths by the price above, rounded half up."""
    doubled = 2 * (asked - cached) + cached + 4 * (answered - reasoned) + 8 * reasoned + 20
    return (doubled + 1) // 2
