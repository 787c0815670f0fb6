"""The field `recall`, the same in every dialect: whether and how older messages are quoted to the model."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from completions.recall import DEFAULT_PASSAGES, MAX_PASSAGES, Recall, read_recall
from search.results import Mode

SHAPE = {
    "type": "object",
    "properties": {
        "limit": {
            "type": "integer",
            "minimum": 0,
            "maximum": MAX_PASSAGES,
            "default": DEFAULT_PASSAGES,
            "nullable": True,
        },
        "mode": {"type": "string", "enum": [str(mode) for mode in Mode], "default": "hybrid", "nullable": True},
    },
    "additionalProperties": False,
}
HELP = (
    "quote relevant passages of the caller's other conversations to the model: true, or {limit, mode}. Off by "
    "default, and always off for guests"
)


@extend_schema_field({"oneOf": [{"type": "boolean"}, SHAPE], "nullable": True})
class RecallField(serializers.Field[Any, Any, Any, Any]):
    """The field in a request; null, or its absence, means the conversation's setting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(help_text=HELP, **options)

    def to_internal_value(self, data: Any) -> Recall | None:
        try:
            return read_recall(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error

    def to_representation(self, value: Any) -> Any:
        return value


class StoredRecall(RecallField):
    """The field of a conversation; null means off."""

    def to_internal_value(self, data: Any) -> Any:
        recall = super().to_internal_value(data)
        return recall.as_json() if recall is not None and recall.limit else None
