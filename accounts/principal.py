"""The one reader of credentials: REST, websocket, GraphQL and SSE all ask here who is calling.

No credential is a guest, where guests are admitted. A credential makes you its user. A credential
that is present but wrong is refused, and never becomes a guest. A credential is a bearer key or, in a
request of our own pages (sessions.py has the rule), the cookie of a signed-in browser; a key goes first.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hmac
import ipaddress
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.db import OperationalError
from django.utils import timezone

from accounts import keys, sessions, throttling
from accounts.models import ApiKey, User
from accounts.services import guest_user
from accounts.signals import account_deleted, api_key_revoked

MAX_HEADER = 512
STRICT = re.compile(r"bearer +(\S+)\Z", re.IGNORECASE)
# The Chatbot API document prints "beareryour_key": no space, any case. Only its own surface accepts that.
SLOPPY = re.compile(r"(?:bearer)?[\s:]*(cb_\S+)\s*\Z", re.IGNORECASE)
FORWARDED = ("forwarded", "via", "x-forwarded-", "x-real-ip")
LAST_USED_EVERY = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling. `user_id` owns what is stored; a guest's is the shared guest account's."""

    user_id: uuid.UUID
    username: str
    is_guest: bool = False
    is_staff: bool = False
    key_id: uuid.UUID | None = None
    address: str = ""
    session: str = field(default="", repr=False)

    # What DRF and Django's views ask of a user.
    is_authenticated = True
    is_anonymous = False

    @property
    def pk(self) -> uuid.UUID:
        return self.user_id

    @property
    def credential(self) -> uuid.UUID | str | None:
        """What can stop being good: the key's id, or the session's name."""
        return self.key_id or self.session or None


