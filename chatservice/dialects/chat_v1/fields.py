"""Fields that accept only a JSON value of their own type: `"0.7"` is not a number, 5 is not a text."""

from __future__ import annotations

import math
import uuid
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from conversations.tags import MAX_TAGS, TAG_CHARS, read_tags


class Text(serializers.CharField):
    """A text, kept as it was sent, spaces included. `limit` names the setting that limits its length."""

    def __init__(self, *, limit: str = "", **kwargs: Any) -> None:
        self.limit = limit
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.allow_blank and not data.strip():
            self.fail("blank")
        bound = getattr(settings, self.limit) if self.limit else 0
        if bound and len(data) > bound:
            message = f"Ensure this field has no more than {bound} characters ({self.limit})."
            raise serializers.ValidationError(message, "max_length")
        return data


class Number(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, (int, float)) or not _is_float(data):
            self.fail("invalid")
        return data


class Integer(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class Boolean(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Identifier(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> uuid.UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Object(serializers.DictField):
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        return data


def _is_float(number: int | float) -> bool:
    """Tell whether every JSON reader can hold a number as a float: not an integer of 400 digits."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


@extend_schema_field(
    {"type": "array", "maxItems": MAX_TAGS, "items": {"type": "string", "minLength": 1, "maxLength": TAG_CHARS}}
)
class Tags(serializers.Field[Any, Any, Any, Any]):
    """Tags of a conversation, in the order of the alphabet; what is sent replaces all of them."""

    def get_attribute(self, instance: Any) -> Any:
        return instance.tag_names

    def to_internal_value(self, data: Any) -> list[str]:
        try:
            return read_tags(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error

    def to_representation(self, value: Any) -> Any:
        return value
