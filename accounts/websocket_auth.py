"""The principal resolver for websockets."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.http.request import validate_host

from accounts.callers import PAGE_USER, Caller, NotAdmitted, Principal
from accounts.connections import connection_of
from accounts.origins import may_call_with_key
from accounts.principal import check_page_user, principal_of_key, resolve_principal
from accounts.sessions import session_key_of

SUBPROTOCOL = "chat.v1"
KEY_SUBPROTOCOL = "key."
"""A browser cannot set headers: it offers `chat.v1` and `key.<the key>`, and is answered `chat.v1`."""
PAGE_USER_SUBPROTOCOL = "user."
"""In the same way it says whose page opens the socket: `user.<id>`, or `user.guest`."""

# Query strings end up in access logs, histories and referrers.
CREDENTIAL_NAMES = {
    *("key", "api_key", "apikey", "api-key", "x-api-key", "token", "access_token", "auth", "auth_token"),
    *("authorization", "bearer", "secret", "password", "credential", "credentials", "jwt"),
}
KEY_TEXT = re.compile(r"cb_[A-Za-z0-9]{8}_")


def caller_of_scope(scope: dict[str, Any]) -> Caller:
    """Return the `Caller` of a websocket's opening request; repeated headers are joined by commas.

    The subprotocol `user.<id>` replaces a header that browsers cannot send here.
    """
    sent = [(name.decode("latin1").lower(), value.decode("latin1")) for name, value in scope["headers"]]
    sent += [(PAGE_USER, user) for user in _offered(scope, PAGE_USER_SUBPROTOCOL)]
    headers: dict[str, str] = {}
    for name, value in sent:
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    client = scope.get("client") or ("", 0)
    return Caller(
        headers=headers,
        peer=client[0] or "",
        secure=scope.get("scheme") == "wss",
        connection=connection_of(scope),
    )


def offers_key(scope: dict[str, Any]) -> bool:
    """Tell whether the opening request contains a key, right or wrong, as header or subprotocol."""
    return "authorization" in caller_of_scope(scope).headers or bool(_offered(scope, KEY_SUBPROTOCOL))


def offers_credentials(scope: dict[str, Any]) -> bool:
    """Tell whether it contains a key or a session's cookie, right or wrong."""
    return offers_key(scope) or session_key_of(caller_of_scope(scope).headers) is not None


def has_credentials_in_query(scope: dict[str, Any]) -> bool:
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin1"), keep_blank_values=True)
    return any(name.lower() in CREDENTIAL_NAMES or KEY_TEXT.search(name + value) for name, value in pairs)


def principal_of_scope(scope: dict[str, Any]) -> Principal:
    """Return the principal that opened a websocket, by header, subprotocol or as a guest; raises NotAdmitted."""
    caller = caller_of_scope(scope)
    offered = _offered(scope, KEY_SUBPROTOCOL)
    if "authorization" not in caller.headers and offered:
        if len(offered) > 1:
            raise NotAdmitted("Send only one key.")
        return _principal_of_key(caller, offered[0])
    return resolve_principal(caller)


def principal_of_frame(scope: dict[str, Any], key: object) -> Principal:
    """Return the principal of the key in a socket's first frame; raises NotAdmitted."""
    if not isinstance(key, str):
        raise NotAdmitted("'key' must be the text of a key.")
    return _principal_of_key(caller_of_scope(scope), key)


def _principal_of_key(caller: Caller, key: str) -> Principal:
    principal = principal_of_key(key, caller.address)
    check_page_user(caller, principal.page_user)
    return principal


def _offered(scope: dict[str, Any], prefix: str) -> list[str]:
    """Return the rest of the subprotocols that begin with `prefix`."""
    names = scope.get("subprotocols") or ()
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


class OriginCheck:
    """Refuses sockets opened by another site's page: the origin that a browser sends must be this service's.

    A page of an origin in CORS_ALLOWED_ORIGINS may open one, and needs a key: its cookies do not count (sessions.py).
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        origins = [value.decode("latin1") for name, value in scope["headers"] if name.lower() == b"origin"]
        host = caller_of_scope(scope).headers.get("host", "")
        if not all(self._at_home(origin, host) or may_call_with_key(origin) for origin in origins):
            await receive()
            await send({"type": "websocket.close", "code": 4403})
            return
        await self.application(scope, receive, send)

    @staticmethod
    def _at_home(origin: str, host: str) -> bool:
        try:
            parsed = urlsplit(origin)
            hostname = parsed.hostname
        except ValueError:
            return False
        return bool(hostname and parsed.netloc == host and validate_host(hostname, settings.ALLOWED_HOSTS))
