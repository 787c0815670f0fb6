"""The page of a shared link, for anybody: it reads no session, sets no cookie, and needs no script.

A link that is unknown, expired or revoked, or whose account is stopped, gets the same response as what never was
one, and so does every link while sharing is off.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from accounts.addresses import address_key
from accounts.authentication import caller_of
from accounts.throttling import RateLimited, enforce
from files.exceptions import ContentMissing
from files.models import File
from files.responses import thumbnail_response
from files.thumbnails import NoThumbnail, begin_thumbnail, etag_of
from foundation.database import in_database_thread
from sharing.models import SharedLink
from sharing.reading import find_link, find_picture, read_page

# A script of the page shows mathematics. Nothing of it may ask the service for anything, as whoever is signed in.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    )
)
# The address is the secret: no search engine lists it, no other site is told of it, no cache keeps what it shows.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NUMBER = re.compile(r"[0-9]{1,6}\Z", re.ASCII)


@require_safe
async def shared(request: HttpRequest, token: str) -> HttpResponse:
    """Show a page of what a link shows."""
    given = request.GET.get("page", "")
    number = int(given) if NUMBER.match(given) else 1
    try:
        context = await in_database_thread(_page, caller_of(request).address, token, number)
    except RateLimited as error:
        return _too_many(error)
    if context is None:
        return _nothing()
    # Not in the other thread, which does not know of URL_PREFIX.
    return HttpResponse(render_to_string("shared.html", context), headers=HEADERS)


@require_safe
async def shared_picture(request: HttpRequest, token: str, file_id: str) -> HttpResponse:
    """Show a small copy of a picture, made anew: what a camera writes into a file, such as the place, is not in it."""
    try:
        file = await in_database_thread(_picture, caller_of(request).address, token, file_id)
    except RateLimited as error:
        return _too_many(error)
    if file is None:
        return _nothing()
    etag = etag_of(file)
    response: Any = get_conditional_response(request, etag=etag)
    if response is None:
        try:
            response = thumbnail_response(await asyncio.wrap_future(begin_thumbnail(file)))
        except (NoThumbnail, ContentMissing):
            return _nothing()
    # The browser keeps it, and asks each time whether the link still works.
    for name, value in {**HEADERS, "ETag": etag, "Cache-Control": "private, no-cache"}.items():
        response.headers.setdefault(name, value)
    return response  # type: ignore[no-any-return]


def _page(address: str, token: str, number: int) -> dict[str, Any] | None:
    link = _find(address, token)
    return {"link": link, "token": token, "shown": read_page(link, number)} if link is not None else None


def _picture(address: str, token: str, file_id: str) -> File | None:
    link = _find(address, token)
    return find_picture(link, file_id) if link is not None else None


def _find(address: str, token: str) -> SharedLink | None:
    """Return the link that works, and count a read of whoever asks, by the address, with those of guests there."""
    enforce(f"reads:{address_key(address)}", "LIMIT_READS_PER_MINUTE", "requests")
    return find_link(token)


def _nothing() -> HttpResponse:
    return HttpResponse(render_to_string("shared_nothing.html"), status=404, headers=HEADERS)


def _too_many(error: RateLimited) -> HttpResponse:
    page = render_to_string("notice.html", {"title": "Too many requests", "message": error.message})
    return HttpResponse(page, status=429, headers={**HEADERS, "Retry-After": str(error.retry_after)})
