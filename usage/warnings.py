"""Reports budgets that are nearly or completely used: in the log, and by mail if BUDGET_MAIL names addresses.

Of all processes, the one that raises `BudgetUse.warned` reports a threshold: once in a period.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User
from usage.budget_rules import rules
from usage.models import Budget, BudgetUse
from usage.money import shown
from usage.outbox import outbox
from usage.periods import renewal
from usage.signals import budget_warned

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 15.0
"""How often each process looks for budgets to report."""
MAX_REPORTED = 500
ALL = 100  # percent
_next_look = 0.0


def warn_of_budgets() -> None:
    """Report what was not reported yet, every PAUSE_SECONDS; where there are no budgets, look for nothing."""
    global _next_look
    if time.monotonic() >= _next_look and rules().any():
        _next_look = time.monotonic() + PAUSE_SECONDS
        report_budgets()


def report_budgets() -> int:
    """Report each budget that has reached a threshold since its last report; returns how many this process reported."""
    near = BudgetUse.objects.near_limit(timezone.now()).select_related("budget__user", "budget__api_key__user")
    news = near.filter(Q(share__gte=ALL, warned__lt=ALL) | Q(warned__lt=F("budget__warn_at")))
    return sum(map(_report, news[:MAX_REPORTED]))


def _report(use: Any) -> bool:
    threshold = ALL if use.share >= ALL else use.budget.warn_at
    with transaction.atomic():
        if not BudgetUse.objects.filter(pk=use.pk, warned__lt=threshold).update(warned=threshold):
            return False  # another process does
        budget_warned.send(BudgetUse, use=use, threshold=threshold)
    logger.warning("budget %r: %d %% or more of it is used", use.budget.name, threshold)
    if settings.BUDGET_MAIL:
        for message in _mails(use, threshold):
            outbox.post(message)
    return True


def _mails(use: BudgetUse, threshold: int) -> Iterator[EmailMessage]:
    """Yield a mail to the addresses of BUDGET_MAIL, and one to whose budget it is, if the account has an address."""
    owner = owner_of(use)
    name = " ".join(use.budget.name.split())
    of = f" of {owner.username}" if owner is not None else ""
    subject = f"Budget '{name}'{of}: {threshold} % used"
    body = _text(use, name, of)
    yield EmailMessage(subject, body, to=settings.BUDGET_MAIL)
    if owner is not None and owner.email and owner.email not in settings.BUDGET_MAIL:
        yield EmailMessage(subject, body, to=[owner.email])


def owner_of(use: BudgetUse) -> User | None:
    """Return whose budget it is, if it is one account's: its own, its key's, or its share of one for each."""
    budget: Budget = use.budget
    if use.member:
        return User.objects.filter(pk=uuid.UUID(use.member[:32])).first()
    if budget.api_key is not None:
        return budget.api_key.user
    return budget.user


def _text(use: BudgetUse, name: str, of: str) -> str:
    budget = use.budget
    lines = [f"The budget '{name}'{of} is nearly or completely used.", ""]
    if budget.max_cost is not None:
        lines.append(f"Cost: {shown(use.used_cost)} of {shown(budget.max_cost)}")
    if budget.max_tokens is not None:
        lines.append(f"Tokens: {use.used_tokens:,} of {budget.max_tokens:,}")
    renewed = renewal(budget.period, timezone.now())
    lines.append(f"It is renewed at {renewed.isoformat(timespec='minutes')}." if renewed else "It is not renewed.")
    refused = "Requests that could pass it are refused." if budget.is_hard else "It only warns: nothing is refused."
    return "\n".join([*lines, refused, ""])
