"""Every page of the admin site, and its status for four kinds of staff.

`clerk` is staff without any permission, `viewer` has every permission to view, `reader` may also read
messages, `root` is a superuser. Statuses are those of GET.
"""

from __future__ import annotations

SUBJECTS = ("clerk", "viewer", "reader", "root")
Statuses = tuple[int, int, int, int]
EVERYBODY: Statuses = (200, 200, 200, 200)
VIEWS: Statuses = (403, 200, 200, 200)
ROOT: Statuses = (403, 403, 403, 200)
NOBODY: Statuses = (403, 403, 403, 403)
SHORT: Statuses = (302, 302, 302, 302)  # redirects to the full address of the page, which then checks permissions

APPS = ("accounts", "auth", "usage", "files", "conversations", "feedback", "sharing", "completions", "webhooks")
OBJECT = "<path:object_id>"
FILES = "conversations/conversation/<uuid:conversation_id>/files/<str:file_id>/"
PAGES: dict[str, Statuses] = {
    "": EVERYBODY,
    "dashboard/": VIEWS,
    "dashboard/failures/": VIEWS,
    "dashboard/usage/": VIEWS,
    "dashboard/usage/csv/": VIEWS,
    "login/": SHORT,
    "logout/": (405, 405, 405, 405),
    "password_change/": EVERYBODY,
    "password_change/done/": EVERYBODY,
    "autocomplete/": NOBODY,
    "jsi18n/": EVERYBODY,
    "r/<path:content_type_id>/<path:object_id>/": (404, 404, 404, 404),
    f"^(?P<app_label>{'|'.join(APPS)})/$": (404, 200, 200, 200),
    "(?P<url>.*)$": (404, 404, 404, 404),
    "accounts/user/<id>/password/": ROOT,
    f"accounts/user/{OBJECT}/stop/": ROOT,
    f"accounts/user/{OBJECT}/issue-key/": ROOT,
    f"accounts/apikey/{OBJECT}/rotate/": ROOT,
    f"accounts/apikey/{OBJECT}/revoke/": ROOT,
    # Of a transcript that is not open: tests/test_admin_files.py opens it.
    FILES: NOBODY,
    f"{FILES}thumbnail/": NOBODY,
    "completions/run/reap/": (403, 403, 403, 405),
}
# Model -> who may add, who may delete; everybody with the permission may view, and nobody else.
MODELS: dict[str, tuple[Statuses, Statuses]] = {
    "auth/group": (ROOT, ROOT),
    "accounts/user": (ROOT, ROOT),
    "accounts/apikey": (NOBODY, NOBODY),
    "accounts/accounterasure": (NOBODY, NOBODY),
    "usage/modelprice": (ROOT, ROOT),
    "accounts/subjectlimits": (ROOT, ROOT),
    "usage/budget": (ROOT, ROOT),
    "usage/budgetuse": (NOBODY, NOBODY),
    "webhooks/webhookendpoint": (ROOT, ROOT),
    "webhooks/webhookdelivery": (NOBODY, NOBODY),
    "files/file": (NOBODY, NOBODY),
    "conversations/conversation": (NOBODY, ROOT),
    "conversations/accesslogentry": (NOBODY, NOBODY),
    "feedback/feedback": (NOBODY, NOBODY),
    "sharing/sharedlink": (NOBODY, NOBODY),
    "completions/run": (NOBODY, NOBODY),
}


def rows() -> dict[str, Statuses]:
    """Return the status of each page, by its route below /admin/."""
    found = dict(PAGES)
    for model, (adds, deletes) in MODELS.items():
        found[f"{model}/"] = VIEWS
        found[f"{model}/add/"] = adds
        found[f"{model}/{OBJECT}/"] = SHORT
        found[f"{model}/{OBJECT}/change/"] = VIEWS
        found[f"{model}/{OBJECT}/history/"] = VIEWS
        found[f"{model}/{OBJECT}/delete/"] = deletes
    return found
