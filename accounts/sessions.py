"""A signed-in browser's session as a credential: which user it belongs to, and whether our own page sent it.

A browser sends its cookies with requests of any site's page, so a session counts only in a request that is shown to
come from our own page. Only `resolve_principal` uses this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts.models import User
from accounts.proxies import missing_setting
from accounts.subject_limits import any_limits

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MARK = "x-requested-with"
"""The header that our pages send: another site's page cannot without asking us first (CORS), and we never grant it."""
SESSION_NAME = re.compile(r"[a-z0-9]{32}\Z")
ON_HOLD = "on_hold"
"""What a session has in it that counts for nothing yet: the path of the page where a second factor is confirmed."""
SIGNED_OUT = "Your session has ended. Sign in again."
NOT_OUR_PAGE = "A session is accepted only in requests from this site's own pages (Origin, Sec-Fetch-Site)."
UNMARKED = "With a session, every request that changes something must send the header X-Requested-With."


def session_key_of(headers: Mapping[str, str]) -> str | None:
    """Return the session's name from the cookies; None without a cookie, '' for an empty one."""
    cookies = headers.get("cookie")
    if cookies is None or settings.SESSION_COOKIE_NAME not in cookies:
        return None
    return parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)


def refusal_of(method: str, headers: Mapping[str, str], *, secure: bool) -> str:
    """Return why a session must not count in this request, mentioning a proxy that may be the cause; '' if it may.

    It may if our own page sent the request. `Sec-Fetch-Site` and `Origin`, if sent, must name this service. A request
    that changes something also needs MARK. One that only reads needs one of these two headers, MARK, or a `Referer` of
    this service, which is all that an old browser sends.
    """
    host = headers.get("host", "")
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_home(origin, host, secure)):
        return _not_our_page(headers, secure)
    if method not in SAFE_METHODS:
        return "" if headers.get(MARK) else UNMARKED
    shown = site is not None or origin is not None or headers.get(MARK)
    return "" if shown or _is_home(headers.get("referer", ""), host, secure) else _not_our_page(headers, secure)


def _not_our_page(headers: Mapping[str, str], secure: bool) -> str:
    return f"{NOT_OUR_PAGE} {missing_setting(headers, secure=secure)}".strip()


def _is_home(url: str, host: str, secure: bool) -> bool:
    try:
        parsed = urlsplit(url)
    except ValueError:
        return False
    return bool(host) and parsed.netloc == host and parsed.scheme in (("https",) if secure else ("http", "https"))


def users_of_sessions(session_keys: Iterable[str]) -> dict[str, User]:
    """Return the user of each session; those that ended or are on hold, or whose user may not sign in, are left out.

    The users tell by `any_limits` whether anybody has limits of its own.
    """
    named = [session_key for session_key in session_keys if SESSION_NAME.match(session_key)]
    rows = Session.objects.filter(session_key__in=named, expire_date__gt=timezone.now())
    decoded = {row.session_key: row.get_decoded() for row in rows}
    told = {session_key: data for session_key, data in decoded.items() if ON_HOLD not in data}
    ids = {data[SESSION_KEY] for data in told.values() if SESSION_KEY in data}
    active = User.objects.defer("default_generation").filter(pk__in=ids, is_active=True).exclude(is_service=True)
    users = {str(user.pk): user for user in active.annotate(any_limits=any_limits())}
    found: dict[str, User] = {}
    for session_key, data in told.items():
        user = users.get(data.get(SESSION_KEY, ""))
        # Changing the password ends every session begun with the old one.
        if user and constant_time_compare(data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()):
            found[session_key] = user
    return found