class NotAdmitted(Exception):
    """Nobody we know: 401. `message` says what to do about it and is safe to show."""

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class TooManyFailures(NotAdmitted):
    """Too many wrong credentials from one address: 429."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request shows of its sender, whatever it came in by. `headers` has lower-case names."""

    headers: Mapping[str, str]
    peer: str
    secure: bool = False
    method: str = "GET"

    @property
    def address(self) -> str:
        """The client's address: the socket peer, or the right-most hop that is not a proxy of ours."""
        count = settings.TRUSTED_PROXIES
        hops = [hop.strip() for hop in self.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
        if count and len(hops) >= count:
            return hops[-count]
        return self.peer


_cache: dict[tuple[str, str], tuple[float, Principal]] = {}
_sessions: dict[tuple[str, str], tuple[float, Principal]] = {}
_guest: dict[str, tuple[float, uuid.UUID]] = {}
CACHE_SIZE = 10_000


def _forget_key(sender, key: ApiKey, **kwargs) -> None:
    for entry in [entry for entry, (_, who) in list(_cache.items()) if who.key_id == key.id]:
        _cache.pop(entry, None)


def _forget_session(sender, request, **kwargs) -> None:
    for entry in [entry for entry in list(_sessions) if entry[0] == request.session.session_key]:
        _sessions.pop(entry, None)


def _forget_account(sender, user_id: uuid.UUID, **kwargs) -> None:
    for known in (_cache, _sessions):
        for entry in [entry for entry, (_, who) in list(known.items()) if who.user_id == user_id]:
            known.pop(entry, None)
    _guest.clear()


api_key_revoked.connect(_forget_key)
account_deleted.connect(_forget_account)
user_logged_out.connect(_forget_session)


def clear_cache() -> None:
    _cache.clear()
    _sessions.clear()
    _guest.clear()


def read_bearer(header: str, *, sloppy: bool = False) -> str:
    """Return the token of an Authorization header; raises NotAdmitted when it is not a bearer token."""
    match = None
    if len(header) <= MAX_HEADER and header.isascii():
        match = STRICT.match(header.strip()) or (SLOPPY.match(header.strip()) if sloppy else None)
    if match is None:
        raise NotAdmitted("Send the key as 'Authorization: Bearer <key>'.")
    return match[1]


def cached_principal(token: str, address: str) -> Principal | None:
    """Return whom `token` belongs to when that was established a moment ago: no database, no thread."""
    hit = _cache.get((token, address))
    if hit and hit[0] > time.monotonic():
        return hit[1]
    return None


def principal_of_key(token: str, address: str = "") -> Principal:
    """Return whom an API key belongs to; raises NotAdmitted. Uses the database."""
    if principal := cached_principal(token, address):
        return principal
    parsed = keys.parse(token)
    row = None
    if parsed is not None:
        row = ApiKey.objects.usable().select_related("user").filter(kid=parsed.kid).first()
        # Compared on a miss too, so that an unknown key takes as long as a wrong one.
        expected = row.digest if row else "0" * 64
        if not hmac.compare_digest(expected, keys.digest(parsed.secret)):
            row = None
    if row is None:
        wait = throttling.hit(f"auth:{address}", limit=settings.LIMIT_AUTH_FAILURES_PER_MINUTE)
        if wait:
            raise TooManyFailures("Too many wrong keys from this address.", retry_after=wait)
        raise NotAdmitted("This key is not valid.")
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > LAST_USED_EVERY:
        # A store too busy to note it is no reason to turn somebody away.
        with contextlib.suppress(OperationalError):
            ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    principal = Principal(
        user_id=row.user_id,
        username=row.user.username,
        is_staff=row.user.is_staff,
        key_id=row.id,
        address=address,
    )
    if len(_cache) >= CACHE_SIZE:
        _cache.clear()
    ttl = settings.KEY_CACHE_SECONDS
    if row.expires_at is not None:
        ttl = min(ttl, (row.expires_at - now).total_seconds())
    _cache[(token, address)] = (time.monotonic() + ttl, principal)
    return principal


def principal_of_session(session_key: str, caller: Caller) -> Principal:
    """Return whom the session of a signed-in browser belongs to; raises NotAdmitted. Uses the database."""
    if known := cached_session(session_key, caller):
        return known
    user = sessions.users_of_sessions([session_key]).get(session_key)
    if user is None:
        raise NotAdmitted(sessions.SIGNED_OUT)
    principal = Principal(
        user_id=user.pk, username=user.username, is_staff=user.is_staff, address=caller.address, session=session_key
    )
    if len(_sessions) >= CACHE_SIZE:
        _sessions.clear()
    _sessions[(session_key, caller.address)] = (time.monotonic() + settings.KEY_CACHE_SECONDS, principal)
    return principal


def cached_session(session_key: str, caller: Caller) -> Principal | None:
    """Return whom a session belongs to when that is fresh; raises NotAdmitted for what another site's page sent."""
    if refusal := sessions.refusal_of(caller.method, caller.headers, secure=caller.secure):
        raise NotAdmitted(refusal)
    hit = _sessions.get((session_key, caller.address))
    return hit[1] if hit and hit[0] > time.monotonic() else None


def guests_admitted(caller: Caller) -> bool:
    """Tell whether a caller without credentials may be a guest here: `ANONYMOUS=auto|off|on`."""
    if settings.ANONYMOUS == "on":
        return True
    if settings.ANONYMOUS != "auto":
        return False
    headers = caller.headers
    if not _is_loopback(caller.peer) or any(name.startswith(FORWARDED) for name in headers):
        return False
    host = _host_of(f"//{headers.get('host', '')}")
    if not _is_local_name(host):
        return False
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or _netloc_of(origin) == headers.get("host", "")


def guest_principal(caller: Caller) -> Principal:
    """Return the guest; raises NotAdmitted, naming the setting, where guests are not admitted."""
    if not guests_admitted(caller):
        raise NotAdmitted(
            "A key is needed: send 'Authorization: Bearer <key>'. "
            f"(Callers without one are admitted by the setting ANONYMOUS, which is '{settings.ANONYMOUS}'.)"
        )
    known = _guest.get("guest")
    if known is None or known[0] < time.monotonic():
        known = (time.monotonic() + settings.KEY_CACHE_SECONDS, guest_user().pk)
        _guest["guest"] = known
    return Principal(user_id=known[1], username="guest", is_guest=True, address=caller.address)


def resolve_principal(caller: Caller, *, allow_guest: bool = True, sloppy: bool = False) -> Principal:
    """Say who is calling; raises NotAdmitted. Uses the database."""
    header = caller.headers.get("authorization")
    if header is not None:
        return principal_of_key(read_bearer(header, sloppy=sloppy), caller.address)
    session_key = sessions.session_key_of(caller.headers)
    if session_key is not None:
        return principal_of_session(session_key, caller)
    if not allow_guest:
        raise NotAdmitted("A key is needed: send 'Authorization: Bearer <key>'.")
    return guest_principal(caller)


def known_principal(caller: Caller, *, sloppy: bool = False) -> Principal | None:
    """The same from memory alone, for the event loop: None means that the database must be asked."""
    header = caller.headers.get("authorization")
    if header is not None:
        return cached_principal(read_bearer(header, sloppy=sloppy), caller.address)
    session_key = sessions.session_key_of(caller.headers)
    return cached_session(session_key, caller) if session_key is not None else None


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _netloc_of(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host == "testserver" or _is_loopback(host)


def user_of(principal: Principal) -> User:
    return User.objects.get(pk=principal.user_id)
