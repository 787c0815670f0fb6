"""The shape of the list of conversations, which OpenAI does not have, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ConversationList(serializers.Serializer[Any]):
    object = serializers.CharField(help_text="list")
    data = serializers.ListField(  # type: ignore[assignment]  # a field, not the property
        child=serializers.DictField(), help_text="conversations; with `query`, the items that were found"
    )
    first_id = serializers.CharField(allow_blank=True)
    last_id = serializers.CharField(allow_blank=True)
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(
        required=False, allow_null=True, help_text="with `query`: the `cursor` of the next page"
    )
