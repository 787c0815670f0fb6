"""One task per run: passes the provider's events to the journal and ends with exactly one outcome."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils import timezone

from completions import providers, recall, request_policy, token_rates
from completions.assembly import WHOLE, Assembly, extras_of_message, says_more, whole_choice, with_finish_reasons
from completions.attachments import with_files
from completions.charges import Payer, sent_of
from completions.chat_tools import with_chat_calls
from completions.context import CHARS_PER_TOKEN, INSTRUCTIONS, budget_for, estimate_tokens, fit
from completions.document_texts import with_texts
from completions.embedded_content import release
from completions.exceptions import (
    CompletionError,
    DeadlineExceeded,
    OutputLimit,
    ProviderError,
    Refused,
    UpstreamInvalid,
)
from completions.given_back import given_back, with_stored_reasoning
from completions.histories import as_input, for_chat, valid, without_items
from completions.journal import journal
from completions.live import LIVE, LiveRun
from completions.notifications import notifications
from completions.providers.base import Provider
from completions.run_log import log_end
from completions.run_requests import HEAD, RunHandle, RunRequest
from completions.run_results import RunResult
from completions.signals import lease_lost, run_finished, run_left, run_started, upstream_asked, upstream_finished
from completions.spending import settle_deleted
from completions.token_counts import token_counts
from completions.types import CompletionRequest, Delta, RunFinished, StreamFinished, StreamStarted, Wire
from conversations.branches import branch_ids, in_bulk
from conversations.chat_wire import ROLES
from conversations.finish_reasons import MISSING
from conversations.models import Message
from foundation.database import in_database_thread
from foundation.logs.context import LogContext, background_context
from foundation.logs.tracebacks import name_of, unexpected

logger = logging.getLogger(__name__)

HISTORY_SLICE = 100


def start(handle: RunHandle, *, provider: Provider, model: str) -> LiveRun:
    """Start a run with the provider's `model`. Its task outlives the request, and has its own context."""
    return _start(handle, provider, model)


def start_queued(handle: RunHandle) -> LiveRun:
    """Start a run that was queued and is promoted: whether its request is allowed is checked again."""
    live = _start(handle)
    notifications().wake(handle.run_id)
    return live


def _start(handle: RunHandle, provider: Provider | None = None, model: str = "") -> LiveRun:
    live = LIVE[handle.run_id] = LiveRun(handle)
    asked = handle.request
    context = LogContext(asked.request_id, run_id=handle.run_id, traceparent=asked.traceparent)
    context.note_caller(asked.principal)
    live.task = live.loop.create_task(_run(live, provider, model), context=background_context(context))
    if handle.request.embedded:
        live.task.add_done_callback(lambda task: release(handle.request))
    return live


async def _run(live: LiveRun, provider: Provider | None, model: str) -> None:
    run_started.send_robust(None, run_id=live.run_id)
    try:
        await _produce(live, provider, model)
    finally:
        run_left.send_robust(None, run_id=live.run_id, end=live.finished.status if live.finished else "")


async def _produce(live: LiveRun, provider: Provider | None, model: str) -> None:
    assembly = Assembly()
    response: Wire | None = None
    error: CompletionError | None = None
    live.producing = True
    try:
        if live.cancelled or live.lost:
            raise asyncio.CancelledError
        async with asyncio.timeout(settings.RUN_SECONDS):
            if provider is None:
                asked = live.handle.request
                await request_policy.check(asked.principal, asked.model, asked.parameters)
                provider, model = providers.provider_for(asked.model)
            request = await _request(live, model, provider)
            live.sent = sent_of(request.messages)
            place = live.handle.conversation_id
            upstream_asked.send_robust(
                None, run_id=live.run_id, model=model, upstream=provider.name, conversation_id=place
            )
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
    except Refused as failed:
        error = failed
    except Exception as failed:
        _log_unforeseen(live, failed)
        error = CompletionError()
    live.producing = False
    await _settle(live, assembly, response, error)


