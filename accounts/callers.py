"""Plain values: the `Caller` that sends a request, and the `Principal` it acts for, which principal.py finds."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from django.conf import settings

from accounts.addresses import address_key
from accounts.connections import Connection, is_local_name, is_loopback
from accounts.limits import NO_LIMITS, Limits

FORWARDED = ("forwarded", "via", "x-forwarded-", "x-real-ip")
FORWARDED_BYTES = tuple(name.encode() for name in FORWARDED)
PAGE_USER = "x-page-user"
"""The header in which a page names the user it was loaded for, by id, or GUEST: see docs/page-identity.md."""
GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Principal:
    """The resolved caller. `user_id` owns what is stored; a guest's is the shared guest account's.

    `limits_owner_id` is the account that answers for this one, if that is another. An `is_local` guest runs on this
    machine. Only the limits of the process apply to a caller that is not `is_counted`. `stopped_at` is when staff last
    stopped all activity of the account. `limits` are those that are not the settings'. `scopes` are what the credential
    may do (scopes.py), None for everything.
    """

    user_id: uuid.UUID
    username: str
    is_guest: bool = False
    is_staff: bool = False
    key_id: uuid.UUID | None = None
    address: str = ""
    session: str = field(default="", repr=False)
    limits_owner_id: uuid.UUID | None = None
    guest_made: bool = False
    is_local: bool = False
    is_counted: bool = True
    may_change_credentials: bool = False
    stopped_at: dt.datetime | None = None
    limits: Limits = field(default=NO_LIMITS, compare=False)
    scopes: frozenset[str] | None = None

    # What DRF and Django's views expect of a user.
    is_authenticated = True
    is_anonymous = False

    @property
    def pk(self) -> uuid.UUID:
        return self.user_id

    @property
    def credential(self) -> uuid.UUID | str | None:
        """The id of the credential, which can be revoked or expire: that of the key, or the session's name."""
        return self.key_id or self.session or None

    @property
    def counted_id(self) -> uuid.UUID:
        """The account whose limits apply: everything that is limited "per user" is counted under this id."""
        return self.limits_owner_id or self.user_id

    @property
    def has_guest_limits(self) -> bool:
        """Whether guest limits apply: they include accounts that guests made, which would otherwise multiply them."""
        return self.is_guest or self.guest_made

    @property
    def limit_key(self) -> str:
        """What this caller's requests are counted under: for users the account that answers for them, from any address.

        For guests, and the accounts that they made, it is the address. Keys and sessions of a user count together,
        because otherwise another key would bring another limit.
        """
        return address_key(self.address) if self.has_guest_limits else self.counted_id.hex

    def limited_as(self, found: Principal) -> Principal:
        """Return this caller with the limits that were found for it by now: those of an open socket may change."""
        return self if self.limits is found.limits else replace(self, limits=found.limits)

    @property
    def page_user(self) -> str:
        """How a page that was loaded for this caller identifies the caller in PAGE_USER."""
        return GUEST if self.is_guest else str(self.user_id)


class NotAdmitted(Exception):
    """The caller is not admitted: 401. `message` says what to do about it and is safe to show."""

    code = "unauthorized"

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class IdentityChanged(NotAdmitted):
    """The request comes from a page that was loaded for a different user: 401."""

    code = "identity_changed"

    def __init__(self) -> None:
        super().__init__("This page was loaded for another user (X-Page-User). Sign in again, or reload the page.")


class WrongNetwork(NotAdmitted):
    """The key is valid, but its networks do not include the caller's address: 401."""

    code = "network_not_allowed"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"This key may only be used from certain networks, and {address or 'this address'} is in none of them."
        )


class TooManyFailures(NotAdmitted):
    """Too many wrong credentials from one address: 429."""

    code = "rate_limit_exceeded"


def trusts_sender(names: Iterable[bytes], peer: str) -> bool:
    """Tell whether what a request says about itself may be believed, such as its id: it gives nobody any right.

    It may if it comes from our proxies, or from this machine with no proxy between. `names` are its headers', in lower
    case; `peer` is the other end's address.
    """
    if settings.TRUSTED_PROXIES:
        return True
    return is_loopback(peer) and not any(name.startswith(FORWARDED_BYTES) for name in names)


@dataclass(frozen=True, slots=True)
class Caller:
    """The facts about a request's sender, over HTTP or a websocket. `headers` has lower-case names."""

    headers: Mapping[str, str]
    peer: str
    secure: bool = False
    method: str = "GET"
    connection: Connection | None = None

    @property
    def address(self) -> str:
        """The client's address: the socket's peer, or the right-most hop that is not one of our proxies."""
        count = settings.TRUSTED_PROXIES
        hops = [hop.strip() for hop in self.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
        if count and len(hops) >= count:
            return hops[-count]
        return self.peer

    def is_local(self) -> bool:
        """Tell whether a program of our own user on this machine sent this without a proxy: see docs/guests.md.

        May look processes up: call it in a thread.
        """
        return (
            is_loopback(self.peer)
            and not any(name.startswith(FORWARDED) for name in self.headers)
            and is_local_name(_host_of(f"//{self.headers.get('host', '')}"))
            and self.connection is not None
            and self.connection.is_from_own_user()
        )


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
