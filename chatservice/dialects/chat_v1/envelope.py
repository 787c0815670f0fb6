"""`{success, data, message, meta}`: the shape of every response that is not an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.response import Response

from accounts.authentication import KeyAuthentication
from chatservice.dialects.base import DialectMixin
from chatservice.dialects.chat_v1.errors import render


def envelope(data: Any, *, message: str = "", meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return `data` in the envelope; `message` and `meta` are included only if they are given."""
    body: dict[str, Any] = {"success": True, "data": data}
    if message:
        body["message"] = message
    if meta is not None:
        body["meta"] = dict(meta)
    return body


class Page(dict[str, Any]):
    """A page that the pagination has already put into the envelope."""


class EnvelopeMixin(DialectMixin):
    """Puts the responses of viewsets into the envelope. `messages` maps an action to its message."""

    render = staticmethod(render)
    authentication = KeyAuthentication
    messages: ClassVar[Mapping[str, str]] = {}

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response) and not isinstance(response.data, Page):
            # A 204 cannot have a body, and so no envelope: deleting answers 200.
            response.status_code = 200 if response.status_code == 204 else response.status_code
            response.data = envelope(response.data, message=self.messages.get(self.action, ""))  # type: ignore[attr-defined]
        return super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]  # APIView's
