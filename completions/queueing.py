"""Questions that wait while another answer is written in their conversation: stored at once, answered in order.

A queued run is a row that no process holds. It is promoted, which makes it a running one, in the commit that ends the
run before it and by the process that makes that commit; the sweep of every process promotes what was left behind,
by a process that died for one. What it needs in order to start is in its row until then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from accounts.callers import Principal
from accounts.limits import Limits
from accounts.models import ApiKey
from accounts.subject_limits import any_limits, limits_found
from completions.bulk_sql import table
from completions.charges import columns, uncharged
from completions.exceptions import ConversationBusy, QueueFull
from completions.models import Run
from completions.recall import read_recall
from completions.run_requests import RunHandle, RunRequest, WhenBusy
from completions.signals import EndedRun, runs_ended
from completions.spending import settle
from completions.worker_identity import database_time, worker_id
from conversations import digests
from conversations.models import Message
from foundation.database import send_statement
from foundation.row_sql import key, marks, read_key

# How many messages back a digest is looked for. Queued questions and their answers have none.
MAX_MESSAGES = 64

_paused = False


def pause() -> None:
    """Promote nothing more in this process, which is about to end: others do."""
    global _paused
    _paused = True


def must_wait(cursor: Any, request: RunRequest, conversation_id: uuid.UUID, in_batch: Iterable[str]) -> bool:
    """Tell whether the run of a request has to wait; raises ConversationBusy or QueueFull where it may not.

    The conversation is locked by then; `in_batch` are the states of the runs of it that the same transaction adds.
    """
    cursor.execute(
        f"SELECT state FROM {table(Run)} WHERE conversation_id = %s AND state IN ('queued', 'running')",  # noqa: S608
        [key(conversation_id)],
    )
    states = [state for (state,) in cursor.fetchall()] + list(in_batch)
    if not states:
        return False
    if request.when_busy != WhenBusy.QUEUE:
        raise ConversationBusy
    limit = settings.LIMIT_QUEUED_PER_CONVERSATION
    if limit and states.count(Run.State.QUEUED) >= limit:
        problem = f"At most {limit} questions can wait in one conversation (LIMIT_QUEUED_PER_CONVERSATION)."
        raise QueueFull(problem, retry_after=1)
    return True


def waiting_row(handle: RunHandle) -> dict[str, Any]:
    """Return the fields of a queued run's row: nobody produces it, and it holds all that its start needs."""
    request, who = handle.request, handle.request.principal
    return {
        "state": Run.State.QUEUED,
        "worker": "",
        "lease_until": 0.0,
        "request": {
            "parameters": dict(request.parameters),
            "instructions": request.instructions,
            "stream": request.stream,
            "traceparent": request.traceparent,
            "prefill": request.prefill,
            "recall": handle.recall.as_json() if handle.recall is not None else None,
            "question_id": handle.question_id.hex if handle.question_id else None,
            "is_guest": who.is_guest,
            "is_local": who.is_local,
            "is_counted": who.is_counted,
        },
    }


def waiting_in(conversation_ids: Collection[uuid.UUID]) -> Callable[[], list[tuple[Any, ...]]]:
    """Ask in which of these conversations a run waits, and return what fetches their ids; see `send_statement`."""
    if not conversation_ids or _paused:
        return list
    return send_statement(
        f"SELECT DISTINCT conversation_id FROM {table(Run)} "  # noqa: S608
        f"WHERE state = 'queued' AND conversation_id IN ({marks(conversation_ids)})",
        list(map(key, conversation_ids)),
    )


def promote_in(waiting: Iterable[tuple[Any, ...]], ended: Mapping[uuid.UUID, uuid.UUID]) -> dict[uuid.UUID, RunHandle]:
    """Promote what waits in these conversations for the runs that this transaction has `ended`, by conversation.

    Returns the handles of the promoted runs by the run before each. They are to be started after the commit.
    """
    promoted = {ended[pk]: promote(pk) for pk in (read_key(pk) for (pk,) in waiting)}
    return {run_id: handle for run_id, handle in promoted.items() if handle is not None}


def promote_left_behind(most: int | None = None) -> list[RunHandle]:
    """Promote what waits for no running answer: its process died, or a commit was missed. At most `most`, if given."""
    promoted: list[RunHandle] = []
    running = Run.objects.running().filter(conversation_id=OuterRef("conversation_id"))
    waiting = Run.objects.queued().filter(~Exists(running)).order_by()
    for conversation_id in list(waiting.values_list("conversation_id", flat=True).distinct()):
        if _paused or (most is not None and len(promoted) >= most):
            break
        with transaction.atomic():
            handle = promote(conversation_id)
        if handle is not None:
            promoted.append(handle)
    return promoted