async def _stream(live: LiveRun, provider: Provider, request: CompletionRequest, assembly: Assembly) -> None:
    notes = journal()
    limit = settings.LIMIT_OUTPUT_CHARS
    if prefill := live.handle.request.prefill:
        live.buffer(Delta(prefill))
        live.first_token_at = None  # no upstream has answered yet
        notes.write(live)
    async for event in provider.stream(request, ready=live.taken):
        if type(event) is Delta:
            if event.wire:
                assembly.feed(event.wire)
            live.buffer(event)
            notes.write(live)
            if limit and live.length > limit:
                raise OutputLimit
        elif type(event) is StreamStarted:
            live.started = event
            live.upstream = event.upstream or live.upstream
        elif type(event) is StreamFinished:
            assembly.feed(event.wire)
            live.stream_finished = event


async def _request(live: LiveRun, model: str, provider: Provider) -> CompletionRequest:
    """Return what to send upstream: instructions, quotations, and the call's messages or the newest turns before it."""
    handle = live.handle
    run_request = handle.request
    tokens = budget_for(run_request.model, settings.CONTEXT_TOKENS) if run_request.is_cut_to_fit else sys.maxsize
    leaf_id, unstored = _branch_of(handle)
    told: list[Wire] = [{"role": "system", "content": run_request.instructions}] if run_request.instructions else []
    messages: Sequence[Wire]
    if run_request.conversation_id is None or leaf_id is None:
        messages = run_request.messages
        if _is_translated(run_request, provider) and handle.conversation_id is not None:
            place = (handle.conversation_id, handle.question_id)
            messages = await in_database_thread(with_stored_reasoning, messages, *place, provider.name)
        quotation = await _recalled(live, messages, tokens, beside=[*told, *messages])
    else:
        history = await in_database_thread(_history, run_request.conversation_id, leaf_id, tokens, provider)
        history += unstored
        quotation = await _recalled(live, history, tokens, beside=told)
        prefill = [{"role": "assistant", "content": run_request.prefill}] if run_request.prefill else []
        beside = [*told, *([quotation.wire] if quotation else []), *prefill]
        room = tokens - sum(map(estimate_tokens, beside))
        messages = (*fit(valid(history), tokens=room), *prefill)
    if _is_translated(run_request, provider):
        messages = for_chat(messages)
    if quotation is not None:
        messages = recall.insert(messages, quotation.wire)
    if not provider.takes_documents:
        messages = await with_texts(messages, run_request.principal, chars=tokens * CHARS_PER_TOKEN)
    sent, contents = await with_files((*told, *messages), run_request.principal, run_request.embedded)
    return CompletionRequest(model, sent, run_request.parameters, run_request.stream, run_request.native, contents)


def _is_translated(run_request: RunRequest, provider: Provider) -> bool:
    """Tell whether a Responses request goes to a server of chat completions."""
    return run_request.native is not None and not provider.speaks_responses


def _branch_of(handle: RunHandle) -> tuple[uuid.UUID | None, Sequence[Wire]]:
    """Return the last stored message of the question's branch, and the messages after it, which are not stored."""
    run_request = handle.request
    if handle.question_id is not None or run_request.store or run_request.parent_id == HEAD:
        return handle.question_id, ()
    return run_request.parent_id, run_request.messages


async def _recalled(
    live: LiveRun, messages: Sequence[Wire], room: int, *, beside: Sequence[Wire] = ()
) -> recall.Quotation | None:
    """Return what to quote, if anything, in the part of `room` (tokens) that the messages `beside` it leave free."""
    handle = live.handle
    if handle.recall is None or not handle.recall.limit:
        return None
    tokens = min(
        room - sum(map(estimate_tokens, beside)),
        budget_for(handle.request.model, settings.CONTEXT_TOKENS) // recall.SHARE,
    )
    found = await recall.quotation(
        handle.request.principal,
        handle.recall,
        messages,
        conversation_id=handle.conversation_id,
        tokens=tokens,
    )
    live.recalled = found.quoted if found else ()
    return found


