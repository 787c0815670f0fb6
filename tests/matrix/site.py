"""The rows outside of all dialects: pages, health, documentation, and the admin, which takes no keys."""

from __future__ import annotations

from tests.matrix.rows import Admits, Probe, Row, http

ROWS = (
    # The pages are the same for everybody: the browser requests their content separately.
    Row("GET /", Admits.ANYONE),
    Row("GET /profile", Admits.ANYONE),
    Row("GET /login", Admits.ANYONE),
    # These send whoever is not signed in to the form; what they show of others is in tests/signin/test_own_account.py.
    Row("GET /login/browsers", Admits.ANYONE),
    Row("GET /login/password", Admits.ANYONE),
    Row("GET /logout", Admits.ANYONE),
    # Whoever has a token of these may read; what they show, and what not, is in tests/test_shared_page.py.
    Row("GET /shared/{token}", Admits.ANYONE, harmless=("path token",)),
    Row("GET /shared/{token}/pictures/{file}", Admits.ANYONE, harmless=("path token", "path file")),
    # The pictures and files of messages. That of the matrix has no thumbnail: tests/browser/test_files.py has one.
    Row(
        "GET /files",
        Admits.GUESTS,
        ("message", "file"),
        (Probe("query message", "/files?message=<message>", outcome="200", reaches=False),),
        query="?message=<own.message>",
    ),
    http("GET /files/{file}", "file"),
    Row(
        "GET /files/{file}/thumbnail",
        Admits.GUESTS,
        ("file",),
        (Probe("path file", "/files/<file>/thumbnail", reaches=False),),
    ),
    Row("GET /healthz", Admits.ANYONE),
    Row("GET /readyz", Admits.ANYONE),
    Row("GET /docs", Admits.ANYONE),
    Row("GET /schema/{dialect}", Admits.ANYONE, harmless=("path dialect",)),
)
# Model -> what staff find there. Everything below /admin/ needs the session of a staff member.
ADMIN = {
    "accounts.User": "accounts",
    "accounts.AccountErasure": "accounts that are being erased, by id",
    "accounts.ApiKey": "keys, never their secrets",
    "accounts.SubjectLimits": "limits of groups, users and keys",
    "auth.Group": "groups of staff",
    "completions.Run": "runs",
    "usage.Budget": "how much somebody may use, with what is used of it",
    "usage.BudgetUse": "what is used of budgets, by whom",
    "usage.ModelPrice": "what models cost",
    "webhooks.WebhookEndpoint": "where webhooks are sent, never their secrets",
    "webhooks.WebhookDelivery": "which events were sent, by id",
    "files.File": "files, without name and content",
    "conversations.Conversation": "conversations, what was said for those who may read and say why",
    "feedback.Feedback": "what users think of answers; comments for those who have opened the conversation",
    "sharing.SharedLink": "links to conversations, never their titles and tokens",
    "conversations.AccessLogEntry": "who of the staff read what, and why",
}
ADMIN_PAGES = frozenset(
    {
        "",
        "dashboard/",
        "dashboard/failures/",
        "dashboard/usage/",
        "dashboard/usage/csv/",
        "login/",
        "logout/",
        "password_change/",
        "password_change/done/",
        "autocomplete/",
        "jsi18n/",
        "view",
    }
)
