"""Reads stored responses: the run and its answer, its events again, the items of its input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from django.http import Http404

from accounts.callers import Principal
from chatservice.dialects.openai_v1.ids import RESPONSE, key_of
from chatservice.dialects.openai_v1.items import items_of
from chatservice.dialects.openai_v1.responses.shapes import Head
from chatservice.dialects.openai_v1.responses.stream import ResponseEvents
from completions.models import Chunk, Run
from completions.readers import run_finished
from completions.run_requests import HEAD, RunRequest
from completions.types import Delta, ReaderEvent, Wire
from conversations.branches import branch, branch_ids, in_bulk
from conversations.models import Conversation, Message, load_parts

STATUSES = {Run.State.QUEUED: "queued", Run.State.RUNNING: "in_progress"}


def find_run(principal: Principal, response_id: str) -> Run:
    """Return the run of a stored response that this caller may see; raises Http404. Any API's answers are responses."""
    pk = key_of(response_id, RESPONSE)
    runs = Run.objects.visible_to(principal).filter(message__isnull=False).select_related("message")
    run = runs.filter(pk=pk).first() if pk else None
    if run is None:
        raise Http404
    return run


def head_of(run: Run) -> Head:
    assert run.message_id is not None
    echo = run.echo if run.echo is not None else _echo_of_other(run)
    named = run.conversation_id if echo.get("in_conversation") else None
    return Head(run.pk, run.message_id, run.created_at, run.model, echo, named)


def read_response(run: Run, *, include: Iterable[str] = ()) -> dict[str, Any]:
    """Return the response as it is stored now."""
    events = read_events(run, include=include)
    return events.response(_status(run, events))


def read_events(run: Run, *, include: Iterable[str] = ()) -> ResponseEvents:
    """Return the events of what is stored of a response."""
    head = head_of(run)
    if include:
        head = replace(head, echo={**head.echo, "include": [*head.echo.get("include", ()), *include]})
    events = ResponseEvents(head)
    for event in _stored_events(run):
        events.collect(event)
    return events


def _stored_events(run: Run) -> Iterator[ReaderEvent]:
    """Yield an answer as it was stored; if its chunks are gone, the whole message, which has what the last one said."""
    rows = Chunk.objects.filter(run_id=run.pk).order_by("seq")
    deltas = [Delta(row.text, tuple(row.wire or ()), row.seq, row.end) for row in rows.iterator()]
    yield from deltas
    if run.is_over:
        finished = run_finished(run)
        if not deltas and run.echo is None and run.message is not None:
            yield _as_delta(run.message)
            finished = replace(finished, wire=())
        yield finished


def has_chunks(run: Run) -> bool:
    return Chunk.objects.filter(run_id=run.pk).exists()


def input_items(run: Run) -> list[dict[str, Any]]:
    """Return the items of a response's input, oldest first.

    The input is as many messages before the answer as were sent: the whole history if the request sent that. Where it
    continued a stored response, the input begins after that one.
    """
    assert run.message is not None and run.conversation_id is not None
    ids = branch_ids(run.conversation_id, run.message_id)[:-1]
    rows = in_bulk(ids)
    messages = [rows[pk] for pk in ids if pk in rows]
    echo = run.echo or {}
    if isinstance(sent := echo.get("inputs"), int):
        messages = messages[max(0, len(messages) - sent) :]
    if echo.get("previous_response_id") or echo.get("in_conversation") or run.echo is None:
        ends = [at for at, message in enumerate(messages) if message.role == Message.Role.ASSISTANT and message.model]
        messages = messages[ends[-1] + 1 :] if ends else messages
    load_parts(messages)
    return [item for message in messages for item in items_of(message.as_wire(), message_id=message.pk)]


def wires_before(request: RunRequest) -> list[Wire]:
    """Return the messages that a question goes on from."""
    if request.conversation_id is None:
        return []
    leaf_id = request.parent_id
    if leaf_id == HEAD:
        leaf_id = Conversation.objects.values_list("head_id", flat=True).get(pk=request.conversation_id)
    return [message.as_wire() for message in branch(request.conversation_id, leaf_id)]


def _status(run: Run, events: ResponseEvents) -> str:
    return events.status or STATUSES.get(Run.State(run.state), "in_progress")


def _as_delta(message: Message) -> Delta:
    wire = dict(message.as_wire())
    wire["content"] = message.streamed_text()
    if isinstance(calls := wire.get("tool_calls"), list):
        wire["tool_calls"] = [{**call, "index": at} for at, call in enumerate(calls) if isinstance(call, dict)]
    return Delta(wire["content"], ({"choices": [{"index": 0, "delta": wire}]},))


def _echo_of_other(run: Run) -> dict[str, Any]:
    """Return what is known of a request that another API took."""
    given = {name: run.parameters.get(name) for name in ("temperature", "top_p", "metadata", "user")}
    return {name: value for name, value in given.items() if value is not None}
