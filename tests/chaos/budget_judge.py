"""What must be true when the scenario `budgets` ends: requests, ledger and budgets are what the upstream counted."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any

from completions.ledger_check import differences
from completions.models import Run
from completions.token_counts import token_counts
from tests.chaos.budget_rows import DAILY, DELETING, GROUPED, KEYED, cost_of
from tests.chaos.cluster import ApiUser, database
from tests.chaos.spenders import Asked, Spending, by_prompt, is_in_shape
from usage.models import BudgetUse, DailyUsage


async def judge(state: Spending) -> None:
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
        cost = cost_of(*counted)
    elif any(counted):
        reported = [token_counts(each.usage) for each in records if each.usage]
        verdict.facts["reported"] += 1
        verdict.expect([list(each.values()) for each in reported] == [counted], f"{where}: {counted}, not {reported}")
        cost = cost_of(*counted)
    else:
        verdict.expect(not produced, f"{where}: nothing charged, {produced} produced")
        verdict.expect(run.state != "complete", f"{where}: complete, and nothing charged")
        return
    verdict.expect(run.cost == cost, f"{where}: it costs {run.cost}, not {cost}")


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
