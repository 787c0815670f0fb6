"""The shapes of this dialect, for its OpenAPI document only: request_parsing.py lets unknown fields pass."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chatservice.dialects.empty_answers import empty_reason_field
from chatservice.dialects.recalling import RecallField


class ErrorDetail(serializers.Serializer[Any]):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)


class OpenAIError(serializers.Serializer[Any]):
    error = ErrorDetail()


class ChatMessage(serializers.Serializer[Any]):
    role = serializers.CharField(max_length=64, help_text="developer, system, user, assistant, tool or function")
    content = serializers.JSONField(allow_null=True, required=False, help_text="a string, or a list of content parts")


class ChatCompletionRequest(serializers.Serializer[Any]):
    """OpenAI's request; any field not listed here is passed to the model's server unchanged."""

    model = serializers.CharField(max_length=200, required=False, help_text="'default' is the configured model")
    messages = ChatMessage(many=True, min_length=1)  # type: ignore[call-arg]  # ListSerializer's
    stream = serializers.BooleanField(required=False, allow_null=True)
    stream_options = serializers.DictField(required=False, allow_null=True)
    store = serializers.BooleanField(
        required=False, allow_null=True, help_text="false: the call is not stored as history"
    )
    n = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=128)
    max_tokens = serializers.IntegerField(required=False, allow_null=True)
    max_completion_tokens = serializers.IntegerField(required=False, allow_null=True)
    temperature = serializers.FloatField(required=False, allow_null=True)
    top_p = serializers.FloatField(required=False, allow_null=True)
    tools = serializers.ListField(required=False, allow_null=True)
    metadata = serializers.DictField(required=False, allow_null=True)
    user = serializers.CharField(required=False, allow_null=True)
    recall = RecallField(required=False, allow_null=True)


class AnswerMessage(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField(allow_null=True)


class Choice(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    message = AnswerMessage()
    finish_reason = serializers.CharField(allow_null=True)


class ChatCompletion(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    model = serializers.CharField()
    choices = Choice(many=True)
    usage = serializers.DictField(required=False, allow_null=True)
    empty_reason = empty_reason_field()


class EmbeddingRequest(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=200, help_text="'default' is the model that search uses")
    input = serializers.JSONField(help_text="a string, or a list of up to 2048 strings")
    encoding_format = serializers.ChoiceField(["float", "base64"], required=False, allow_null=True)
    dimensions = serializers.IntegerField(required=False, allow_null=True, min_value=1)
    user = serializers.CharField(required=False, allow_null=True)


class Embedding(serializers.Serializer[Any]):
    object = serializers.CharField()
    index = serializers.IntegerField()
    embedding = serializers.JSONField(help_text="a list of numbers, or base64 of little-endian float32")


class EmbeddingUsage(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()


class EmbeddingList(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = Embedding(many=True)  # type: ignore[assignment]  # a field, not the property
    model = serializers.CharField()
    usage = EmbeddingUsage()


class StreamEvent(serializers.Serializer[Any]):
    """One event of a stream."""

    data = serializers.CharField(  # type: ignore[assignment]  # a field, not the property
        help_text="a chat.completion.chunk or an error as JSON; or [DONE] at the end"
    )


class Model(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    owned_by = serializers.CharField()


class ModelList(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = Model(many=True)  # type: ignore[assignment]  # a field, not the property
