"""Decides when two usernames are the same, ignoring case, width and look-alikes, by comparing their `username_key`.

PRECIS (RFC 8265, UsernameCaseMapped) defines valid usernames; Unicode's confusables define which letters of other
alphabets look like ASCII ones. Two ASCII characters are never look-alikes: `user1` and `userl` are two names.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from functools import cache
from hashlib import sha256

from confusable_homoglyphs.utils import load
from django.core.exceptions import ValidationError
from precis_i18n import get_profile

# No username may contain it. It marks the keys of accounts that shared a name before names were compared by key.
DUPLICATE_MARK = "#"
MAX_KEY_CHARS = 450  # one character may expand to three; the column also has room for the mark of a duplicate
NOT_AVAILABLE = "This username is not available."

DIGITS = frozenset("0123456789")
_precis = get_profile("UsernameCaseMapped")
_letters = re.compile(r"[a-z]+\Z")


def username_key(username: str) -> str:
    """Return the key that all spellings of `username` share; names that are not allowed have one as well."""
    folded = unicodedata.normalize("NFKC", username).casefold()
    try:
        folded = _precis.enforce(folded).casefold()  # PRECIS writes Cherokee in the other case
    except UnicodeError:
        pass
    if not folded.isascii():
        alike = _lookalikes()
        folded = unicodedata.normalize("NFC", "".join([alike.get(letter, letter) for letter in folded]))
    return folded if len(folded) <= MAX_KEY_CHARS else sha256(folded.encode()).hexdigest()


def duplicate_key(username: str, user_id: uuid.UUID) -> str:
    """Return the key for an account whose name an older account already had before names were compared by key."""
    return f"{username_key(username)}{DUPLICATE_MARK}{user_id.hex}"


def validate_username(username: str) -> None:
    """Raise ValidationError for names that PRECIS refuses: invisible characters, mixed directions, symbols."""
    try:
        _precis.enforce(unicodedata.normalize("NFKC", username).casefold())
    except UnicodeError:
        message = "Enter a valid username: letters and digits of one writing direction, and @ . + - _"
        raise ValidationError(message, code="invalid") from None


@cache
def _lookalikes() -> dict[str, str]:
    """Return for each non-ASCII letter that looks like another character the text it looks like."""
    table = load("confusables.json")
    alike = {letter: {entry["c"].casefold() for entry in entries} for letter, entries in table.items()}
    direct: dict[str, str] = {}
    for letter in alike:
        # Names are compared without case, so a letter whose capital looks like another one (Cyrillic Т) is included
        # too.
        for small in {letter, letter.casefold()}:
            if len(small) == 1 and small.isalnum() and not small.isascii():
                direct[small] = _standing_for(small, alike.get(small, set()), alike.get(small.upper(), set()))
    return {letter: _followed(letter, direct) for letter in direct}


def _standing_for(letter: str, *lookalikes: set[str]) -> str:
    """Return the simplest of the look-alikes: ASCII letters, an ASCII digit, or the first single character."""
    for found in lookalikes:
        plain = [each for each in found if _letters.match(each)] or [each for each in found if each in DIGITS]
        if plain:
            return min(plain, key=lambda each: (len(each), each))
    return min([letter, *(each for found in lookalikes for each in found if len(each) == 1 and each.isalnum())])


def _followed(letter: str, direct: dict[str, str]) -> str:
    """Follow look-alikes of look-alikes; in a cycle take the smallest character."""
    seen = [letter]
    while (following := direct.get(seen[-1], seen[-1])) not in seen:
        seen.append(following)
    return min(seen[seen.index(following) :])
