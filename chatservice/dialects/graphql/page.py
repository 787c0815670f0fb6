"""A page to try the API: our own script and style, nothing loaded from other hosts.

GraphiQL would be 4 MB of script and style (version 3.8), and from version 5 on needs an editor that is larger yet.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings
from django.http import HttpResponse
from django.templatetags.static import static
from django.utils.html import escape

from chatservice.dialects.graphql.schema import schema

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _html() -> str:
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    for name, value in (
        ("css", static("chatservice/graphql.css")),
        ("base", static("pages/base.css")),
        ("theme", static("pages/theme.js")),
        ("icon", static("pages/icon.svg")),
        ("root", f"{settings.URL_PREFIX}/"),
        ("js", static("chatservice/graphql.js")),
        ("schema", escape(schema.as_str())),
    ):
        template = template.replace(f"[[{name}]]", value)
    return template


def page() -> HttpResponse:
    headers = {"Content-Security-Policy": POLICY, "X-Frame-Options": "DENY"}
    return HttpResponse(_html(), headers=headers)
