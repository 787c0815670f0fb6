"""The ASGI face of the principal resolver: who is on the other end of a websocket, and for how long."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.http.request import validate_host

from accounts.database import in_database_thread
from accounts.models import ApiKey
from accounts.principal import Caller, NotAdmitted, Principal, principal_of_key, resolve_principal
from accounts.sessions import session_key_of, users_of_sessions

logger = logging.getLogger(__name__)

SUBPROTOCOL = "chat.v1"
KEY_SUBPROTOCOL = "key."
"""A browser cannot set headers: it offers `chat.v1` and `key.<the key>`, and is answered `chat.v1`."""

# Query strings end up in access logs, histories and referrers.
CREDENTIAL_NAMES = {
    *("key", "api_key", "apikey", "api-key", "x-api-key", "token", "access_token", "auth", "auth_token"),
    *("authorization", "bearer", "secret", "password", "credential", "credentials", "jwt"),
}
KEY_TEXT = re.compile(r"cb_[A-Za-z0-9]{8}_")
RECHECK_SECONDS = 3.0


def caller_of_scope(scope: dict[str, Any]) -> Caller:
    """Return what a websocket's opening request shows of its sender; repeated headers are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin1").lower(), raw_value.decode("latin1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    client = scope.get("client") or ("", 0)
    return Caller(headers=headers, peer=client[0] or "", secure=scope.get("scheme") == "wss")


def offers_key(scope: dict[str, Any]) -> bool:
    """Tell whether the opening request names a key, right or wrong, by header or subprotocol."""
    return "authorization" in caller_of_scope(scope).headers or bool(_offered_keys(scope))


def offers_credentials(scope: dict[str, Any]) -> bool:
    """Tell whether it has a key or the cookie of a session, right or wrong."""
    return offers_key(scope) or session_key_of(caller_of_scope(scope).headers) is not None


def has_credentials_in_query(scope: dict[str, Any]) -> bool:
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin1"), keep_blank_values=True)
    return any(name.lower() in CREDENTIAL_NAMES or KEY_TEXT.search(name + value) for name, value in pairs)


def principal_of_scope(scope: dict[str, Any]) -> Principal:
    """Say who opened a websocket, by header, subprotocol or, where admitted, as guest; raises NotAdmitted."""
    caller = caller_of_scope(scope)
    offered = _offered_keys(scope)
    if "authorization" not in caller.headers and offered:
        if len(offered) > 1:
            raise NotAdmitted("Offer one key.")
        return principal_of_key(offered[0], caller.address)
    return resolve_principal(caller)


def principal_of_frame(scope: dict[str, Any], key: object) -> Principal:
    """Say whom the key in a socket's first frame belongs to; raises NotAdmitted."""
    if not isinstance(key, str):
        raise NotAdmitted("'key' must be the text of a key.")
    return principal_of_key(key, caller_of_scope(scope).address)


def _offered_keys(scope: dict[str, Any]) -> list[str]:
    names = scope.get("subprotocols") or ()
    return [name.removeprefix(KEY_SUBPROTOCOL) for name in names if name.startswith(KEY_SUBPROTOCOL)]


Credential = uuid.UUID | str
"""A key's id, or a session's name."""


class CredentialWatch:
    """Notices credentials of open sockets that stop being good: the same few queries for all, every few seconds."""

    def __init__(self) -> None:
        self._open: dict[Credential, set[Callable[[], None]]] = {}
        self._task: asyncio.Task[None] | None = None

    def watch(self, credential: Credential, on_gone: Callable[[], None]) -> Callable[[], None]:
        """Call `on_gone` once a key is revoked or a session over, or either disabled; returns what ends the watch."""
        self._open.setdefault(credential, set()).add(on_gone)
        if self._task is None or self._task.done():
            # A context of its own: the socket that comes first must not lend its variables.
            self._task = asyncio.get_running_loop().create_task(self._sweep(), context=contextvars.Context())

        def end() -> None:
            waiting = self._open.get(credential, set())
            waiting.discard(on_gone)
            if not waiting:
                self._open.pop(credential, None)
            if not self._open and self._task is not None:
                self._task.cancel()
                self._task = None

        return end

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                gone = await in_database_thread(unusable, list(self._open))
            except Exception as error:  # the database will be back; nobody is thrown out for that
                logger.warning("credentials of open sockets could not be checked: %s", type(error).__name__)
                continue
            for credential in gone:
                for on_gone in list(self._open.get(credential, ())):
                    on_gone()


credential_watch = CredentialWatch()


def unusable(credentials: Iterable[Credential]) -> set[Credential]:
    """Return those of `credentials` that admit nobody any more."""
    asked = list(credentials)
    usable: set[Credential] = set()
    for at in range(0, len(asked), 500):
        part = asked[at : at + 500]
        key_ids = [each for each in part if isinstance(each, uuid.UUID)]
        usable.update(ApiKey.objects.usable().filter(pk__in=key_ids).values_list("pk", flat=True))
        usable.update(users_of_sessions(each for each in part if isinstance(each, str)))
    return set(asked) - usable


class OriginCheck:
    """Refuse sockets that another site's page opens: a browser sends its origin, and must be at home."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        origins = [value.decode("latin1") for name, value in scope["headers"] if name.lower() == b"origin"]
        host = caller_of_scope(scope).headers.get("host", "")
        if not all(self._at_home(origin, host) for origin in origins):
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
        return bool(hostname) and parsed.netloc == host and validate_host(hostname, settings.ALLOWED_HOSTS)
