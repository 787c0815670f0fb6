"""kill -9, cancels and deletions under many callers whose budgets are nearly used up: what is counted stays exact.

What a request reserves is at least what it can be charged. Only runs whose upstream reported nothing, since they were
killed, cancelled or deleted, are estimated; the words of this upstream have four letters, of which the estimate makes
one token each, so that here an estimate is never above what was reserved, and no limit may be passed at all. An
estimate is at most what the upstream produced, and at least what the client was shown of an answer that is kept. Of
one that is not kept, and whose process was killed, nothing but the question can be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce

from accounts.models import ApiKey
from chatservice.dialects import DIALECTS
from completions.ledger_check import differences
from completions.models import Run
from completions.token_counts import token_counts
from foundation.database import StorageError
from tests.chaos import wire
from tests.chaos.cluster import ApiUser, Cluster, database, make_api_user, running_cluster, until
from tests.chaos.spenders import IN_LINE, KINDS, Asked, FirstInLine, ask, by_prompt, is_in_shape
from tests.chaos.verdict import Verdict
from usage.budget_rules import forget_budgets
from usage.models import Budget, BudgetUse, DailyUsage, ModelPrice, Reservation
from usage.tests.prices import add_price

PROMISE = "budgets: no limit is passed, nothing stays reserved for 15 s, and the ledger is what the upstream counted"
CALLERS, CALLERS_A_ROUND = 64, 8
USERS = 8
GROUPED, DAILY, KEYED, DELETING = (0, 1, 2), 3, 4, (6, 7)
BOUND = 15.0
LONGEST = 40
MODELS = ("fake/metered:5ms:30", "fake/metered:0:20", "fake/metered:20ms:40", "fake/metered:30ms:40")
WHAT = ("kill", "cancel", "delete", "cancel")
LOOKS_A_RAISE = 8
TWINS = 0.1
"""How many requests are sent twice at the same time, with one key."""
AT_ONCE = 6
API = "/v1/chat" if "chat_v1" in DIALECTS else ""


@dataclass
class Spending:
    cluster: Cluster
    verdict: Verdict
    seed: int
    over: bool = False
    """Nothing more is asked."""
    settled: bool = False
    """Nothing is reserved any more, or it took too long."""
    asked: list[list[Asked]] = field(default_factory=list)
    """What one caller's turn asked; twins are one turn."""
    deleted: dict[str, int] = field(default_factory=dict)
    """The runs that were deleted while they ran, with their process."""
    reserved: dict[uuid.UUID, tuple[int, int]] = field(default_factory=dict)
    """The tokens and the cost that were seen reserved for a run."""


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    users = await database(_set_up)
    try:
        async with running_cluster(f"{seed} budgets", processes=4, api_users=0, SWEEP_SECONDS="1") as cluster:
            cluster.api_users = users
            state = Spending(cluster, verdict, seed)
            callers = min(CALLERS, CALLERS_A_ROUND * rounds)
            work = [asyncio.create_task(_call(state, number)) for number in range(callers)]
            watch = asyncio.create_task(_watch(state))
            await _disturb(state, rounds)
            state.over = True
            await asyncio.gather(*work)
            ended = time.monotonic()
            try:
                await until(lambda: database(_nothing_is_reserved), timeout=BOUND, what="the end of all reservations")
            except AssertionError as late:
                verdict.broken(f"{late}: {await database(_reserved)}")
            verdict.times.append(time.monotonic() - ended)
            state.settled = True
            await watch
            cluster.baseline = {}
            await cluster.settle(verdict)
            await _judge(state)
    finally:
        await database(_clean_up)
    return verdict


# --- what happens


