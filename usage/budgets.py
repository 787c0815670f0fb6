"""Holds budgets exactly: a request reserves the most that it may use, and its end settles it. See docs/costs.md.

A transaction that accepts requests locks all rows that it needs before anything else, in one order: processes wait for
each other without a deadlock, and what is used and reserved together never passes a limit. One that only ends requests
locks them last: nobody waits while it does the rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from django.db import connection
from django.utils import timezone

from foundation.database import send_statement
from foundation.row_sql import for_update, key, marks, read_key
from usage.budget_rules import Rule, Use
from usage.models import BudgetUse, Reservation
from usage.money import shown
from usage.periods import renewal

_USE, _RESERVATION = BudgetUse._meta.db_table, Reservation._meta.db_table
TAKEN = '"used_tokens" + "reserved_tokens", "used_cost" + "reserved_cost"'
MAX_KNOWN = 100_000
MAX_ROWS = 64
AMOUNTS = ("used_tokens", "used_cost", "reserved_tokens", "reserved_cost")


class Amount(NamedTuple):
    """Tokens, and a cost in millionths of the currency."""

    tokens: int = 0
    cost: int = 0


class _Known:
    """The rows that this process has seen, which need not be made again."""

    def __init__(self) -> None:
        self.ids: set[uuid.UUID] = set()

    def add(self, ids: Iterable[uuid.UUID]) -> None:
        if len(self.ids) > MAX_KNOWN:
            self.ids = set()
        self.ids |= set(ids)


_known = _Known()


@dataclass(slots=True)
class _Taken:
    """What is used and reserved of a budget, and how much of that is reserved since it was written."""

    tokens: int
    cost: int
    added_tokens: int = 0
    added_cost: int = 0


class BudgetExceeded(Exception):
    """A request could pass a budget: `message` says which, what is left of it, and when it is renewed."""

    def __init__(self, message: str, *, retry_after: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Budgets:
    """The budgets that one transaction uses: of the requests that it accepts, and of those that end in it.

    `uses` are the rows that count whoever makes these requests, `ending` the ids of those that end.
    """

    def __init__(
        self, cursor: Any, uses: Iterable[tuple[Use, ...]] = (), *, ending: Collection[uuid.UUID] = ()
    ) -> None:
        self._cursor = cursor
        self._now = timezone.now()
        self._changes: dict[uuid.UUID, list[int]] = {}
        self._reserved: list[tuple[uuid.UUID, tuple[Use, ...], Amount]] = []
        self._over: list[uuid.UUID] = []
        self._ending = ending
        self._fetch_held: Callable[[], list[tuple[Any, ...]]] | None = None
        self._wanted = {use.pk: use for of_spender in uses for use in of_spender}
        held = self._held.values() if self._wanted else ()
        self._ids = sorted({*self._wanted, *(pk for _, uses in held for pk in uses)})
        self._fetch_locked = self._lock() if self._wanted else list

    def lock_ending(self) -> None:
        """Lock what the requests that end have reserved: what two processes end is settled once.

        Call it before their rows are locked, inside of the same pipeline if the database has them.
        """
        if self._fetch_held is None:
            self._fetch_held = _lock_reservations(self._ending) if self._ending else list

    @cached_property
    def _held(self) -> dict[uuid.UUID, tuple[Amount, list[uuid.UUID]]]:
        """What the requests that end have reserved, and in which rows."""
        self.lock_ending()
        assert self._fetch_held is not None
        return {
            read_key(run_id): (Amount(tokens, cost), list(map(uuid.UUID, uses.split())))
            for run_id, uses, tokens, cost in self._fetch_held()
        }

    @cached_property
    def _taken(self) -> dict[uuid.UUID, _Taken]:
        """What is taken of each budget of this transaction: see `_lock`."""
        found = _taken(self._fetch_locked())
        if not self._wanted.keys() <= found.keys():
            found = _taken(self._make()())
        _known.add(self._wanted)
        return found

    def reserve(self, uses: tuple[Use, ...], run_id: uuid.UUID, most: Amount) -> None:
        """Reserve the most that a request may use in each of these rows; raises BudgetExceeded."""
        tokens, cost = most
        for pk, rule, _, _ in uses:
            if rule.is_hard:
                self._check(rule, self._taken[pk], most)
        for pk, _, _, _ in uses:
            taken = self._taken[pk]
            taken.tokens += tokens
            taken.cost += cost
            taken.added_tokens += tokens
            taken.added_cost += cost
        self._reserved.append((run_id, uses, most))

    def settle(self, run_id: uuid.UUID, used: Amount) -> None:
        """Replace what a request that ends has reserved by what it used."""
        if run_id not in self._held:
            return
        self._over.append(run_id)
        reserved, uses = self._held.pop(run_id)
        for pk in uses:
            self._change(pk, used.tokens, used.cost, -reserved.tokens, -reserved.cost)

    def write(self) -> None:
        """Write what was reserved and settled since the last call; the rows are locked in the order of their ids."""
        for pk, taken in self._taken.items():
            if taken.added_tokens or taken.added_cost:
                self._change(pk, 0, 0, taken.added_tokens, taken.added_cost)
                taken.added_tokens = taken.added_cost = 0
        starts = range(0, len(self._reserved), MAX_ROWS)
        steps = [_insert(self._reserved[start : start + MAX_ROWS]) for start in starts]
        if self._over:
            steps.append(_delete(self._over))
        if self._changes:
            steps.append(_add(self._changes, locked=self._changes.keys() <= self._taken.keys()))
        for step in _as_few(steps):
            self._cursor.execute(step.sql, step.given)
        self._reserved, self._over, self._changes = [], [], {}

    def _change(
        self, pk: uuid.UUID, used_tokens: int, used_cost: int, reserved_tokens: int, reserved_cost: int
    ) -> None:
        """Add to the amounts of a row, in the order of AMOUNTS."""
        added = self._changes.setdefault(pk, [0, 0, 0, 0])
        added[0] += used_tokens
        added[1] += used_cost
        added[2] += reserved_tokens
        added[3] += reserved_cost

    def _lock(self) -> Callable[[], list[tuple[Any, ...]]]:
        """Lock the rows of this transaction, in the order of their ids, and return what fetches them.

        Rows that are missing are made in that order, too: a statement for them alone could wait for another process
        that waits for this one.
        """
        if self._wanted.keys() - _known.ids:
            return self._make()
        return send_statement(
            f'SELECT "id", {TAKEN} FROM {_USE} WHERE "id" IN ({marks(self._ids)}) '  # noqa: S608
            f'ORDER BY "id"{for_update("NO KEY UPDATE")}',
            list(map(key, self._ids)),
        )

    def _make(self) -> Callable[[], list[tuple[Any, ...]]]:
        """Make and lock rows. Those that are not wanted exist, since something is reserved in them."""
        existing = BudgetUse.objects.in_bulk([pk for pk in self._ids if pk not in self._wanted])
        values: list[Any] = []
        for pk in self._ids:
            if pk in self._wanted:
                _, rule, member, start = self._wanted[pk]
                budget_id, member = rule.budget_id, member[:200]
            elif pk in existing:
                budget_id, member, start = existing[pk].budget_id, existing[pk].member, existing[pk].start
            else:
                continue
            values += [key(pk), key(budget_id), member, connection.ops.adapt_datefield_value(start)]
        rows = ", ".join(["(%s, %s, %s, %s, 0, 0, 0, 0, 0)"] * (len(values) // 4))
        return send_statement(
            f'INSERT INTO {_USE} ("id", "budget_id", "member", "start", "warned", {", ".join(AMOUNTS)}) '  # noqa: S608
            f'VALUES {rows} ON CONFLICT ("id") DO UPDATE SET "warned" = {_USE}."warned" RETURNING "id", {TAKEN}',
            values,
        )

    def _check(self, rule: Rule, taken: _Taken, most: Amount) -> None:
        tokens_left = None if rule.max_tokens is None else rule.max_tokens - taken.tokens
        cost_left = None if rule.max_cost is None else rule.max_cost - taken.cost
        if tokens_left is not None and most.tokens > tokens_left:
            left, needed = f"{max(0, tokens_left)} of {rule.max_tokens} tokens", f"{most.tokens} tokens"
        elif cost_left is not None and rule.max_cost is not None and most.cost > cost_left:
            left, needed = f"{shown(max(0, cost_left))} of {shown(rule.max_cost)}", shown(most.cost)
        else:
            return
        at = renewal(rule.period, self._now)
        until = f"It is renewed at {at.isoformat(timespec='minutes')}." if at else "It is not renewed."
        raise BudgetExceeded(
            f"The budget '{rule.name}' has {left} left, and this request may use up to {needed}. {until}",
            retry_after=max(1, int((at - self._now).total_seconds())) if at else None,
        )


def _taken(rows: Iterable[tuple[Any, ...]]) -> dict[uuid.UUID, _Taken]:
    return {read_key(pk): _Taken(tokens, cost) for pk, tokens, cost in rows}


def _lock_reservations(run_ids: Collection[uuid.UUID]) -> Callable[[], list[tuple[Any, ...]]]:
    return send_statement(
        f'SELECT "run_id", "uses", "tokens", "cost" FROM {_RESERVATION} '  # noqa: S608
        f'WHERE "run_id" IN ({marks(run_ids)}) ORDER BY "run_id"{for_update()}',
        list(map(key, run_ids)),
    )


class _Step(NamedTuple):
    """A statement and what is given for its placeholders."""

    sql: str
    given: list[Any]


def _insert(reserved: Sequence[tuple[uuid.UUID, tuple[Use, ...], Amount]]) -> _Step:
    rows = ", ".join(["(%s, %s, %s, %s)"] * len(reserved))
    return _Step(
        f'INSERT INTO {_RESERVATION} ("run_id", "uses", "tokens", "cost") VALUES {rows}',  # noqa: S608
        [
            value
            for run_id, uses, most in reserved
            for value in (key(run_id), " ".join([str(key(use.pk)) for use in uses]), *most)
        ],
    )


def _delete(run_ids: Sequence[uuid.UUID]) -> _Step:
    return _Step(
        f'DELETE FROM {_RESERVATION} WHERE "run_id" IN ({marks(run_ids)})',  # noqa: S608
        list(map(key, run_ids)),
    )


def _add(changes: Mapping[uuid.UUID, list[int]], *, locked: bool) -> _Step:
    """Add to the amounts of rows; those that are not `locked` yet are, in the order of their ids."""
    ids = [key(pk) for pk in sorted(changes)]
    found = marks(ids)
    if not locked and (lock := for_update("NO KEY UPDATE")):
        rows = f'SELECT "id" FROM {_USE} WHERE "id" IN ({found}) ORDER BY "id"{lock}'  # noqa: S608
        found = f'SELECT "id" FROM ({rows}) AS rows'  # noqa: S608
    amounts = list(changes.values())
    if all(each == amounts[0] for each in amounts):  # what one request reserves or used
        sums = ", ".join(f'"{name}" = "{name}" + %s' for name in AMOUNTS)
        return _Step(f'UPDATE {_USE} SET {sums} WHERE "id" IN ({found})', [*amounts[0], *ids])  # noqa: S608
    row = f"({', '.join(['%s', *['CAST(%s AS bigint)'] * len(AMOUNTS)])})"
    sums = ", ".join(f'"{name}" = "{name}" + added.column{at}' for at, name in enumerate(AMOUNTS, 2))
    return _Step(
        f"UPDATE {_USE} SET {sums} FROM (VALUES {', '.join([row] * len(changes))}) AS added "  # noqa: S608
        f'WHERE {_USE}."id" = added.column1 AND {_USE}."id" IN ({found})',
        [*(value for pk, added in changes.items() for value in (key(pk), *added)), *ids],
    )


def _as_few(steps: Sequence[_Step]) -> Sequence[_Step]:
    """Return these steps as one statement, where the database can do so: each costs as much as what it does."""
    if connection.vendor != "postgresql" or len(steps) < 2:
        return steps
    *before, last = steps
    named = ", ".join(f"step{number} AS ({step.sql})" for number, step in enumerate(before))
    return [_Step(f"WITH {named} {last.sql}", [value for step in steps for value in step.given])]
