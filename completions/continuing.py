"""Continues an answer that was cut off, from the text where it stopped."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from accounts.callers import Principal
from completions.exceptions import NothingToContinue
from completions.models import Run
from conversations.finish_reasons import CUT_OFF
from conversations.models import Message

RESUMABLE = (Message.Status.INTERRUPTED, Message.Status.CANCELLED, Message.Status.FAILED)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """An answer that was cut off: `text` is its text so far, `model` the name that the client asked for."""

    conversation_id: uuid.UUID
    parent_id: uuid.UUID
    text: str
    model: str

    def request_fields(self) -> dict[str, object]:
        """Return the fields of a continuing `RunRequest`: the new answer is a sibling that begins with this text."""
        return {"conversation_id": self.conversation_id, "parent_id": self.parent_id, "prefill": self.text}


def find_resume_point(principal: Principal, message_id: uuid.UUID) -> ResumePoint:
    """Return the answer to continue; raises Message.DoesNotExist, NothingToContinue."""
    message = Message.objects.visible_to(principal).get(pk=message_id)
    is_resumable = message.status in RESUMABLE or (
        message.status == Message.Status.COMPLETE and message.finish_reason in CUT_OFF
    )
    if message.role != Message.Role.ASSISTANT or message.parent_id is None or not is_resumable:
        raise NothingToContinue
    text, extras = message.streamed_text(), message.extras() or {}
    if not text or "tool_calls" in extras:
        raise NothingToContinue("It was cut off before its text began; ask for another answer instead.")
    model = Run.objects.filter(message=message).values_list("model", flat=True).first()
    return ResumePoint(message.conversation_id, message.parent_id, text, model or "default")