async def _disturb(state: Spending, rounds: int) -> None:
    """Kill a process, stop answers or delete conversations, one after the other at random."""
    rng, cluster = random.Random(f"{state.seed} budgets"), state.cluster
    restarts: dict[int, asyncio.Task[None]] = {}
    for number in range(rounds):
        await asyncio.sleep(rng.uniform(0.05, 1.0))
        what = (
            ("kill", "cancel", "delete")[number] if number < 3 else rng.choice(("kill", "cancel", "cancel", "delete"))
        )
        if what == "kill":
            victim = rng.choice(cluster.processes)
            if victim.port in restarts:
                await restarts.pop(victim.port)
            await until(lambda: len(cluster.alive) > 1, timeout=60, what="a second process")
            # In some rounds only the lease can show that the process died; a short run does not wait for that.
            victim.kill(stay=rounds >= BOUND and rng.random() < 0.3)
            restarts[victim.port] = asyncio.create_task(victim.start())
        else:
            allowed = [cluster.api_users[n] for n in (DELETING if what == "delete" else range(USERS))]
            running = await until(lambda: database(_running, allowed, what), timeout=60, what="an answer")  # noqa: B023
            chosen = rng.sample(running, min(AT_ONCE, len(running)))
            await asyncio.gather(*(_stop(state, what, each, rng.choice(cluster.alive).port) for each in chosen))
        state.verdict.facts[f"{what}s"] += 1
        state.verdict.rounds += 1
    await asyncio.gather(*restarts.values())


async def _stop(state: Spending, what: str, run: Run, port: int) -> None:
    secret = next(each.secret for each in state.cluster.api_users if each.user.pk == run.user_id)
    method, path = "POST", f"{API}/runs/{run.pk}/cancel"
    if what == "delete":
        method, path = "DELETE", f"{API}/conversations/{run.conversation_id}"
    try:
        await wire.call(port, method, path, secret=secret)
    except wire.Refused as refused:  # one that is over, or deleted already
        state.verdict.expect(refused.status in (404, 409), f"{what} {run.pk}: {refused}")
    except (wire.Cut, OSError):
        pass
    else:
        if what == "delete":
            state.deleted[str(run.pk)] = int(run.worker.split(":")[1])


async def _call(state: Spending, number: int) -> None:
    rng = random.Random(f"{state.seed} spender {number}")
    count = 0
    while not state.over:
        count += 1
        kind = KINDS[(number + count) % len(KINDS)]
        api_user, prompt = state.cluster.api_users[number % USERS], f"b{number}q{count}"
        model, port = rng.choice(MODELS), state.cluster.another(rng).port
        has_key = kind.name != "chat" and number % USERS not in DELETING  # one that was deleted starts again
        twins = 1 + (has_key and rng.random() < TWINS)
        first, *others = [kind(api_user, prompt, model) for _ in range(twins)]
        try:
            await first.prepare(port)
        except (wire.Cut, wire.Refused, OSError):
            continue
        for each in others:
            each.conversation_id = getattr(first, "conversation_id", "")
        more = IN_LINE if isinstance(first, FirstInLine) and not others else 0
        elsewhere = [state.cluster.another(rng, than=port).port for _ in others]
        told = await asyncio.gather(
            *(ask(each, at, more=more) for each, at in zip([first, *others], [port, *elsewhere], strict=True))
        )
        turn = [each for found in told for each in found]
        state.asked.append(turn)
        if any(each.status != 200 for each in turn):
            await asyncio.sleep(rng.uniform(0.05, 0.3))


async def _watch(state: Spending) -> None:
    """Look at the budgets all the time, and give a little more to those that are used up."""
    while not state.settled:
        for wrong in await database(_wrong_now):
            state.verdict.broken(wrong)
        state.reserved |= await database(_reservations)
        state.verdict.facts["looks"] += 1
        if not state.over and state.verdict.facts["looks"] % LOOKS_A_RAISE == 0:
            with contextlib.suppress(*StorageError):  # SQLite's lock is not fair
                await database(_give_more)
        await asyncio.sleep(0.05)


# --- budgets and prices

ALLOWANCE = {"everybody": 6_000, "each": 1_500, "group": 6_000, "user": 900, "key": 3_000}


def _set_up() -> list[ApiUser]:
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
    _give_more()
    return users


def _clean_up() -> None:
    """Leave nothing that would limit, or charge, what runs after this on the same database."""
    BudgetUse.objects.filter(budget__name__in=ALLOWANCE).delete()
    Budget.objects.filter(name__in=ALLOWANCE).delete()
    ModelPrice.objects.filter(model="metered*").delete()
    forget_budgets()


def _give_more() -> None:
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
    rows = Reservation.objects.filter(use=OuterRef("pk")).order_by().values("use")
    return Coalesce(Subquery(rows.annotate(total=Sum(name)).values("total")), 0)


def _wrong_now() -> list[str]:
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


