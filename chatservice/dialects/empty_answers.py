"""The field `empty_reason`: why a complete answer has no text. Other messages and responses do not have the field."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from completions.types import RunFinished
from conversations.empty_answers import REASONS
from conversations.models import Message

HELP = "why an answer has no text: refusal (the content is the text of the refusal), reasoning_only or empty"


def empty_reason_field() -> serializers.ChoiceField:
    # Not read-only: the schema would list it as always there.
    return serializers.ChoiceField(REASONS, required=False, help_text=HELP)


def named_reason(finished: RunFinished) -> dict[str, str]:
    """Return the field for the response that ends a run, or nothing."""
    return {"empty_reason": finished.empty_reason} if finished.empty_reason is not None else {}


class EmptyReasonMixin(serializers.BaseSerializer[Any]):
    """For a serializer of messages with the field `empty_reason`: leaves it out of messages that have text."""

    def to_representation(self, instance: Message) -> dict[str, Any]:
        shape: dict[str, Any] = super().to_representation(instance)
        if shape["empty_reason"] is None:
            del shape["empty_reason"]
        return shape
