"""Answers the pending question of a conversation (the last one without an answer), once.

However many requests ask for the answer at the same time, in any process, one run answers: the question has its own key
in the idempotency table.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from accounts.throttling import Rate
from completions import services
from completions.exceptions import ConversationBusy
from completions.models import IdempotencyKey, Run
from completions.run_requests import RunRequest
from conversations.branches import branch_ids
from conversations.models import Conversation, Message
from foundation.database import in_database_thread

TRIES = 3
FINISHED_BADLY = (Message.Status.FAILED, Message.Status.INTERRUPTED, Message.Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class AnsweringRun:
    """The run that answers, and its message. `joined`: an earlier request started it."""

    run_id: uuid.UUID
    message_id: uuid.UUID | None
    joined: bool = field(default=False, compare=False)
    rates: tuple[Rate, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class PendingQuestion:
    """What a conversation waits for: the end of a run, an answer to a question, or nothing."""

    running: AnsweringRun | None = None
    question_id: uuid.UUID | None = None
    key: str = ""


async def answer(request: RunRequest, *, follow_any: bool, again: bool) -> AnsweringRun | None:
    """Answer the last question of `request.conversation_id`, or join the run that does; None if nothing is pending.

    `follow_any` joins a run even if messages were added since it began. `again` also regenerates an answer that broke
    off; an answer without any text never counts as an answer.
    """
    for _ in range(TRIES):
        pending = await in_database_thread(pending_question, request.conversation_id, follow_any, again)
        # Checked only afterwards: in the meantime a duplicate of this request may have been accepted and answered.
        known = await in_database_thread(_is_known, request) if request.idempotency_key else False
        if known:
            handle = await services.submit(request)
            return AnsweringRun(handle.run_id, handle.message_id, joined=handle.attached, rates=handle.rates)
        if pending.running is not None:
            return pending.running
        if pending.question_id is None:
            return None
        question = replace(request, parent_id=pending.question_id, messages=())
        if not request.idempotency_key:
            question = replace(question, idempotency_key=pending.key, fingerprint="")
        try:
            handle = await services.submit(question)
        except ConversationBusy:
            continue  # another request was faster: join its run
        return AnsweringRun(handle.run_id, handle.message_id, joined=handle.attached, rates=handle.rates)
    raise ConversationBusy


def pending_question(conversation_id: uuid.UUID, follow_any: bool, again: bool) -> PendingQuestion:
    """Read the shown branch of a conversation, repeatedly until two reads agree.

    Otherwise the question of an answer that began and ended between two queries would look unanswered.
    """
    head_id = _head(conversation_id)
    while True:
        pending = _pending_at(conversation_id, head_id, follow_any, again)
        head_before, head_id = head_id, _head(conversation_id)
        if head_id == head_before:
            return pending


def _head(conversation_id: uuid.UUID) -> uuid.UUID | None:
    return Conversation.objects.filter(pk=conversation_id).values_list("head_id", flat=True).first()


def _pending_at(
    conversation_id: uuid.UUID, head_id: uuid.UUID | None, follow_any: bool, again: bool
) -> PendingQuestion:
    queued, running = Run.objects.filter(conversation_id=conversation_id).unfinished()
    for run in (*running.order_by("-created_at"), *queued.order_by("message__position")):
        if follow_any or run.message_id == head_id:
            return PendingQuestion(running=AnsweringRun(run.pk, run.message_id, joined=True))
    question_id = _unanswered(conversation_id, head_id, again)
    if question_id is None:
        return PendingQuestion()
    earlier = Message.objects.answers().filter(parent_id=question_id).order_by("-position")
    last = earlier.values_list("id", flat=True).first()
    # Contains a space, which no client's key can. A retry after a failed answer gets a new key.
    return PendingQuestion(question_id=question_id, key=f"answer {question_id.hex} {last.hex if last else '-'}")


def _unanswered(conversation_id: uuid.UUID, head_id: uuid.UUID | None, again: bool) -> uuid.UUID | None:
    leaf = Message.objects.filter(pk=head_id).first() if head_id else None
    while leaf is not None and leaf.role == Message.Role.ASSISTANT:
        if leaf.status not in FINISHED_BADLY or not (again or leaf.says_nothing):
            return None
        leaf = Message.objects.filter(pk=leaf.parent_id).first() if leaf.parent_id else None
    if leaf is None:
        return None
    if leaf.role == Message.Role.USER:
        return leaf.pk
    path = branch_ids(conversation_id, leaf.pk)
    asked = Message.objects.filter(pk__in=path, role__in=(Message.Role.USER, Message.Role.TOOL, Message.Role.FUNCTION))
    return leaf.pk if asked.exists() else None


def _is_known(request: RunRequest) -> bool:
    return IdempotencyKey.objects.filter(user_id=request.principal.user_id, key=request.idempotency_key).exists()
