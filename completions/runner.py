"""One task per run: the provider's events into the journal, and in the end exactly one outcome."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import traceback
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.database import in_database_thread
from completions import providers, recall
from completions.asks import Accepted
from completions.assembly import WHOLE, Assembly, parts_of_message, says_more, whole_choice
from completions.context import budget_for, estimate_tokens, fit
from completions.exceptions import (
    CompletionError,
    DeadlineExceeded,
    OutputLimit,
    ProviderError,
    UpstreamInvalid,
    UpstreamRejected,
)
from completions.journal import journal
from completions.live import LIVE, LiveRun
from completions.outcomes import Outcome
from completions.types import Closed, CompletionRequest, Delta, Ended, Opened, Wire
from conversations.branches import branch
from conversations.models import Message

logger = logging.getLogger(__name__)


def start(accepted: Accepted) -> LiveRun:
    """Begin to answer. The task outlives the request, in a context of its own."""
    live = LIVE[accepted.run_id] = LiveRun(accepted)
    live.task = live.loop.create_task(_run(live), context=contextvars.Context())
    return live


async def _run(live: LiveRun) -> None:
    assembly = Assembly()
    response: Wire | None = None
    error: CompletionError | None = None
    live.producing = True
    try:
        if live.cancelled or live.lost:
            raise asyncio.CancelledError
        async with asyncio.timeout(settings.RUN_SECONDS):
            request = await _request(live)
            provider, model = providers.provider_for(live.accepted.ask.model)
            request = CompletionRequest(model, request.messages, request.parameters, request.stream)
            if request.stream:
                await _stream(live, provider, request, assembly)
            else:
                answer = await provider.complete(request)
                response = answer.response
                live.upstream = answer.upstream or live.upstream
    except asyncio.CancelledError:
        if live.task is not None:
            live.task.uncancel()
    except TimeoutError:
        error = DeadlineExceeded()
    except ProviderError as failed:
        error = failed
        live.upstream = failed.upstream or live.upstream
    except Exception as failed:
        _log_unforeseen(live, failed)
        error = CompletionError()
    live.producing = False
    await _settle(live, assembly, response, error)


async def _stream(live: LiveRun, provider: Any, request: CompletionRequest, assembly: Assembly) -> None:
    notes = journal()
    limit = settings.LIMIT_OUTPUT_CHARS
    if said := live.accepted.ask.said:
        live.buffer(Delta(said))
        live.first_token_at = None  # nobody has answered yet
        notes.write(live)
    async for event in provider.stream(request, ready=live.taken):
        if type(event) is Delta:
            if event.wire:
                assembly.feed(event.wire)
            live.buffer(event)
            notes.write(live)
            if limit and live.length > limit:
                raise OutputLimit
        elif type(event) is Opened:
            live.opened = event
            live.upstream = event.upstream or live.upstream
        elif type(event) is Closed:
            assembly.feed(event.wire)
            live.closed = event


async def _request(live: LiveRun) -> CompletionRequest:
    """Return what to send upstream: the call's own messages or the conversation's newest turns, and quotations."""
    accepted = live.accepted
    ask, tokens = accepted.ask, budget_for(accepted.ask.model, settings.CONTEXT_TOKENS)
    if ask.conversation_id is None or accepted.question_id is None:
        messages = ask.messages
        quotation = await _recalled(live, messages, tokens - sum(map(estimate_tokens, messages)))
    else:
        history = await in_database_thread(_history, ask.conversation_id, accepted.question_id)
        if ask.said:
            history.append({"role": "assistant", "content": ask.said})
        quotation = await _recalled(live, history, tokens)
        messages = fit(history, tokens=tokens - (estimate_tokens(quotation.wire) if quotation else 0))
    if quotation is not None:
        messages = recall.insert(messages, quotation.wire)
    return CompletionRequest(ask.model, messages, ask.parameters, ask.stream)


async def _recalled(live: LiveRun, messages: Sequence[Wire], room: int) -> recall.Quotation | None:
    accepted = live.accepted
    if accepted.recall is None or not accepted.recall.limit:
        return None
    tokens = min(room, budget_for(accepted.ask.model, settings.CONTEXT_TOKENS) // recall.SHARE)
    found = await recall.quotation(
        accepted.ask.principal,
        accepted.recall,
        messages,
        conversation_id=accepted.conversation_id,
        tokens=tokens,
    )
    live.recalled = found.quoted if found else ()
    return found


def _history(conversation_id: uuid.UUID, leaf_id: uuid.UUID) -> list[Wire]:
    """Return the branch that ends in the question, without answers that say nothing."""
    return [
        message.as_wire()
        for message in branch(conversation_id, leaf_id)
        if message.content or message.parts or message.role != Message.Role.ASSISTANT
    ]


async def _settle(live: LiveRun, assembly: Assembly, response: Wire | None, error: CompletionError | None) -> None:
    """Store the outcome, then, and only then, say that it is over."""
    if live.lost:
        live.end(Ended("interrupted", error_code="interrupted", error_message="The answer was interrupted.", end=0))
        return
    # The last text is stored before the outcome, in the same commit or an earlier one.
    journal().hurry(live)
    try:
        outcome = _outcome(live, assembly, response, error)
    except Exception as failed:  # an answer of a shape nobody foresaw must end like any other
        _log_unforeseen(live, failed)
        error = error or UpstreamInvalid()
        outcome = _outcome(live, Assembly(), None, error)
    try:
        ours = await journal().finish(outcome)
    except Exception as failed:
        logger.error("run %s: its outcome could not be stored (%s)", live.run_id, type(failed).__name__)
        ours = False
    if error is not None:
        logger.warning("run %s: failed (%s) at upstream %s", live.run_id, error.code, live.upstream)
    if not ours:
        live.end(Ended("interrupted", error_code="interrupted", error_message="The answer was interrupted."))
        return
    live.end(
        Ended(
            outcome.status,
            finish_reason=outcome.finish_reason or None,
            usage=outcome.usage,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
            http_status=outcome.http_status,
            retry_after=error.retry_after if error else None,
            wire=outcome.closing if response is None else (),
            response=response,
            end=len(outcome.content),
            param=error.param if error else None,
            recalled=outcome.recalled,
        )
    )


def _outcome(live: LiveRun, assembly: Assembly, response: Wire | None, error: CompletionError | None) -> Outcome:
    accepted = live.accepted
    # What the journal has not published yet is stored before, or together with, this outcome.
    content = live.text() + live.pending_text()
    parts, siblings = assembly.parts(), assembly.siblings()
    finish_reason = ""
    usage: Wire | None = None
    closing: tuple[Wire, ...] = ()
    envelope: Wire | None = live.opened.envelope if live.opened else None
    status = Message.Status.COMPLETE
    if response is not None:
        content, parts, siblings, finish_reason = _read_response(response)
        usage = response.get("usage")
        envelope = {name: value for name, value in response.items() if name not in ("choices", "usage")}
        choices = response.get("choices") or ()
        rebuilt = whole_choice({"content": content, **(parts or {})}, finish_reason)
        if accepted.ask.store and says_more(choices, rebuilt):
            closing = ({"object": WHOLE, "choices": choices},)
    elif live.closed is not None:
        finish_reason, usage, closing = live.closed.finish_reason, live.closed.usage, live.closed.wire
    if error is not None:
        status = Message.Status.FAILED
    elif response is None and live.closed is None:
        status = Message.Status.CANCELLED if live.cancelled else Message.Status.INTERRUPTED
    interrupted = status == Message.Status.INTERRUPTED
    return Outcome(
        run_id=live.run_id,
        message_id=accepted.message_id,
        conversation_id=accepted.conversation_id,
        status=status,
        content=content,
        parts=parts,
        siblings=siblings,
        finish_reason=finish_reason,
        usage=usage,
        upstream=live.upstream,
        model=str((envelope or {}).get("model") or accepted.ask.model),
        envelope=envelope,
        closing=closing,
        recalled=live.recalled,
        error_code=_code_of(error) if error else ("interrupted" if interrupted else ""),
        error_message=error.message if error else ("The answer was interrupted." if interrupted else ""),
        http_status=error.status if error else 200,
        digest_before=accepted.digest_before,
        first_token_at=live.first_token_at or (timezone.now() if response is not None else None),
    )


def _log_unforeseen(live: LiveRun, error: Exception) -> None:
    # Neither the message nor the values: they may hold what was asked.
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("run %s: %s at %s:%s", live.run_id, type(error).__name__, place.filename, place.lineno)


def _code_of(error: CompletionError) -> str:
    """Return the upstream's own code for its own verdict on the request, where it named one."""
    own = error.upstream_code if isinstance(error, UpstreamRejected) else None
    return (own or error.code)[:60]


def _read_response(response: Wire) -> tuple[str, dict[str, Any] | None, tuple[Wire, ...], str]:
    """Return content, parts, further choices and finish reason of a whole answer."""
    choices = [choice for choice in response.get("choices") or () if isinstance(choice, dict)]
    messages = []
    for choice in choices:
        message = choice.get("message")
        messages.append((message if isinstance(message, dict) else {}, str(choice.get("finish_reason") or "")))
    if not messages:
        return "", None, (), ""
    first, reason = messages[0]
    siblings = tuple(
        {"role": "assistant", "content": str(message.get("content") or ""), "finish_reason": why}
        | (parts_of_message(message) or {})
        for message, why in messages[1:]
    )
    content = first.get("content")
    return content if isinstance(content, str) else "", parts_of_message(first), siblings, reason
