"""What is sent upstream for a run: instructions, quotations, and the call's messages or the newest turns before it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence

from django.conf import settings

from completions import recall
from completions.attachments import with_files
from completions.chat_tools import with_chat_calls
from completions.context import CHARS_PER_TOKEN, INSTRUCTIONS, budget_for, estimate_tokens, fit
from completions.document_texts import with_texts
from completions.given_back import given_back, with_stored_reasoning
from completions.histories import as_input, for_chat, valid, without_items
from completions.live import LiveRun
from completions.providers.base import Provider
from completions.run_requests import HEAD, RunHandle, RunRequest
from completions.types import CompletionRequest, Wire
from conversations.branches import branch_ids, in_bulk
from conversations.chat_wire import ROLES
from conversations.models import Message
from foundation.database import in_database_thread

HISTORY_SLICE = 100


async def request_for(live: LiveRun, model: str, provider: Provider) -> CompletionRequest:
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