def promote(conversation_id: uuid.UUID) -> RunHandle | None:
    """Make the oldest queued run of a conversation a running one of this process, if nothing is running there.

    Inside a transaction. Rows that somebody else holds are left for the next sweep: a commit never waits for them.
    """
    while True:
        runs = Run.objects.filter(conversation_id=conversation_id)
        # By position, which grows under the conversation's lock: ids depend on the clocks of several machines.
        oldest = runs.queued().order_by("message__position").values_list("pk", flat=True).first()
        if oldest is None or runs.running().exists():
            return None
        skip = connection.features.has_select_for_update_skip_locked
        row = runs.queued().select_related("user", "message__parent").annotate(any_limits=any_limits())
        row = row.filter(pk=oldest)
        run = row.select_for_update(of=("self",), skip_locked=skip).first()
        if run is None:
            return None
        if not _may_start(run):
            _end(run)
            continue
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                lease_until = database_time(cursor) + settings.LEASE_SECONDS
                runs.queued().filter(pk=oldest).update(
                    state=Run.State.RUNNING,
                    worker=worker_id(),
                    lease_until=lease_until,
                    epoch=F("epoch") + 1,
                    started_at=timezone.now(),
                    request=None,
                )
        except IntegrityError:  # another process was first, with the one that was the oldest then
            return None
        return _handle_of(run, limits_found(run, run.user, run.api_key_id))


def cancel_without_question(conversation_id: uuid.UUID) -> None:
    """End the queued runs of a conversation whose question was deleted, so that others get their places."""
    for run in Run.objects.queued().filter(conversation_id=conversation_id).select_related("message"):
        if not _has_question(run):
            cancel(run.pk)


def cancel(run_id: uuid.UUID) -> bool:
    """End a queued run as cancelled, from any process; returns False for one that is not, or no longer, queued."""
    queued = Run.objects.queued().filter(pk=run_id)
    if not queued.exists():  # the usual case, which takes no lock
        return False
    with transaction.atomic():
        run = queued.select_for_update().first()
        if run is not None:
            _end(run)
    return run is not None


def _end(run: Run) -> None:
    """End a queued run as cancelled: it cost nothing."""
    now = timezone.now()
    charge = uncharged(run, now)
    ended = Run.objects.filter(pk=run.pk)
    ended.update(state=Run.State.CANCELLED, request=None, cancel_requested_at=now, finished_at=now, **columns(charge))
    settle(run.pk, charge)
    Message.objects.filter(pk=run.message_id).update(status=Message.Status.CANCELLED)  # type: ignore[misc]  # has one
    runs_ended.send(Run, runs=[EndedRun(run.pk, Run.State.CANCELLED)])


def _may_start(run: Run) -> bool:
    """Tell whether it may still be asked: nobody stopped the account, revoked the key or deleted the question."""
    if not run.user.is_active or run.message is None or run.request is None:
        return False
    if run.api_key_id is not None and not ApiKey.objects.filter(pk=run.api_key_id, revoked_at=None).exists():
        return False
    return _has_question(run)


def _has_question(run: Run) -> bool:
    """Tell whether the question of a queued run is still there: when it is deleted, its answer moves up."""
    return (
        run.request is not None
        and run.message is not None
        and _id_of(run.request["question_id"]) == run.message.parent_id
    )


def _handle_of(run: Run, limits: Limits) -> RunHandle:
    """Return the handle of a promoted run, with the request as it was made."""
    given, user, question = run.request, run.user, run.message.parent if run.message else None
    assert given is not None
    recall = read_recall(given["recall"])
    request = RunRequest(
        principal=Principal(
            user_id=user.pk,
            username=user.username,
            is_guest=given["is_guest"],
            is_staff=user.is_staff,
            key_id=run.api_key_id,
            address=run.address,
            limits_owner_id=user.limits_owner_id,
            guest_made=user.guest_made,
            is_local=given["is_local"],
            is_counted=given["is_counted"],
            stopped_at=user.stopped_at,
            limits=limits,
        ),
        model=run.model,
        upstream=run.upstream,
        request_id=run.request_id,
        traceparent=given.get("traceparent", ""),
        parameters=given["parameters"],
        instructions=given.get("instructions", ""),
        stream=given["stream"],
        prefill=given["prefill"],
        conversation_id=run.conversation_id,
        recall=recall,
    )
    return RunHandle(
        request=request,
        run_id=run.pk,
        created_at=run.created_at,
        conversation_id=run.conversation_id,
        message_id=run.message_id,
        question_id=question.pk if question else None,
        digest_before=_digest_of(question) if question else "",
        recall=recall,
    )


def _digest_of(question: Message) -> str:
    """Return the digest of a question, which could have none while the answer before it was not there."""
    path = [question]
    while not path[-1].digest and path[-1].parent is not None and len(path) < MAX_MESSAGES:
        path.append(path[-1].parent)
    digest = path.pop().digest
    while path and digest:
        message = path.pop()
        [digest] = digests.chain(digest, [message.as_wire()])
        Message.objects.filter(pk=message.pk).update(digest=digest)
    return digest


def _id_of(text: str | None) -> uuid.UUID | None:
    return uuid.UUID(text) if text else None