def _history(conversation_id: uuid.UUID, leaf_id: uuid.UUID, tokens: int, provider: Provider) -> list[Wire]:
    """Return the branch that ends in the question, without empty answers; the provider's own with their reasoning.

    Of a long branch, return all instructions and the newest messages, slightly more than fit into `tokens`: older ones
    would not be sent, so they are not read.
    """
    ids = branch_ids(conversation_id, leaf_id)
    newest: list[Wire] = []
    end = len(ids)
    while end and tokens > 0:
        start = max(0, end - HISTORY_SLICE)
        wires = _wires(ids[start:end], provider)
        tokens -= sum(map(estimate_tokens, wires))
        newest[:0] = wires
        end = start
    if not end:
        return newest
    instructions = Message.objects.of(conversation_id).filter(role__in=INSTRUCTIONS).values_list("pk", flat=True)
    found = set(instructions)
    return _wires([pk for pk in ids[:end] if pk in found], provider) + newest


def _wires(ids: Sequence[uuid.UUID], provider: Provider) -> list[Wire]:
    rows = in_bulk(ids)
    return [_wire(rows[pk], provider) for pk in ids if pk in rows and not rows[pk].says_nothing]


def _wire(message: Message, provider: Provider) -> Wire:
    """Return a message as it is sent: a client's own as the client wrote it, others with the fields of requests."""
    wire: Wire = message.as_wire()
    is_own = message.upstream == provider.name
    if is_own and provider.speaks_responses:
        return wire
    if message.has_parts and (message.model or message.source_id or wire["role"] not in ROLES):
        reasoning = given_back(wire, provider.name) if is_own else {}
        wire = {**as_input(wire, role=message.role, text=message.content), **reasoning}
    return wire if provider.speaks_responses else with_chat_calls(without_items(wire))


async def _settle(live: LiveRun, assembly: Assembly, response: Wire | None, error: CompletionError | None) -> None:
    """Store the outcome, and only then publish the end of the run."""
    if live.lost:
        lease_lost.send_robust(None, run_id=live.run_id)
        live.end(
            RunFinished("interrupted", error_code="interrupted", error_message="The answer was interrupted.", end=0)
        )
        log_end(live, Message.Status.INTERRUPTED, error=error)
        # After the end: the database may be silent.
        with contextlib.suppress(Exception):  # an answer of an unforeseen shape
            await _charge_deleted(live, _result(live, assembly, response, error))
        return
    # The last text is stored before the outcome, in the same commit or an earlier one.
    journal().flush_soon(live)
    try:
        result = _result(live, assembly, response, error)
    except Exception as failed:  # an answer of an unforeseen shape must still end
        _log_unforeseen(live, failed)
        error = error or UpstreamInvalid()
        result = _result(live, Assembly(), None, error)
    counted = token_counts(result.usage)
    upstream_finished.send_robust(
        None,
        run_id=live.run_id,
        model=result.model,
        upstream=result.upstream,
        finish_reason=result.finish_reason,
        error_code=error.code if error else result.error_code,
        input_tokens=counted["input_tokens"],
        output_tokens=counted["output_tokens"],
        first_token_at=live.first_token_at,
    )
    charge, is_stored = None, True
    try:
        charge = await journal().finish(result)
    except Exception as failed:
        logger.error("run %s: its outcome could not be stored (%s)", live.run_id, type(failed).__name__)
        is_stored = False
    if live.following is not None:
        start_queued(live.following)
    if error is not None:
        logger.warning("run %s: failed (%s) at upstream %s", live.run_id, error.code, live.upstream)
    if charge is None:
        live.end(RunFinished("interrupted", error_code="interrupted", error_message="The answer was interrupted."))
        log_end(live, Message.Status.INTERRUPTED, error=error)
        if is_stored:  # deleted a moment ago, if no other process ended it
            await _charge_deleted(live, result)
        return
    live.end(
        RunFinished(
            result.status,
            finish_reason=result.finish_reason or None,
            usage=result.usage,
            error_code=result.error_code,
            error_message=result.error_message,
            http_status=result.http_status,
            retry_after=error.retry_after if error else None,
            wire=result.closing if response is None else (),
            response=with_finish_reasons(response) if response is not None else None,
            end=len(result.content),
            param=error.param if error else None,
            retryable=result.retryable,
            recalled=result.recalled,
            empty_reason=result.empty_reason,
            finished_at=result.finished_at,
            cost=charge.cost,
        )
    )
    run_finished.send_robust(
        None,
        run_id=live.run_id,
        model=live.handle.request.model,
        upstream=result.upstream,
        end=result.status,
        error_code=error.code if error else result.error_code,
        input_tokens=charge.tokens.input,
        output_tokens=charge.tokens.output,
        cost=charge.cost,
        seconds=(result.finished_at - live.began_at).total_seconds(),
        first_token_seconds=(live.first_token_at - live.began_at).total_seconds() if live.first_token_at else None,
    )
    log_end(live, result.status, charge, error)


