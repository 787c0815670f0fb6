"""The ledger: what was used by day, user, key, group, model and upstream, so that totals read no single request.

Rows are added up in the transaction that stores an outcome, so the ledger and the stored requests never differ.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from accounts.models import User
from foundation.database import send_statement
from foundation.row_sql import key, marks, read_key
from usage.models import DailyUsage
from usage.periods import day_of
from usage.prices import Tokens
from usage.row_ids import row_id

AMOUNTS = (
    *("requests", "failed", "estimated", "unpriced"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost"),
)
"""The fields of `DailyUsage` that are added up."""
KEYS = ("day", "user", "api_key_id", "group", "model", "upstream")
MAX_ROWS = 64


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request used. `cost` is in millionths of the currency, None without a known price.

    `is_estimate`: the upstream did not report its tokens.
    """

    user_id: uuid.UUID
    api_key_id: uuid.UUID | None
    model: str
    upstream: str
    at: dt.datetime
    tokens: Tokens
    is_estimate: bool = False
    cost: int | None = None
    failed: bool = False

    def amounts(self) -> dict[str, int]:
        tokens = self.tokens
        return {
            "requests": 1,
            "failed": int(self.failed),
            "estimated": int(self.is_estimate),
            "unpriced": int(self.cost is None),
            "input_tokens": tokens.input,
            "cached_tokens": tokens.cached,
            "output_tokens": tokens.output,
            "reasoning_tokens": tokens.reasoning,
            "cost": self.cost or 0,
        }


Key = tuple[dt.date, uuid.UUID, uuid.UUID | None, int | None, str, str]


def totals(charges: Iterable[Charge], groups: dict[uuid.UUID, int | None]) -> dict[Key, Counter[str]]:
    """Add up charges by what a row of the ledger stands for; `groups` are the groups of their users."""
    found: dict[Key, Counter[str]] = {}
    for charge in charges:
        group = groups.get(charge.user_id)
        key = (day_of(charge.at), charge.user_id, charge.api_key_id, group, charge.model[:200], charge.upstream[:100])
        found.setdefault(key, Counter()).update(charge.amounts())
    return found


def add(cursor: Any, charges: Sequence[Charge], groups: dict[uuid.UUID, int | None]) -> None:
    """Add charges to the ledger, inside the current transaction; those of an account without `groups` are left out."""
    if charges:
        write(cursor, totals([charge for charge in charges if charge.user_id in groups], groups))


def write(cursor: Any, rows: dict[Key, Counter[str]]) -> None:
    """Add rows to those that the ledger has."""
    # In one order, so that two processes cannot deadlock.
    prepared = sorted(([row_id(*key), *key], amounts) for key, amounts in rows.items())
    for start in range(0, len(prepared), MAX_ROWS):
        part = prepared[start : start + MAX_ROWS]
        values = [value for key, amounts in part for value in (*_prepared(key), *(amounts[name] for name in AMOUNTS))]
        cursor.execute(_upsert(len(part)), values)


def write_again(key: Key, amounts: Counter[str]) -> None:
    """Write one row that was deleted; without a group, in that of the user now."""
    with connection.cursor() as cursor:
        day, user_id, key_id, group_id, model, upstream = key
        if group_id is None:
            group_id = groups_of([user_id])().get(user_id)
        write(cursor, {(day, user_id, key_id, group_id, model, upstream): amounts})


def groups_of(user_ids: Collection[uuid.UUID]) -> Callable[[], dict[uuid.UUID, int | None]]:
    """Ask for the group in which the usage of each user counts, and return what fetches it; see `send_statement`.

    It is the first one by name. An account that a user made counts in that user's group; one that is gone is left out.
    """
    if not user_ids:
        return dict
    member, group, user = User.groups.through._meta.db_table, "auth_group", User._meta.db_table
    fetch = send_statement(
        f"SELECT u.id, g.id FROM {user} u "  # noqa: S608
        f"LEFT JOIN {member} m ON m.user_id = coalesce(u.limits_owner_id, u.id) "
        f"LEFT JOIN {group} g ON g.id = m.group_id WHERE u.id IN ({marks(user_ids)}) ORDER BY g.name DESC",
        list(map(key, user_ids)),
    )
    return lambda: {read_key(pk): group_id for pk, group_id in fetch()}


def _prepared(key: Sequence[Any]) -> Iterator[Any]:
    for name, value in zip(("id", *KEYS), key, strict=True):
        yield _field(name).get_db_prep_value(value, connection)


def _upsert(rows: int) -> str:
    table = DailyUsage._meta.db_table
    columns = ["id", *(_field(name).column for name in KEYS), *AMOUNTS]
    row = f"({marks(columns)})"
    sums = ", ".join(f'"{name}" = {table}."{name}" + excluded."{name}"' for name in AMOUNTS)
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO {table} ({names}) VALUES {", ".join([row] * rows)} ON CONFLICT ("id") DO UPDATE SET {sums}'  # noqa: S608


def _field(name: str) -> Any:
    return DailyUsage._meta.get_field(name)
