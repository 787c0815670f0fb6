"""Records which browsers somebody is signed in with, on which day each was used last, and from which network."""

from __future__ import annotations

import contextlib
import datetime as dt

from django.contrib.sessions.models import Session
from django.db import IntegrityError, OperationalError
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.addresses import shortened_address
from accounts.browsers import browser_name
from accounts.callers import Caller
from accounts.models import BrowserSession, User

CACHE_SIZE = 10_000
ROWS, MAX_SLICES = 500, 20

# On which day, and from which network, this process last saw a session in use.
_noted: dict[str, tuple[dt.date, str]] = {}


def note_session_use(session_key: str, user: User, caller: Caller) -> None:
    """Record that a session is used: once a day in each process, and when it comes from another network."""
    use = timezone.now().astimezone(dt.UTC).date(), shortened_address(caller.address)
    if _noted.get(session_key) == use:
        return
    # The caller is not refused just because the database is too busy to record the use. The account may be gone.
    with contextlib.suppress(OperationalError, IntegrityError):
        note_session(session_key, user, caller)
        if len(_noted) >= CACHE_SIZE:
            _noted.clear()
        _noted[session_key] = use


def note_session(session_key: str, user: User, caller: Caller) -> None:
    """Record a session, or that it is used; one from before there were such rows gets its row now."""
    day, network = timezone.now().astimezone(dt.UTC).date(), shortened_address(caller.address)
    row = BrowserSession(
        session_id=session_key,
        user=user,
        browser=browser_name(caller.headers.get("user-agent", "")),
        network=network,
        last_used_on=day,
    )
    BrowserSession.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["session"], update_fields=["network", "last_used_on"]
    )


def prune_sessions() -> None:
    """Delete expired sessions, some thousands at a time, and the rows of those that the version before deleted."""
    expired = (
        Session.objects.filter(expire_date__lt=timezone.now()).order_by("expire_date").values_list("pk", flat=True)
    )
    for _ in range(MAX_SLICES):
        if not (ended := list(expired[:ROWS])):
            break
        Session.objects.filter(pk__in=ended).delete()
    of_row = Session.objects.filter(pk=OuterRef("session_id"))
    BrowserSession.objects.filter(~Exists(of_row)).delete()
