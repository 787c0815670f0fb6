"""Recognises in a request that a proxy is in front that the service is not configured for; names the missing setting.

Nothing here decides who is admitted: the headers' claims only make an error message more helpful.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from accounts.connections import is_local_name

HTTPS_BY_HEADER = {
    "x-forwarded-proto": re.compile(r"(?:^|,)\s*https\s*(?:,|$)", re.IGNORECASE),
    "forwarded": re.compile(r"proto=\"?https\b", re.IGNORECASE),
    "x-forwarded-ssl": re.compile(r"on$", re.IGNORECASE),
    "front-end-https": re.compile(r"on$", re.IGNORECASE),
}
HOST_NOT_PASSED_ON = (
    "The proxy in front changes the Host header. Let it pass on the client's (nginx: proxy_set_header Host "
    "$http_host), and add that host to ALLOWED_HOSTS. See docs/proxies.md."
)
PROTO_NOT_SENT = (
    "The proxy in front does not say that the client used https. Let it send X-Forwarded-Proto (nginx: "
    "proxy_set_header X-Forwarded-Proto $scheme). See docs/proxies.md."
)


def missing_setting(headers: Mapping[str, str], *, secure: bool) -> str:
    """Return the setting to change if a request shows that a proxy and this service disagree; '' if they seem to agree.

    `secure` tells whether we consider the request https.
    """
    page = _parsed(headers.get("origin") or headers.get("referer", "")).netloc
    if headers.get("sec-fetch-site") == "same-origin" and page and page != headers.get("host"):
        return HOST_NOT_PASSED_ON  # the browser says that page and host are the same
    return https_hint() if not secure and _client_spoke_https(headers) else ""


def https_hint() -> str:
    """Return the setting to change if clients speak https to a proxy and the service does not know it."""
    missing = [
        *([] if settings.HTTPS else ["HTTPS=true"]),
        *([] if settings.TRUSTED_PROXIES else ["TRUSTED_PROXIES=1 (the number of proxies)"]),
    ]
    if not missing:
        return PROTO_NOT_SENT
    return (
        f"Clients use https to reach a proxy that this service does not trust: set {' and '.join(missing)}, and let "
        "the proxy send Host, X-Forwarded-For and X-Forwarded-Proto. See docs/proxies.md."
    )


def _client_spoke_https(headers: Mapping[str, str]) -> bool:
    if settings.HTTPS and settings.TRUSTED_PROXIES and "x-forwarded-proto" in headers:
        return False  # the header is trusted but does not say https
    if any(pattern.search(headers.get(name, "").strip()) for name, pattern in HTTPS_BY_HEADER.items()):
        return True
    host = headers.get("host", "")
    pages = [_parsed(headers.get(name, "")) for name in ("origin", "referer")]
    if any(page.scheme == "https" and page.netloc == host for page in pages):
        return True
    # Browsers send this header over https, and over http only to this machine.
    return "sec-fetch-site" in headers and not is_local_name(_parsed(f"//{host}").hostname or "")


def _parsed(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
