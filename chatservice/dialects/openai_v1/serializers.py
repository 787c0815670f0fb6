"""The shape of this dialect's errors, for its OpenAPI document; its other shapes are OpenAI's: see reference/."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ErrorDetail(serializers.Serializer[Any]):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)


class OpenAIError(serializers.Serializer[Any]):
    error = ErrorDetail()