def _reservations() -> dict[uuid.UUID, tuple[int, int]]:
    rows = Reservation.objects.filter(use__budget__name__in=ALLOWANCE)
    return {run_id: (tokens, cost) for run_id, tokens, cost in rows.values_list("run_id", "tokens", "cost")}


def _nothing_is_reserved() -> bool:
    return not _reserved()


def _reserved() -> list[tuple[Any, ...]]:
    uses = BudgetUse.objects.filter(budget__name__in=ALLOWANCE).exclude(reserved_tokens=0, reserved_cost=0)
    rows = Reservation.objects.filter(use__budget__name__in=ALLOWANCE)
    left = list(uses.values_list("budget__name", "reserved_tokens", "reserved_cost"))
    return left + list(rows.values_list("use__budget__name", "run_id", "tokens"))


def _running(users: list[ApiUser], what: str) -> list[Run]:
    runs = Run.objects.running().filter(user__in=[each.user for each in users])
    return list(runs.exclude(conversation=None) if what == "delete" else runs)


# --- what must be true in the end


async def _judge(state: Spending) -> None:
    verdict, cluster = state.verdict, state.cluster
    ids = [each.user.pk for each in cluster.api_users]
    runs: dict[str, list[Run]] = {}
    for each in await database(_runs, ids):
        kept = each.message and each.message.parent
        runs.setdefault(kept.content if kept else each.request_id, []).append(each)
    seen = by_prompt(cluster)
    deleting = {cluster.api_users[number].user.pk for number in DELETING}
    shown: dict[str, int] = {}
    for turn in state.asked:
        for asked in turn:
            shown[asked.prompt] = max(shown.get(asked.prompt, 0), len(asked.reader.text))
        _judge_turn(state, turn, runs, seen)
    for prompt, found in runs.items():
        for run in found:
            _judge_run(state, run, prompt, seen.get(prompt, []), shown.get(prompt, 0))
    for wrong in await database(_wrong_totals, cluster.api_users, deleting):
        verdict.broken(wrong)
    deaths = {pid for process in cluster.processes for pid in process.deaths}
    certain = sum(pid not in deaths for pid in state.deleted.values())
    extra = await database(_charged_without_run, deleting)
    gone = [each for prompt, each in seen.items() if prompt not in runs]
    produced = sum(record.produced for each in gone for record in each)
    verdict.facts["deleted while they ran"] += len(state.deleted)
    verdict.expect(
        certain <= extra["requests"], f"of {certain} deleted requests, whose processes live, {extra} is charged"
    )
    verdict.expect(extra["output_tokens"] <= produced, f"deleted requests are charged {extra}, produced was {produced}")


def _judge_turn(state: Spending, turn: list[Asked], runs: dict[str, list[Run]], seen: dict[str, list[Any]]) -> None:
    verdict = state.verdict
    for prompt, same in _by_prompt(turn).items():
        where = f"{prompt} ({same[0].reader.name}, seed {state.seed})"
        for asked in same:
            verdict.expect(not asked.is_surprising, f"{where}: {asked.status} {asked.body}")
            if asked.is_refused:
                verdict.facts["refused"] += 1
                verdict.expect(is_in_shape(asked), f"{where}: another shape: {asked.body}")
        if all(asked.is_refused for asked in same):
            verdict.expect(prompt not in seen, f"{where}: refused, and asked upstream")
            verdict.expect(prompt not in runs, f"{where}: refused, and there is a run")
        verdict.expect(len(seen.get(prompt, ())) <= 1, f"{where}: asked upstream {len(seen.get(prompt, ()))} times")
        verdict.expect(len(runs.get(prompt, ())) <= 1, f"{where}: {len(runs.get(prompt, ()))} runs")


def _by_prompt(turn: Iterable[Asked]) -> dict[str, list[Asked]]:
    found: dict[str, list[Asked]] = {}
    for asked in turn:
        found.setdefault(asked.prompt, []).append(asked)
    return found


