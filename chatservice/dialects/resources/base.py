"""What the views of this dialect share."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import AllowAny
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.callers import Principal
from accounts.guests import shares_local_space
from chatservice.dialects.base import AsyncAPIView, DialectMixin
from chatservice.dialects.resources.errors import render


def valid(kind: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """Return `data` validated by the serializer `kind`; raises ValidationError."""
    serializer = kind(data=data)
    serializer.is_valid(raise_exception=True)
    given: dict[str, Any] = serializer.validated_data
    return given


def refuse_strangers(principal: Principal) -> None:
    """Raise for a guest who shares no local space: such a guest may open objects by their id, but not list any."""
    if not shares_local_space(principal):
        raise PermissionDenied("Without a key you can only open things by their id; lists need a key.")


class ResourceMixin(DialectMixin, APIView):
    """Base of the synchronous views, which only read and write rows."""

    render = staticmethod(render)
    permission_classes = [AllowAny]  # the authentication already refuses the others; guests may be admitted
    request: Any

    @property
    def principal(self) -> Principal:
        principal: Principal = self.request.user
        return principal

    def options(  # type: ignore[override]  # nothing to be rendered
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})


class ResourceView(AsyncAPIView):
    """Base of the views that wait for a model."""

    render = staticmethod(render)
    permission_classes = [AllowAny]  # as above
    http_method_names = ["get", "post", "options"]
