"""The field `generation` of a conversation, the same in every dialect: how its answers are made."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from conversations.generation import EFFORTS, INSTRUCTIONS_CHARS, MAX_TOKENS, read_generation

SHAPE = {
    "type": "object",
    "properties": {
        "instructions": {"type": "string", "maxLength": INSTRUCTIONS_CHARS, "nullable": True},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "nullable": True},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1, "nullable": True},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": MAX_TOKENS, "nullable": True},
        "reasoning_effort": {"type": "string", "enum": [*EFFORTS, None], "nullable": True},
    },
    "additionalProperties": False,
    "nullable": True,
}
HELP = (
    "instructions, which are sent to the model before the messages, and parameters, for every answer of the "
    "conversation; a request's own come first. What is sent replaces all of it, null removes it"
)


@extend_schema_field(SHAPE)
class GenerationField(serializers.Field[Any, Any, Any, Any]):
    """The field in requests and responses; null means that the model's defaults hold."""

    def __init__(self, **options: Any) -> None:
        settings: dict[str, Any] = {"required": False, "allow_null": True, "help_text": HELP, **options}
        super().__init__(**settings)

    def to_internal_value(self, data: Any) -> dict[str, Any] | None:
        try:
            return read_generation(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error

    def to_representation(self, value: Any) -> Any:
        return value
