"""Django's sessions in the database; one that gets another name stays in its owner's list."""

from __future__ import annotations

from django.contrib.sessions.backends import db

from accounts.models import BrowserSession


class SessionStore(db.SessionStore):
    def cycle_key(self) -> None:
        """Rename the session, as at a sign-in, after a second factor and with a new password."""
        listed = list(BrowserSession.objects.filter(session=self.session_key))
        super().cycle_key()  # deletes the former session, and what is listed with it
        for row in listed:
            row.pk, row.session_id = None, self.session_key or ""
            row.save(force_insert=True)
