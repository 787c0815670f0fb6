"""What a run is charged: the tokens that its upstream reported, or else an estimate, and what they cost."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings

from completions.context import TURN_TOKENS, budget_for, estimate_tokens, pictures_in
from completions.token_counts import token_counts
from completions.types import Wire
from conversations.branches import branch_ids, in_bulk
from conversations.models import Message
from usage.ledger import Charge
from usage.prices import Tokens, price_of

if TYPE_CHECKING:
    from completions.models import Run
    from completions.run_results import RunResult

BRANCH_SLICE = 100


WORKED_ON = {"upstream_truncated", "upstream_stalled", "upstream_invalid", "upstream_timeout", "deadline_exceeded"}
"""Failures of an upstream that had begun to work on the request, so that it may charge for it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent to an upstream: an estimate of its tokens, and how many pictures it has."""

    tokens: int
    pictures: int = 0


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a run is charged to, and the model as it was asked for."""

    user_id: uuid.UUID
    api_key_id: uuid.UUID | None
    model: str


def sent_of(messages: Sequence[Wire]) -> Sent:
    return Sent(sum(map(estimate_tokens, messages)), sum(map(pictures_in, messages)))


def charge_for(result: RunResult, payer: Payer) -> Charge:
    """Return what a run is charged that ended with this result. Uses the database, when the known prices are old."""
    tokens, is_estimate = _tokens_of(result)
    return charge(
        payer,
        tokens,
        is_estimate=is_estimate,
        upstream=result.upstream,
        answered_by=result.model,
        at=result.finished_at,
        failed=result.status in (Message.Status.FAILED, Message.Status.INTERRUPTED),
    )


def charge(
    payer: Payer,
    tokens: Tokens,
    *,
    is_estimate: bool,
    upstream: str,
    answered_by: str,
    at: dt.datetime,
    failed: bool,
) -> Charge:
    """Return the charge for these tokens, at the price of the model that was asked for, or of the one that answered."""
    price = price_of(payer.model, upstream, at) or (answered_by and price_of(answered_by, upstream, at)) or None
    return Charge(
        user_id=payer.user_id,
        api_key_id=payer.api_key_id,
        model=payer.model,
        upstream=upstream,
        at=at,
        tokens=tokens,
        is_estimate=is_estimate,
        cost=price.cost(tokens) if price is not None else None,
        failed=failed,
    )


def charge_interrupted(run: Run, content: str, at: dt.datetime) -> Charge:
    """Return what a run is charged whose process died with this much of its answer stored: always an estimate."""
    asked = max(run.input_tokens or 0, _branch_tokens(run))
    tokens = Tokens(input=asked, output=_estimated({"content": content}))
    payer = Payer(run.user_id, run.api_key_id, run.model)
    return charge(payer, tokens, is_estimate=True, upstream=run.upstream, answered_by="", at=at, failed=True)


def _branch_tokens(run: Run) -> int:
    """Estimate what was sent of a kept run's conversation: the newest messages of its branch that fit."""
    if run.message is None or run.conversation_id is None:
        return 0
    ids = branch_ids(run.conversation_id, run.message.parent_id)
    most, tokens = budget_for(run.model, settings.CONTEXT_TOKENS), 0
    for end in range(len(ids), 0, -BRANCH_SLICE):
        rows = in_bulk(ids[max(0, end - BRANCH_SLICE) : end])
        tokens += sum(estimate_tokens(row.as_wire()) for row in rows.values())
        if tokens >= most:
            return most
    return tokens


def uncharged(run: Run, at: dt.datetime) -> Charge:
    """Return the charge of a run that ended before anything was asked: one request, and nothing else."""
    payer = Payer(run.user_id, run.api_key_id, run.model)
    return charge(
        payer, Tokens(requests=0), is_estimate=False, upstream=run.upstream, answered_by="", at=at, failed=False
    )


def columns(charge: Charge) -> dict[str, Any]:
    """Return the fields of `Run` that a charge fills; the others are in what the upstream reported."""
    return {
        "is_estimate": charge.is_estimate,
        "cost": charge.cost,
        "input_tokens": charge.tokens.input,
        "output_tokens": charge.tokens.output,
    }


def _tokens_of(result: RunResult) -> tuple[Tokens, bool]:
    """Return what the upstream reported, and an estimate of what it did not; and whether there is any estimate."""
    reported = token_counts(result.usage)
    asked, answered = reported["input_tokens"], reported["output_tokens"]
    if asked is None and answered is None and (result.sent is None or not _has_begun(result)):
        return Tokens(requests=0), False
    is_estimate = result.sent is not None and (asked is None or answered is None)
    if asked is None:
        asked = result.sent.tokens if result.sent else 0
    if answered is None:
        wires = ({"content": result.content, **(result.extras or {})}, *result.siblings)
        answered = sum(map(_estimated, wires)) if result.sent else 0
    tokens = Tokens(
        input=asked,
        cached=reported["cached_tokens"] or 0,
        output=answered,
        reasoning=reported["reasoning_tokens"] or 0,
        images=result.sent.pictures if result.sent else 0,
    )
    return tokens.consistent(), is_estimate


def _has_begun(result: RunResult) -> bool:
    """Tell whether an upstream worked on it: one that refused a request, or was not reached, charges nothing."""
    is_shown = bool(result.content or result.extras or result.envelope)
    return result.status != Message.Status.FAILED or is_shown or result.error_code in WORKED_ON


def _estimated(wire: Mapping[str, Any]) -> int:
    return estimate_tokens(wire) - TURN_TOKENS
