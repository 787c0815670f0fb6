"""Answering what stands in a conversation: its last question without an answer, and that only once.

However many ask at the same time, in whatever process, one run answers: the question's own key in
the idempotency table sees to it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from accounts.database import in_database_thread
from completions import services
from completions.asks import Ask
from completions.exceptions import ConversationBusy
from completions.models import IdempotencyKey, Run
from conversations.branches import branch_ids
from conversations.models import Conversation, Message

TRIES = 3
ENDED_BADLY = (Message.Status.FAILED, Message.Status.INTERRUPTED, Message.Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Answering:
    """The run that answers, and the message it writes."""

    run_id: uuid.UUID
    message_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a conversation waits for: the end of a run, an answer to a question, or neither."""

    running: Answering | None = None
    question_id: uuid.UUID | None = None
    key: str = ""


async def answer(ask: Ask, *, follow_any: bool, again: bool) -> Answering | None:
    """Answer the last question of `ask.conversation_id`, or join the run that does; None without one.

    `follow_any` joins a run even when more was said since it began. `again` also answers anew what
    broke off; an answer without a word never counts as one.
    """
    for _ in range(TRIES):
        standing = await in_database_thread(what_stands, ask.conversation_id, follow_any, again)
        # After looking: a duplicate may have asked, and been answered, up to then.
        known = await in_database_thread(_is_known, ask) if ask.idempotency_key else False
        if known:
            accepted = await services.ask(ask)
            return Answering(accepted.run_id, accepted.message_id)
        if standing.running is not None:
            return standing.running
        if standing.question_id is None:
            return None
        question = replace(ask, parent_id=standing.question_id, messages=())
        if not ask.idempotency_key:
            question = replace(question, idempotency_key=standing.key, fingerprint="")
        try:
            accepted = await services.ask(question)
        except ConversationBusy:
            continue  # somebody was faster: theirs is the answer
        return Answering(accepted.run_id, accepted.message_id)
    raise ConversationBusy


def what_stands(conversation_id: uuid.UUID, follow_any: bool, again: bool) -> Standing:
    """Look at the shown branch of a conversation, until it is the same before and after.

    An answer that began and ended between two looks would make its question look like one to answer anew.
    """
    head_id = _head(conversation_id)
    while True:
        standing = _look(conversation_id, head_id, follow_any, again)
        head_before, head_id = head_id, _head(conversation_id)
        if head_id == head_before:
            return standing


def _head(conversation_id: uuid.UUID) -> uuid.UUID | None:
    return Conversation.objects.filter(pk=conversation_id).values_list("head_id", flat=True).first()


def _look(conversation_id: uuid.UUID, head_id: uuid.UUID | None, follow_any: bool, again: bool) -> Standing:
    live = list(Run.objects.running().filter(conversation_id=conversation_id).order_by("-created_at"))
    for run in live:
        if follow_any or run.message_id == head_id:
            return Standing(running=Answering(run.pk, run.message_id))
    question_id = _unanswered(conversation_id, head_id, again)
    if question_id is None:
        return Standing()
    earlier = Message.objects.answers().filter(parent_id=question_id).order_by("-position")
    last = earlier.values_list("id", flat=True).first()
    # With a space, which no client's key has. A new try after a bad end is a new key.
    return Standing(question_id=question_id, key=f"answer {question_id.hex} {last.hex if last else '-'}")


def _unanswered(conversation_id: uuid.UUID, head_id: uuid.UUID | None, again: bool) -> uuid.UUID | None:
    leaf = Message.objects.filter(pk=head_id).first() if head_id else None
    while leaf is not None and leaf.role == Message.Role.ASSISTANT:
        said_nothing = not leaf.content and not leaf.parts
        if leaf.status not in ENDED_BADLY or not (again or said_nothing):
            return None
        leaf = Message.objects.filter(pk=leaf.parent_id).first() if leaf.parent_id else None
    if leaf is None:
        return None
    if leaf.role == Message.Role.USER:
        return leaf.pk
    path = branch_ids(conversation_id, leaf.pk)
    asked = Message.objects.filter(pk__in=path, role__in=(Message.Role.USER, Message.Role.TOOL, Message.Role.FUNCTION))
    return leaf.pk if asked.exists() else None


def _is_known(ask: Ask) -> bool:
    return IdempotencyKey.objects.filter(user_id=ask.principal.user_id, key=ask.idempotency_key).exists()
