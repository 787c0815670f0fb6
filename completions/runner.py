"""One task per run: passes the provider's events to the journal and ends with exactly one outcome."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time

from django.conf import settings

from completions import providers, request_policy, titles
from completions.assembly import Assembly, with_finish_reasons
from completions.charges import Payer, sent_of
from completions.commits import is_outage
from completions.embedded_content import release
from completions.exceptions import (
    CompletionError,
    DeadlineExceeded,
    OutputLimit,
    ProviderError,
    Refused,
    UpstreamInvalid,
)
from completions.journal import RETRIES, journal
from completions.live import LIVE, LiveRun
from completions.notifications import notifications
from completions.outcomes import result_of
from completions.providers.base import Provider
from completions.run_log import log_end
from completions.run_requests import RunHandle
from completions.run_results import RunResult
from completions.signals import lease_lost, run_finished, run_left, run_started, upstream_asked, upstream_finished
from completions.spending import settle_deleted
from completions.token_counts import token_counts
from completions.types import CompletionRequest, Delta, RunFinished, StreamFinished, StreamStarted, Wire
from completions.upstream_requests import request_for
from conversations.models import Message
from foundation.database import StorageError, in_database_thread
from foundation.logs.context import LogContext, background_context
from foundation.logs.tracebacks import name_of, unexpected
from foundation.outages import is_passing, note_failure

logger = logging.getLogger(__name__)


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
            provider, request = await _prepared(live, provider, model)
            live.sent = sent_of(request.messages)
            place = live.handle.conversation_id
            upstream_asked.send_robust(
                None, run_id=live.run_id, model=request.model, upstream=provider.name, conversation_id=place
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
        if not is_passing(failed):  # otherwise the database was away for too long, and the answer is interrupted
            _log_unforeseen(live, failed)
            error = CompletionError()
    live.producing = False
    await _settle(live, assembly, response, error)


async def _stream(live: LiveRun, provider: Provider, request: CompletionRequest, assembly: Assembly) -> None:
    notes = journal()
    limit = settings.LIMIT_OUTPUT_CHARS
    if prefill := live.handle.request.prefill:
        live.buffer(Delta(prefill))
        live.first_token_at = live.first_text_at = None  # no upstream has answered yet
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


async def _prepared(live: LiveRun, provider: Provider | None, model: str) -> tuple[Provider, CompletionRequest]:
    """Return whom to ask and what, tried again while the database is away, for a lease's length and at least once.

    A single try takes longer than that if its connection is silent.
    """
    until = time.monotonic() + settings.LEASE_SECONDS
    for number, pause in enumerate(itertools.chain(RETRIES, itertools.repeat(RETRIES[-1]))):
        try:
            if provider is None:
                asked = live.handle.request
                await request_policy.check(asked.principal, asked.model, asked.parameters)
                provider, model = providers.provider_for(asked.model)
            return provider, await request_for(live, model, provider)
        except StorageError as error:
            if not is_passing(error):
                raise
            note_failure(error)
            if number and time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("never reached")


async def _settle(live: LiveRun, assembly: Assembly, response: Wire | None, error: CompletionError | None) -> None:
    """Store the outcome, and only then publish the end of the run."""
    if live.lost:
        lease_lost.send_robust(None, run_id=live.run_id)
        _end_lost(live)
        log_end(live, Message.Status.INTERRUPTED, error=error)
        # After the end: the database may be silent.
        with contextlib.suppress(Exception):  # an answer of an unforeseen shape
            await _charge_deleted(live, result_of(live, assembly, response, error))
        return
    # The last text is stored before the outcome, in the same commit or an earlier one.
    journal().flush_soon(live)
    try:
        result = result_of(live, assembly, response, error)
    except Exception as failed:  # an answer of an unforeseen shape must still end
        _log_unforeseen(live, failed)
        error = error or UpstreamInvalid()
        result = result_of(live, Assembly(), None, error)
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
    charge, is_stored, is_refused = None, True, False
    try:
        charge = await journal().finish(result)
    except Exception as failed:
        logger.error("run %s: its outcome could not be stored (%s)", live.run_id, type(failed).__name__)
        is_stored, is_refused = False, not is_outage(failed)
    if live.following is not None:
        start_queued(live.following)
    if error is not None:
        logger.warning("run %s: failed (%s) at upstream %s", live.run_id, error.code, live.upstream)
    if charge is None:
        _end_lost(live, is_certain=is_refused)
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
    if result.status == Message.Status.COMPLETE:
        titles.ask_soon(live.handle)


def _end_lost(live: LiveRun, *, is_certain: bool = False) -> None:
    """End a run that is not ours, as far as is known: readers of an answer that is to be stored ask the store."""
    interrupted = RunFinished("interrupted", error_code="interrupted", error_message="The answer was interrupted.")
    live.end(interrupted, is_certain=is_certain or not live.handle.request.store)


async def _charge_deleted(live: LiveRun, result: RunResult) -> None:
    """Charge what was produced of a run that was deleted meanwhile."""
    asked = live.handle.request
    payer = Payer(asked.principal.user_id, asked.principal.key_id, asked.model)
    try:
        await in_database_thread(settle_deleted, result, payer)
    except Exception as failed:
        logger.warning("run %s: what it cost could not be stored (%s)", live.run_id, type(failed).__name__)


def _log_unforeseen(live: LiveRun, error: Exception) -> None:
    logger.error("run %s: unexpected %s", live.run_id, name_of(type(error)), extra=unexpected(error))
