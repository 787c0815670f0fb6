"""The browsers that somebody is signed in with: notes each sign-in, lists them, and signs them out."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest

from accounts.authentication import caller_of
from accounts.erasure import delete_sessions
from accounts.models import BrowserSession, User
from accounts.principal import forget_accounts
from accounts.session_uses import note_session
from accounts.sessions import users_of_sessions


def signed_in_browsers(user: User) -> list[BrowserSession]:
    """Return those whose session still counts, the newest first."""
    rows = list(user.browser_sessions.all())
    counting = users_of_sessions([row.session_id for row in rows])
    return [row for row in rows if row.session_id in counting]


@transaction.atomic
def sign_out_browser(*, user: User, pk: int, but: str | None) -> None:
    """End one session of this user: immediately in this process, within KEY_CACHE_SECONDS in the others.

    Not the one of the name `but`: whoever asks in it signs out by `/logout`.
    """
    ended = user.browser_sessions.filter(pk=pk).exclude(session=but).values("session")
    Session.objects.filter(pk__in=ended).delete()
    _forget_on_commit(user.pk)


@transaction.atomic
def sign_out_others(*, user: User, but: str | None) -> None:
    """End all sessions of this user, also those that are not listed, but the one of this name."""
    delete_sessions([user.pk], but=but)
    _forget_on_commit(user.pk)


def _forget_on_commit(user_id: uuid.UUID) -> None:
    transaction.on_commit(lambda: forget_accounts([user_id]))


def _signed_in(sender: Any, request: HttpRequest, user: User, **named: Any) -> None:
    if request.session.session_key is None:  # it was another user's, whose session was ended
        request.session.create()
    note_session(request.session.session_key or "", user, caller_of(request))


user_logged_in.connect(_signed_in)