def _judge_run(state: Spending, run: Run, prompt: str, records: list[Any], shown: int) -> None:
    """Compare what a run is charged with what the upstream counted."""
    verdict, where = state.verdict, f"{prompt}: run {run.pk} ({run.state}, seed {state.seed})"
    verdict.facts["runs"] += 1
    counted = [run.input_tokens or 0, run.cached_tokens or 0, run.output_tokens or 0, run.reasoning_tokens or 0]
    produced = sum(each.produced for each in records)
    if run.pk in state.reserved:
        verdict.facts["seen reserved"] += 1
        tokens, cost = state.reserved[run.pk]
        charged = (counted[0] + counted[2], run.cost or 0)
        verdict.expect(charged[0] <= tokens and charged[1] <= cost, f"{where}: {tokens, cost} reserved, {charged}")
    if run.is_estimate:
        verdict.facts["estimated"] += 1
        verdict.expect(run.state != "complete", f"{where}: estimated although the upstream reported")
        verdict.expect(counted[0] > 0, f"{where}: its question costs nothing")
        verdict.expect(counted[2] <= produced, f"{where}: {counted} charged, {produced} produced")
        if run.message is not None:
            verdict.expect(counted[2] >= shown // 4, f"{where}: {counted} charged, {shown} characters shown")
        cost = _cost(*counted)
    elif any(counted):
        reported = [token_counts(each.usage) for each in records if each.usage]
        verdict.facts["reported"] += 1
        verdict.expect([list(each.values()) for each in reported] == [counted], f"{where}: {counted}, not {reported}")
        cost = _cost(*counted)
    else:
        verdict.expect(not produced, f"{where}: nothing charged, {produced} produced")
        verdict.expect(run.state != "complete", f"{where}: complete, and nothing charged")
        return
    verdict.expect(run.cost == cost, f"{where}: it costs {run.cost}, not {cost}")


def _cost(asked: int, cached: int, answered: int, reasoned: int) -> int:
    """Return the cost in millionths by the price above, rounded half up."""
    doubled = 2 * (asked - cached) + cached + 4 * (answered - reasoned) + 8 * reasoned + 20
    return (doubled + 1) // 2


def _runs(user_ids: list[uuid.UUID]) -> list[Run]:
    return list(Run.objects.filter(user__in=user_ids).select_related("message__parent"))


def _wrong_totals(users: list[ApiUser], deleting: set[uuid.UUID]) -> list[str]:
    """Compare budgets, ledger and runs; what was deleted is left in the ledger alone."""
    ids = {each.user.pk for each in users}
    wrong = [
        f"{each.key}: the ledger has {dict(each.ledger)}, the runs {dict(each.runs)}"
        for _, found in differences()
        for each in found
        if each.key[1] in ids and not (each.key[1] in deleting and each.is_more)
    ]
    used = {(use.budget.name, use.member): use for use in BudgetUse.objects.select_related("budget")}
    tokens: Counter[uuid.UUID] = Counter()
    cost: Counter[uuid.UUID] = Counter()
    for user_id, *used_tokens, paid in DailyUsage.objects.filter(user__in=ids).values_list(
        "user", "input_tokens", "output_tokens", "cost"
    ):
        tokens[user_id] += sum(used_tokens)
        cost[user_id] += paid
    each = {pk: used["each", pk.hex].used_tokens for pk in ids if ("each", pk.hex) in used}
    for pk in ids:
        # One whose process did not learn in time that it was deleted is in the ledger alone.
        if each.get(pk, 0) != tokens[pk] and not (pk in deleting and each.get(pk, 0) < tokens[pk]):
            wrong.append(f"each {pk}: {each.get(pk, 0)} used, {tokens[pk]} in the ledger")
    group = [users[number].user.pk for number in GROUPED]
    for name, counted, expected in (
        ("everybody", used["everybody", ""].used_tokens, sum(each.values())),
        ("group", used["group", ""].used_cost, sum(cost[pk] for pk in group)),
        ("user", used["user", ""].used_tokens, tokens[users[DAILY].user.pk]),
        ("key", used["key", ""].used_cost, cost[users[KEYED].user.pk]),
    ):
        if counted != expected:
            wrong.append(f"{name}: {counted} used, {expected} in the ledger")
    return wrong


def _charged_without_run(user_ids: set[uuid.UUID]) -> Counter[str]:
    """Return what the ledger has more than the runs of these users."""
    more: Counter[str] = Counter()
    for _, found in differences():
        for each in found:
            if each.key[1] in user_ids:
                more.update(each.ledger)
                more.subtract(each.runs)
    return more
