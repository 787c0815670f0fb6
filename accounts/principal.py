"""The one reader of credentials: REST, websocket, GraphQL and SSE all ask here who is calling.

Without a credential the caller is a guest, if guests are admitted. With one, the caller is its user. A wrong credential
is refused, and its sender never becomes a guest. A credential is a bearer key or, in a request of our own pages
(sessions.py has the rule), the cookie of a signed-in browser; a key takes precedence.
"""

from __future__ import annotations

import dataclasses
import hmac
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.http import HttpRequest
from django.utils import timezone

from accounts import keys, sessions
from accounts.addresses import address_key, is_within
from accounts.callers import (
    PAGE_USER,
    Caller,
    IdentityChanged,
    NotAdmitted,
    Principal,
    TooManyFailures,
    WrongNetwork,
)
from accounts.key_uses import note_use
from accounts.models import ApiKey, User
from accounts.services import guest_user
from accounts.session_uses import note_session_use
from accounts.signals import account_deleted, accounts_stopped, api_key_revoked, limits_changed
from accounts.subject_limits import any_limits, limits_found
from accounts.throttling import RateLimited, enforce

MAX_HEADER = 512
STRICT = re.compile(r"bearer +(\S+)\Z", re.IGNORECASE)
# The Chatbot API document prints "beareryour_key": no space, any case. Only the OpenAI-compatible API accepts that.
LENIENT = re.compile(r"(?:bearer)?[\s:]*(cb_\S+)\s*\Z", re.IGNORECASE)
KEY_NEEDED = "A key is needed: send 'Authorization: Bearer <key>'."
LOCAL_GUESTS = (
    "Without one, ANONYMOUS=auto admits only programs of the user that runs this service, on this machine and not "
    "through a proxy. Use the key that the first start printed, or create one with `manage.py create_api_key`; "
    "behind a proxy also set TRUSTED_PROXIES. ANONYMOUS=on admits everybody. See docs/guests.md."
)

_cache: dict[tuple[str, str], tuple[float, Principal]] = {}
_sessions: dict[tuple[str, str], tuple[float, Principal]] = {}
_guest: dict[str, tuple[float, User]] = {}
CACHE_SIZE = 10_000


def _forget_key(sender: Any, key: ApiKey, **kwargs: Any) -> None:
    for entry in [entry for entry, (_, who) in list(_cache.items()) if who.key_id == key.id]:
        _cache.pop(entry, None)


