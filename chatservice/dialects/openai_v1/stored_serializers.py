"""The shapes of stored completions, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chatservice.dialects.openai_v1.serializers import ChatCompletion


class MetadataField(serializers.DictField):
    """At most 16 pairs of texts: keys of 64 characters, values of 512."""

    child = serializers.CharField(max_length=512, allow_blank=True)


class ListObject(serializers.Serializer[Any]):
    object = serializers.CharField(help_text="list")
    first_id = serializers.CharField(allow_blank=True)
    last_id = serializers.CharField(allow_blank=True)
    has_more = serializers.BooleanField()


class StoredCompletion(ChatCompletion):
    metadata = MetadataField()


class StoredCompletionList(ListObject):
    data = StoredCompletion(many=True)  # type: ignore[assignment]  # a field, not the property


class MetadataUpdate(serializers.Serializer[Any]):
    metadata = MetadataField(allow_null=True)


class StoredMessage(serializers.Serializer[Any]):
    id = serializers.CharField()
    role = serializers.CharField()
    content = serializers.CharField(allow_null=True, allow_blank=True)
    content_parts = serializers.ListField(child=serializers.DictField(), allow_null=True)
    name = serializers.CharField(allow_null=True)


class StoredMessageList(ListObject):
    data = StoredMessage(many=True)  # type: ignore[assignment]  # a field, not the property


class Deleted(serializers.Serializer[Any]):
    object = serializers.CharField()
    id = serializers.CharField()
    deleted = serializers.BooleanField()