async def _charge_deleted(live: LiveRun, result: RunResult) -> None:
    """Charge what was produced of a run that was deleted meanwhile."""
    asked = live.handle.request
    payer = Payer(asked.principal.user_id, asked.principal.key_id, asked.model)
    try:
        await in_database_thread(settle_deleted, result, payer)
    except Exception as failed:
        logger.warning("run %s: what it cost could not be stored (%s)", live.run_id, type(failed).__name__)


def _result(live: LiveRun, assembly: Assembly, response: Wire | None, error: CompletionError | None) -> RunResult:
    handle = live.handle
    # Text that the journal has not published yet is stored before this outcome or with it.
    content = live.text() + live.pending_text()
    extras, siblings = assembly.extras(), assembly.siblings()
    finish_reason = ""
    usage: Wire | None = None
    closing: tuple[Wire, ...] = ()
    envelope: Wire | None = live.started.envelope if live.started else None
    status = Message.Status.COMPLETE
    if response is not None:
        content, extras, siblings, finish_reason = _read_response(response)
        usage = response.get("usage")
        envelope = {name: value for name, value in response.items() if name not in ("choices", "usage")}
        choices = with_finish_reasons(response)["choices"]
        rebuilt = whole_choice({"content": content, **(extras or {})}, finish_reason)
        if handle.request.store and says_more(choices, rebuilt):
            closing = ({"object": WHOLE, "choices": choices},)
    elif live.stream_finished is not None:
        finish_reason, usage, closing = (
            live.stream_finished.finish_reason,
            live.stream_finished.usage,
            live.stream_finished.wire,
        )
    if error is not None:
        status = Message.Status.FAILED
    elif response is None and live.stream_finished is None:
        status = Message.Status.CANCELLED if live.cancelled else Message.Status.INTERRUPTED
    interrupted = status == Message.Status.INTERRUPTED
    return RunResult(
        run_id=live.run_id,
        message_id=handle.message_id,
        conversation_id=handle.conversation_id,
        status=status,
        content=content,
        extras=extras,
        siblings=siblings,
        finish_reason=finish_reason,
        usage=usage,
        sent=live.sent,
        upstream=live.upstream,
        model=str((envelope or {}).get("model") or handle.request.model),
        envelope=envelope,
        closing=closing,
        recalled=live.recalled,
        error_code=_code_of(error) if error else ("interrupted" if interrupted else ""),
        error_message=error.message if error else ("The answer was interrupted." if interrupted else ""),
        http_status=error.status if error else 200,
        retryable=isinstance(error, ProviderError) and error.retryable,
        token_counters=token_rates.keys_of(handle.request.principal),
        digest_before=handle.digest_before,
        first_token_at=live.first_token_at or (timezone.now() if response is not None else None),
    )


def _log_unforeseen(live: LiveRun, error: Exception) -> None:
    logger.error("run %s: unexpected %s", live.run_id, name_of(type(error)), extra=unexpected(error))


def _code_of(error: CompletionError) -> str:
    """Return the upstream's own error code if it sent one, else ours."""
    own = error.upstream_code if isinstance(error, ProviderError) else None
    return (own or error.code)[:60]


def _read_response(response: Wire) -> tuple[str, dict[str, Any] | None, tuple[Wire, ...], str]:
    """Return content, extras, further choices and finish reason of a whole answer."""
    choices = [(choice["message"], choice.get("finish_reason") or MISSING) for choice in response["choices"]]
    (first, reason), *others = choices
    siblings = tuple(
        {"role": "assistant", "content": message.get("content") or "", "finish_reason": why}
        | (extras_of_message(message) or {})
        for message, why in others
    )
    return first.get("content") or "", extras_of_message(first), siblings, reason
