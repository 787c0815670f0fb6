"""Cursors of a search's pages: signed, and valid only for the search that they were made for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from django.core import signing

from search.results import InvalidCursor

SALT = "search.cursor"
MAX_CURSOR_CHARS = 1_000


def write_cursor(offset: int, order: Sequence[int], *search: object) -> str:
    """Return the cursor of the hit at `offset` of `search`, whose best entries are in this order; () in their own."""
    return signing.dumps([offset, _fingerprint(search), *order], salt=SALT, compress=bool(order))


def read_cursor(text: str, *search: object) -> tuple[int, tuple[int, ...]]:
    """Return the offset and the order of the best entries, (0, ()) without a cursor; raises InvalidCursor."""
    if not text:
        return 0, ()
    try:
        offset, fingerprint, *order = signing.loads(text[: MAX_CURSOR_CHARS + 1], salt=SALT)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise InvalidCursor("This is not a cursor of this search.") from error
    if fingerprint != _fingerprint(search):
        raise InvalidCursor("This is not a cursor of this search.")
    return int(offset), tuple(order)


def _fingerprint(search: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(search).encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()