def _forget_session(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
    for entry in [entry for entry in list(_sessions) if entry[0] == request.session.session_key]:
        _sessions.pop(entry, None)


def _forget_account(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    _forget_accounts(sender, [user_id])


def _forget_accounts(sender: Any, user_ids: Iterable[uuid.UUID], **kwargs: Any) -> None:
    forget_accounts(user_ids)


def forget_accounts(user_ids: Iterable[uuid.UUID]) -> None:
    """Forget the cached credentials of these accounts: their next request asks the database."""
    gone = set(user_ids)
    for known in (_cache, _sessions):
        for entry in [entry for entry, (_, who) in list(known.items()) if who.user_id in gone]:
            known.pop(entry, None)
    _guest.clear()


def _forget_limits(sender: Any, **kwargs: Any) -> None:
    clear_cache()


api_key_revoked.connect(_forget_key)
account_deleted.connect(_forget_account)
accounts_stopped.connect(_forget_accounts)
limits_changed.connect(_forget_limits)
user_logged_out.connect(_forget_session)


def clear_cache() -> None:
    _cache.clear()
    _sessions.clear()
    _guest.clear()


def read_bearer(header: str, *, lenient: bool = False) -> str:
    """Return the token of an Authorization header; raises NotAdmitted if it is not a bearer token."""
    match = None
    if len(header) <= MAX_HEADER and header.isascii():
        match = STRICT.match(header.strip()) or (LENIENT.match(header.strip()) if lenient else None)
    if match is None:
        raise NotAdmitted("Send the key as 'Authorization: Bearer <key>'.")
    return match[1]


def cached_principal(token: str, address: str) -> Principal | None:
    """Return the principal of `token` if it is cached: needs no database and no thread."""
    hit = _cache.get((token, address))
    if hit and hit[0] > time.monotonic():
        return hit[1]
    return None


def principal_of_key(token: str, address: str = "") -> Principal:
    """Return the principal of an API key; raises NotAdmitted. Uses the database."""
    if principal := cached_principal(token, address):
        return principal
    parsed = keys.parse(token)
    row = None
    if parsed is not None:
        rows = ApiKey.objects.usable().select_related("user").defer("user__default_generation")
        rows = rows.annotate(any_limits=any_limits())
        row = rows.filter(kid=parsed.kid).first()
        # Also compared if the key is unknown, so that an unknown key takes as long as a wrong one.
        expected = row.digest if row else "0" * 64
        if not hmac.compare_digest(expected, keys.digest(parsed.secret)):
            row = None
    if row is None:
        # Only wrong keys are counted: others' failures at the same address must not refuse a valid key.
        try:
            enforce(f"auth:{address_key(address)}", "LIMIT_AUTH_FAILURES_PER_MINUTE", "wrong keys from one address")
        except RateLimited as limited:
            raise TooManyFailures(limited.message, retry_after=limited.retry_after) from limited
        raise NotAdmitted("This key is not valid.")
    if row.networks and not is_within(address, row.networks):
        raise WrongNetwork(address)
    note_use(row, address)
    principal = _principal_of(
        row.user,
        key_id=row.id,
        address=address,
        may_change_credentials=row.may_change_credentials,
        limits=limits_found(row, row.user, row.id),
        scopes=None if row.scopes is None else frozenset(row.scopes),
    )
    if len(_cache) >= CACHE_SIZE:
        _cache.clear()
    ttl = settings.KEY_CACHE_SECONDS
    if row.expires_at is not None:
        ttl = min(ttl, (row.expires_at - timezone.now()).total_seconds())
    _cache[(token, address)] = (time.monotonic() + ttl, principal)
    return principal


def _principal_of(user: User, **credential: Any) -> Principal:
    return Principal(
        user_id=user.pk,
        username=user.username,
        is_staff=user.is_staff,
        limits_owner_id=user.limits_owner_id,
        guest_made=user.guest_made,
        stopped_at=user.stopped_at,
        **credential,
    )


def principal_of_session(session_key: str, caller: Caller) -> Principal:
    """Return the principal of a signed-in browser's session; raises NotAdmitted. Uses the database."""
    if known := cached_session(session_key, caller):
        return known
    user = sessions.users_of_sessions([session_key]).get(session_key)
    if user is None:
        raise NotAdmitted(sessions.SIGNED_OUT)
    note_session_use(session_key, user, caller)
    principal = _principal_of(
        user,
        address=caller.address,
        session=session_key,
        may_change_credentials=True,
        limits=limits_found(user, user),
    )
    if len(_sessions) >= CACHE_SIZE:
        _sessions.clear()
    _sessions[(session_key, caller.address)] = (time.monotonic() + settings.KEY_CACHE_SECONDS, principal)
    return principal


def cached_session(session_key: str, caller: Caller) -> Principal | None:
    """Return the principal of a session if it is cached; raises NotAdmitted for a request from another site's page."""
    if refusal := sessions.refusal_of(caller.method, caller.headers, secure=caller.secure):
        raise NotAdmitted(refusal)
    hit = _sessions.get((session_key, caller.address))
    return hit[1] if hit and hit[0] > time.monotonic() else None


def guests_admitted(caller: Caller) -> bool:
    """Tell whether a caller without credentials may be a guest here: `ANONYMOUS=auto|off|on`. Call it in a thread."""
    return settings.ANONYMOUS == "on" or (settings.ANONYMOUS == "auto" and is_local_guest(caller))


def is_local_guest(caller: Caller) -> bool:
    """Tell whether a program of our own user on this machine asks, not another site's page. Call it in a thread."""
    headers = caller.headers
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    at_home = origin is None or _netloc_of(origin) == headers.get("host", "")
    return at_home and caller.is_local()


def guests_refused() -> str:
    """Return the message for a caller without a credential if one is needed."""
    if settings.ANONYMOUS == "auto":
        return f"{KEY_NEEDED} {LOCAL_GUESTS}"
    return (
        f"{KEY_NEEDED} (Whether callers without one are admitted is up to the setting ANONYMOUS, which is "
        f"'{settings.ANONYMOUS}'.)"
    )


def guest_principal(caller: Caller) -> Principal:
    """Return the guest; raises NotAdmitted, naming the setting, if guests are not admitted."""
    if not guests_admitted(caller):
        raise NotAdmitted(guests_refused())
    known = _guest.get("guest")
    if known is None or known[0] < time.monotonic():
        known = (time.monotonic() + settings.KEY_CACHE_SECONDS, guest_user())
        _guest["guest"] = known
    guest = known[1]
    if not guest.is_active:
        raise NotAdmitted("A key is needed: send 'Authorization: Bearer <key>'. The guests' account is deactivated.")
    is_local = is_local_guest(caller)
    return Principal(
        user_id=guest.pk,
        username="guest",
        is_guest=True,
        address=caller.address,
        is_local=is_local,
        is_counted=not (is_local and settings.ANONYMOUS == "auto"),
        stopped_at=guest.stopped_at,
    )


def check_page_user(caller: Caller, page_user: str) -> None:
    """Raise IdentityChanged if the page that sent this request was loaded for somebody other than `page_user`.

    A browser's tabs share one cookie. When somebody signs out or in elsewhere, what is typed into one user's page must
    not be stored as another's or as a guest's.
    """
    if caller.headers.get(PAGE_USER, page_user) != page_user:
        raise IdentityChanged


def resolve_principal(caller: Caller, *, allow_guest: bool = True, lenient: bool = False) -> Principal:
    """Return the principal of a request; raises NotAdmitted. Uses the database."""
    principal = _admitted_principal(caller, allow_guest=allow_guest, lenient=lenient)
    if _counts_by_place(principal) and is_local_guest(caller):
        principal = dataclasses.replace(principal, is_counted=False)
    check_page_user(caller, principal.page_user)
    return principal


def _counts_by_place(principal: Principal) -> bool:
    """Tell whether an account is not counted when it asks from this machine: one that guests made, like guests."""
    return principal.guest_made and settings.ANONYMOUS == "auto"


def _admitted_principal(caller: Caller, *, allow_guest: bool, lenient: bool) -> Principal:
    header = caller.headers.get("authorization")
    if header is not None:
        return principal_of_key(read_bearer(header, lenient=lenient), caller.address)
    session_key = sessions.session_key_of(caller.headers)
    if session_key is not None:
        return principal_of_session(session_key, caller)
    if not allow_guest:
        raise NotAdmitted(KEY_NEEDED)
    return guest_principal(caller)


def known_principal(caller: Caller, *, lenient: bool = False) -> Principal | None:
    """Return the same only if it is cached, for the event loop; None if finding out may block."""
    header = caller.headers.get("authorization")
    if header is not None:
        principal = cached_principal(read_bearer(header, lenient=lenient), caller.address)
    else:
        session_key = sessions.session_key_of(caller.headers)
        principal = cached_session(session_key, caller) if session_key is not None else None
    if principal is not None and _counts_by_place(principal):
        return None  # where it asks from is looked up in a thread
    if principal is not None:
        check_page_user(caller, principal.page_user)
    return principal


def _netloc_of(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def user_of(principal: Principal) -> User:
    return User.objects.get(pk=principal.user_id)
