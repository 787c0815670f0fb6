"""What belongs to no dialect: health, documentation, and the admin site, which knows sessions and no keys."""

from __future__ import annotations

from chatservice.tests.matrix.rows import Admits, Row

ROWS = (
    Row("GET /healthz", Admits.ANYONE),
    Row("GET /readyz", Admits.ANYONE),
    Row("GET /docs", Admits.ANYONE),
    Row("GET /schema/{dialect}", Admits.ANYONE, harmless=("path dialect",)),
)
# Model -> what staff find there. Everything below /admin/ asks for the session of a staff member.
ADMIN = {
    "accounts.User": "accounts",
    "accounts.ApiKey": "keys, never their secrets",
    "auth.Group": "groups of staff",
    "completions.Run": "runs",
    "conversations.Conversation": "conversations",
}
ADMIN_PAGES = frozenset(
    {"", "login/", "logout/", "password_change/", "password_change/done/", "autocomplete/", "jsi18n/", "view"}
)
