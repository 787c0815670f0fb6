"""What is wrong now, what was spent and who is active: what staff look at first, with links."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from completions.models import Run
from foundation.admin_links import list_of, page_of
from foundation.ids import first_id_of
from search.indexer import backlog
from usage.breakdown import ONE_DAY, Selection, total, totals
from usage.models import BudgetUse
from usage.money import shown
from usage.periods import day_of

FAILING_SHARE = 0.05
"""A model is failing if at least this share of its runs of the past hour failed."""
BEHIND = 1_000
"""The index is behind if at least this many messages wait for it."""
MAX_ROWS = 10


class Target(NamedTuple):
    """The address of a page, and the permission that it takes."""

    address: str
    permission: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong, in a sentence, and the page that says more: who may not open it is not told, either."""

    text: str
    target: Target


def alarms() -> list[Alarm]:
    """Return what is wrong now, the failing models first."""
    return [*_failing(), *_budgets(), *_index()]


def _failing() -> list[Alarm]:
    """Compare the failed runs of the past hour with all: one query over the ids of an hour."""
    since = timezone.now() - dt.timedelta(hours=1)
    rows = Run.objects.filter(id__gte=first_id_of(since)).values_list("model", "upstream", "error_code")
    runs: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for model, upstream, code, count in rows.annotate(count=Count("pk")).order_by():
        runs[model, upstream][code] = count
    found = []
    for (model, upstream), codes in runs.items():
        count, failed = codes.total(), codes.total() - codes[""]
        if failed and failed >= FAILING_SHARE * count:
            names = ", ".join(code for code, _ in codes.most_common() if code)
            text = f"{model} at {upstream}: {failed:,} of {count:,} runs of the past hour failed ({names})"
            found.append((failed, text, list_of("completions_run", model=model, upstream=upstream, made="hour")))
    found.sort(reverse=True)
    return [Alarm(text, Target(address, "completions.view_run")) for _, text, address in found[:MAX_ROWS]]


def _budgets() -> list[Alarm]:
    near: Any = BudgetUse.objects.near_limit(timezone.now())
    uses = list(near.order_by("-share", "pk")[: MAX_ROWS + 1].values_list("pk", "budget__name", "share"))
    permission = "usage.view_budgetuse"
    found = [
        Alarm(f"The budget {name} is used to {share:.0f} %", Target(page_of("usage_budgetuse", pk), permission))
        for pk, name, share in uses[:MAX_ROWS]
    ]
    if len(uses) > MAX_ROWS:
        found.append(
            Alarm("More budgets are near their limits", Target(list_of("usage_budgetuse", use="near"), permission))
        )
    return found


def _index() -> list[Alarm]:
    waiting = backlog()
    text = f"The search index is behind: {waiting:,} messages wait for it, and are not found until then"
    target = Target(f"{reverse('admin:dashboard')}#search", "completions.view_run")
    return [Alarm(text, target)] if waiting >= BEHIND else []


def spent() -> list[tuple[str, str, Target]]:
    """Return what was spent in some periods: what they are called, the amount, and the page that breaks it down."""
    today = day_of(timezone.now())
    by_day = totals(Selection(today - 29 * ONE_DAY, today), "day")
    periods = {"Today": (0, 0), "Yesterday": (1, 1), "7 days": (6, 0), "30 days": (29, 0)}
    found = []
    for name, (first, last) in periods.items():
        since, until = today - first * ONE_DAY, today - last * ONE_DAY
        sums = total(amounts for day, amounts in by_day.items() if since <= day <= until)
        query = urlencode({"since": since, "until": until, "by": "user"})
        target = Target(f"{reverse('admin:usage')}?{query}", "usage.view_dailyusage")
        found.append((f"{name}, {sums['requests']:,} requests", shown(sums["cost"]), target))
    return found


def active() -> tuple[int, list[tuple[str, int, Target]]]:
    """Return how many users sent requests today or yesterday, and the most active: name, requests, their page."""
    today = day_of(timezone.now())
    by_user = totals(Selection(today - ONE_DAY, today), "user")
    requests = Counter({pk: amounts["requests"] for pk, amounts in by_user.items() if pk is not None})
    most = requests.most_common(MAX_ROWS)
    names = dict(User.objects.filter(pk__in=[pk for pk, _ in most]).values_list("pk", "username"))
    pages = {pk: Target(page_of("accounts_user", pk), "accounts.view_user") for pk in names}
    return len(requests), [(names[pk], count, pages[pk]) for pk, count in most if pk in names]
