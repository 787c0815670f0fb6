"""Usage for tests, added to the ledger as an answer's outcome adds it."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import connection

from accounts.models import User
from usage import ledger
from usage.ledger import Charge
from usage.prices import Tokens


def use(
    user: User,
    day: dt.date,
    *,
    model: str = "gpt-4o",
    upstream: str = "openai",
    key: uuid.UUID | None = None,
    cost: int | None = 1_000_000,
    tokens: int = 100,
    times: int = 1,
    failed: bool = False,
) -> None:
    """Add requests at noon of a day, each with so many tokens of input and a tenth of output; cost in millionths."""
    charge = Charge(
        user_id=user.pk,
        api_key_id=key,
        model=model,
        upstream=upstream,
        at=dt.datetime.combine(day, dt.time(12), dt.UTC),
        tokens=Tokens(input=tokens, cached=tokens // 5, output=tokens // 10),
        cost=cost,
        failed=failed,
    )
    with connection.cursor() as cursor:
        ledger.add(cursor, [charge] * times, ledger.groups_of([user.pk])())
