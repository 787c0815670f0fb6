"""The reason that staff enter in a form before they read content; remembered for a while in their session."""

from __future__ import annotations

import time
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest

from conversations.access_log import MAX_REASON_CHARS, MIN_REASON_CHARS, ReasonNeeded, checked_reason

SESSION_KEY = "reasons"
SEARCHING = "search"
"""The `place` of a reason for searches; for a conversation it is its id."""
REMEMBERED = 100


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Why do you need to read this?",
        min_length=MIN_REASON_CHARS,
        max_length=MAX_REASON_CHARS,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text="The owner sees this sentence, your username and the time.",
    )

    def clean_reason(self) -> str:
        try:
            return checked_reason(self.cleaned_data["reason"])
        except ReasonNeeded as needed:
            raise forms.ValidationError(str(needed)) from needed


def remembered_reason(request: HttpRequest, place: str) -> str:
    """Return the reason given for `place` less than STAFF_REASON_SECONDS ago, or ''."""
    reason, until = _reasons(request).get(place, ("", 0.0))
    return reason if until > time.time() else ""


def remember_reason(request: HttpRequest, place: str, reason: str) -> None:
    now = time.time()
    known = {name: entry for name, entry in _reasons(request).items() if entry[1] > now and name != place}
    kept = dict(list(known.items())[-(REMEMBERED - 1) :])
    request.session[SESSION_KEY] = {**kept, place: (reason, now + settings.STAFF_REASON_SECONDS)}


def _reasons(request: HttpRequest) -> dict[str, Any]:
    reasons: dict[str, Any] = request.session.get(SESSION_KEY, {})
    return reasons
