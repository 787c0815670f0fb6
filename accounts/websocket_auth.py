"""The ASGI face of the principal resolver: who is on the other end of a websocket."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

from accounts.principal import Caller, NotAdmitted, Principal, principal_of_key, resolve_principal

SUBPROTOCOL = "chat.v1"
KEY_SUBPROTOCOL = "key."
"""A browser cannot set headers: it offers `chat.v1` and `key.<the key>`, and is answered `chat.v1`."""


def caller_of_scope(scope: dict[str, Any]) -> Caller:
    """Return what a websocket's opening request shows of its sender."""
    headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
    client = scope.get("client") or ("", 0)
    return Caller(headers=headers, peer=client[0] or "", secure=scope.get("scheme") == "wss")


def principal_of_scope(scope: dict[str, Any]) -> Principal:
    """Say who opened a websocket, by header, subprotocol or, where admitted, as guest; raises NotAdmitted."""
    caller = caller_of_scope(scope)
    offered = [name for name in scope.get("subprotocols", []) if name.startswith(KEY_SUBPROTOCOL)]
    if "authorization" not in caller.headers and offered:
        return principal_of_key(offered[0].removeprefix(KEY_SUBPROTOCOL), caller.address)
    return resolve_principal(caller)


def principal_of_frame(scope: dict[str, Any], key: object) -> Principal:
    """Say whom the key in a socket's first frame belongs to; raises NotAdmitted."""
    if not isinstance(key, str):
        raise NotAdmitted("'key' must be the text of a key.")
    return principal_of_key(key, caller_of_scope(scope).address)


class OriginCheck:
    """Refuse sockets that another site's page opens: a browser sends its origin, and must be at home."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        origin, host = headers.get(b"origin"), headers.get(b"host", b"")
        if origin is not None and not self._at_home(origin.decode("latin1"), host.decode("latin1")):
            await receive()
            await send({"type": "websocket.close", "code": 4403})
            return
        await self.application(scope, receive, send)

    @staticmethod
    def _at_home(origin: str, host: str) -> bool:
        parsed = urlsplit(origin)
        if not parsed.hostname:
            return False
        return parsed.netloc == host and validate_host(parsed.hostname, settings.ALLOWED_HOSTS)
