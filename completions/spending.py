"""Reserves the most that a question may cost under the budgets of whoever asks it, in the accept transaction.

Where no budget applies, nothing is looked up. See usage/budgets.py.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.models import User
from completions import recall
from completions.bulk_sql import pipelined, table
from completions.charges import Payer, charge_for
from completions.context import CHARS_PER_TOKEN, budget_for, file_parts
from completions.exceptions import BudgetExhausted
from completions.models import UNFINISHED, Run
from completions.providers.routing import routes_for
from completions.providers.sanitize import encode_json
from completions.recall import Recall
from completions.run_requests import RunRequest, WhenBusy
from conversations.models import Message, MessagePart
from foundation.row_sql import key, marks, read_key
from usage import ledger
from usage.budget_rules import Spender, rules
from usage.budgets import Amount, BudgetExceeded, Budgets
from usage.ledger import Charge
from usage.models import Reservation
from usage.periods import day_of
from usage.prices import Price, Tokens, price_of

if TYPE_CHECKING:
    from completions.run_results import RunResult

TURN_BYTES = 16
"""The frame around a message."""
MAX_CHAR_BYTES = 4
BYTES = {"postgresql": "octet_length({}::text)", "sqlite": "length(CAST({} AS BLOB))"}
MAX_OUTPUT = ("max_output_tokens", "max_completion_tokens", "max_tokens")


_orphans: set[uuid.UUID] = set()


class Spending:
    """The budgets for one transaction: of the questions that it accepts, and of the runs that end in it."""

    def __init__(
        self, cursor: Any, run_requests: Sequence[RunRequest] = (), *, ending: Collection[uuid.UUID] = ()
    ) -> None:
        self._cursor = cursor
        self._now = timezone.now()
        self._prices: dict[tuple[str, str], Price | None] = {}
        self._possible: dict[tuple[str, str], list[Price]] = {}
        self._context: dict[str, int] = {}
        self._added: dict[uuid.UUID, int] = {}
        """The most that the questions so far add to their conversations."""
        in_force = rules()
        asked = run_requests if in_force.any() else ()
        if asked and in_force.groups:
            _learn_groups(cursor, asked, in_force.members)
        today = day_of(self._now)
        self._uses = {
            _key_of(request): in_force.uses_of(_spender(request, in_force.members), today) for request in asked
        }
        self._budgets = Budgets(cursor, self._uses.values(), ending=ending)
        self._charges: list[Charge] = []
        self._fetch_groups: Callable[[], dict[uuid.UUID, int | None]] | None = None

    def lock_ending(self) -> None:
        """Lock what the runs that end have reserved, before the runs, inside of a pipeline if the database has them."""
        self._budgets.lock_ending()

    def reserve(self, request: RunRequest, run_id: uuid.UUID, recalled: Recall | None) -> None:
        """Reserve the most that this question may use, with what is recalled for it, or raise BudgetExhausted."""
        uses = self._uses.get(_key_of(request))
        if not uses:
            return
        most = self._most(request, recalled)
        if request.conversation_id is not None:
            self._added[request.conversation_id] = self._added.get(request.conversation_id, 0) + most.tokens
        try:
            self._budgets.reserve(uses, run_id, most)
        except BudgetExceeded as exceeded:
            raise BudgetExhausted(exceeded.message, retry_after=exceeded.retry_after) from exceeded

    def settle(self, run_id: uuid.UUID, charge: Charge) -> None:
        """Charge a run: under the budgets, in place of what it has reserved, and in the ledger."""
        self._charges.append(charge)
        self._budgets.settle(run_id, Amount(charge.tokens.input + charge.tokens.output, charge.cost or 0))

    def write_reserved(self) -> None:
        """Write what was reserved, inside of a pipeline if the database has them."""
        self._budgets.write()

    def ask_groups(self) -> None:
        """Ask where the charges so far count, inside of a pipeline if the database has them."""
        self._fetch_groups = ledger.groups_of({charge.user_id for charge in self._charges})

    def write(self) -> None:
        """Write what was reserved and charged: the budgets before the ledger, so that nobody waits in a circle."""
        if self._fetch_groups is None:
            self.ask_groups()
        assert self._fetch_groups is not None
        groups = self._fetch_groups()
        with pipelined() if self._charges else nullcontext():
            self._budgets.write()
            ledger.add(self._cursor, self._charges, groups)

    def _most(self, request: RunRequest, recalled: Recall | None) -> Amount:
        """Return the most that a question may use: a token is at least one byte of what is sent, and JSON only adds.

        A picture or a file counts as much as may be sent of it. Answers count as long as they are allowed to be.
        """
        asked = len(encode_json([request.messages, request.instructions, request.parameters, request.native]))
        asked += len(request.messages) * TURN_BYTES
        budget = self._budget_for(request.model)
        files = sum(map(file_parts, request.messages))
        asked += budget * files
        if request.conversation_id is not None:
            history = self._history_bytes(request.conversation_id)
            if request.when_busy != WhenBusy.REJECT:
                history += self._coming(request.conversation_id)
            asked += min(history, budget * CHARS_PER_TOKEN * MAX_CHAR_BYTES) if request.is_cut_to_fit else history
        if recalled is not None and recalled.limit:
            asked += budget // recall.SHARE
        prices = self._prices_of(request)
        answered = self._longest(request.model, request.upstream, request.parameters) * request.choices
        if not prices:
            return Amount(asked + answered, 0)
        most = Tokens(input=asked, output=answered, images=files)
        return Amount(asked + answered, max(price.worst_case(most) for price in prices))

    def _prices_of(self, request: RunRequest) -> list[Price]:
        """Return the prices at the upstreams that may answer: the preferred one, and those asked when it fails."""
        key = (request.model, request.upstream)
        if key not in self._possible:
            routes = routes_for(request.model, settings.UPSTREAMS, settings.DEFAULT_UPSTREAM)
            upstreams = {request.upstream, *(route.upstream for route in routes)}
            found = [self._price_of(request.model, upstream) for upstream in upstreams]
            self._possible[key] = [price for price in found if price is not None]
        return self._possible[key]

    def _longest(self, model: str, upstream: str, parameters: Mapping[str, Any]) -> int:
        """Return how many tokens one answer may have."""
        price = self._price_of(model, upstream)
        longest = price.max_output_tokens if price is not None else None
        return _max_output(parameters) or longest or settings.LIMIT_OUTPUT_CHARS

    def _coming(self, conversation_id: uuid.UUID) -> int:
        """Return how much a conversation may grow before a question that waits in it is sent.

        Answers of which a part is stored already are counted whole; what this transaction adds is not stored yet.
        """
        self._cursor.execute(
            f"SELECT model, upstream, parameters FROM {table(Run)} "  # noqa: S608
            "WHERE conversation_id = %s AND state IN ('queued', 'running')",
            [key(conversation_id)],
        )
        rows = self._cursor.fetchall()
        answers = (self._longest(model, upstream, _read_json(parameters)) for model, upstream, parameters in rows)
        return sum(answers) + self._added.get(conversation_id, 0)

    def _budget_for(self, model: str) -> int:
        if model not in self._context:
            self._context[model] = budget_for(model, settings.CONTEXT_TOKENS)
        return self._context[model]

    def _price_of(self, model: str, upstream: str) -> Price | None:
        if (model, upstream) not in self._prices:
            self._prices[model, upstream] = price_of(model, upstream, self._now)
        return self._prices[model, upstream]

    def _history_bytes(self, conversation_id: uuid.UUID) -> int:
        """Return the size of everything in a conversation, of which a part is sent."""
        message, part = table(Message), table(MessagePart)
        content, text, data = (BYTES[connection.vendor].format(name) for name in ("m.content", "p.text", "p.data"))
        self._cursor.execute(
            f"SELECT coalesce(sum(size), 0) FROM (SELECT {content} + {TURN_BYTES} AS size FROM {message} m "  # noqa: S608
            f"WHERE m.conversation_id = %s UNION ALL SELECT coalesce({text}, 0) + coalesce({data}, 0) FROM {part} p "
            f"JOIN {message} m ON m.id = p.message_id WHERE m.conversation_id = %s) AS sizes",
            [key(conversation_id)] * 2,
        )
        return int(self._cursor.fetchone()[0])


def settle(run_id: uuid.UUID, charge: Charge) -> None:
    """Charge one run that ended outside of the journal: in the ledger, and under the budgets that it reserved."""
    with connection.cursor() as cursor:
        spending = Spending(cursor, ending=[run_id])
        spending.settle(run_id, charge)
        spending.write()


def lock_reservations(run_id: uuid.UUID) -> bool:
    """Lock what a run has reserved, before the run as the journal does; False if somebody else is ending it."""
    rows = Reservation.objects.filter(run_id=run_id)
    locked = rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
    return len(locked.values_list("pk")) == rows.count()


@transaction.atomic
def settle_deleted(result: RunResult, payer: Payer) -> None:
    """Charge a run that was deleted while it was being produced; one that another process ended was charged there."""
    if not Run.objects.filter(pk=result.run_id).exists():
        settle(result.run_id, charge_for(result, payer))


def release_orphans() -> int:
    """Release what deleted runs had reserved, if nobody settled it since the last call; returns how many runs.

    A run that was deleted while it was being produced is settled by its process, in about a second.
    """
    global _orphans
    unfinished = Run.objects.filter(pk=OuterRef("run_id"), state__in=UNFINISHED)
    found = set(Reservation.objects.filter(~Exists(unfinished)).values_list("run_id", flat=True))
    left, _orphans = found & _orphans, found
    for run_id in left:
        with transaction.atomic(), connection.cursor() as cursor:
            budgets = Budgets(cursor, ending=[run_id])
            budgets.settle(run_id, Amount())
            budgets.write()
    return len(left)


def _max_output(parameters: Mapping[str, Any]) -> int:
    """Return how many tokens an answer may have at most, as its request says; 0 if it does not."""
    most = 0
    for name in MAX_OUTPUT:
        value = parameters.get(name)
        if type(value) is int and value > most:
            most = value
    return most


def _read_json(value: Any) -> Mapping[str, Any]:
    return json.loads(value) if isinstance(value, str) else value or {}


def _key_of(request: RunRequest) -> tuple[uuid.UUID, uuid.UUID | None, str]:
    """Return what decides which budgets apply."""
    who = request.principal
    return who.counted_id, who.key_id, request.end_user


def _spender(request: RunRequest, groups: Mapping[uuid.UUID, frozenset[int]]) -> Spender:
    who = request.principal
    return Spender(who.counted_id, groups.get(who.counted_id, frozenset()), who.key_id, request.end_user[:200])


def _learn_groups(cursor: Any, run_requests: Sequence[RunRequest], members: dict[uuid.UUID, frozenset[int]]) -> None:
    """Look up the groups of those callers that are not among `members` yet."""
    unknown = sorted({request.principal.counted_id for request in run_requests} - members.keys())
    if not unknown:
        return
    member = User.groups.through._meta.db_table
    cursor.execute(
        f"SELECT user_id, group_id FROM {member} WHERE user_id IN ({marks(unknown)})",  # noqa: S608
        list(map(key, unknown)),
    )
    found: dict[uuid.UUID, set[int]] = {user_id: set() for user_id in unknown}
    for user_id, group_id in cursor.fetchall():
        found[read_key(user_id)].add(group_id)
    members.update({user_id: frozenset(groups) for user_id, groups in found.items()})
