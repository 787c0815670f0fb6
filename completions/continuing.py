"""Going on with an answer that was cut off: where, after which words, and by whom."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from accounts.principal import Principal
from completions.exceptions import NothingToContinue
from completions.models import Run
from conversations.models import Message

CUT_OFF = (Message.Status.INTERRUPTED, Message.Status.CANCELLED, Message.Status.FAILED)


@dataclass(frozen=True, slots=True)
class CutOff:
    """A cut-off answer: `said` is its text so far, `model` the name it was asked by."""

    conversation_id: uuid.UUID
    parent_id: uuid.UUID
    said: str
    model: str

    def place(self) -> dict[str, object]:
        """Return the fields of an `Ask` that goes on: beside the answer, beginning with what it said."""
        return {"conversation_id": self.conversation_id, "parent_id": self.parent_id, "said": self.said}


def find_cut_off(principal: Principal, message_id: uuid.UUID) -> CutOff:
    """Return the answer to go on with; raises Message.DoesNotExist, NothingToContinue."""
    message = Message.objects.owned_by(principal).get(pk=message_id)
    is_cut_off = message.status in CUT_OFF or (
        message.status == Message.Status.COMPLETE and message.finish_reason == "length"
    )
    if message.role != Message.Role.ASSISTANT or message.parent_id is None or not is_cut_off:
        raise NothingToContinue
    if not message.content or "tool_calls" in (message.parts or {}):
        raise NothingToContinue("It was cut off before its text began; ask for another answer instead.")
    model = Run.objects.filter(message=message).values_list("model", flat=True).first()
    return CutOff(message.conversation_id, message.parent_id, message.content, model or "default")
