"""`{success, data, message, meta}`: the form of every answer that is not an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.response import Response

from accounts.authentication import KeyAuthentication
from chatservice.dialects.base import DialectMixin
from chatservice.dialects.chat_v1.errors import render


def envelope(data: Any, *, message: str = "", meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return `data` in the envelope; `message` and `meta` are there only where they say something."""
    body: dict[str, Any] = {"success": True, "data": data}
    if message:
        body["message"] = message
    if meta is not None:
        body["meta"] = dict(meta)
    return body


class Page(dict[str, Any]):
    """A page that its pagination has already put into the envelope."""


class EnvelopeMixin(DialectMixin):
    """For viewsets: answers in the envelope. `messages` says what was done, by action."""

    render = staticmethod(render)
    authentication = KeyAuthentication
    messages: ClassVar[Mapping[str, str]] = {}

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response) and not isinstance(response.data, Page):
            # An envelope cannot be sent with 204: deleting answers 200.
            response.status_code = 200 if response.status_code == 204 else response.status_code
            response.data = envelope(response.data, message=self.messages.get(self.action, ""))  # type: ignore[attr-defined]
        return super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]  # APIView's
