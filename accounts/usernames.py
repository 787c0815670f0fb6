"""When two usernames are one: without case, width and look-alikes. `username_key` is what is compared and stored.

PRECIS (RFC 8265, UsernameCaseMapped) says what may be a username; Unicode's confusables say which letters of
other alphabets look like ASCII ones. Two ASCII characters never count as alike: `user1` and `userl` are two names.
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

# No username may contain it. It marks the keys of accounts that already shared a name when comparing names began.
DUPLICATE_MARK = "#"
MAX_KEY_CHARS = 450  # one character may stand for three; the column has room for a duplicate's mark besides
NOT_AVAILABLE = "This username is not available."

DIGITS = frozenset("0123456789")
_precis = get_profile("UsernameCaseMapped")
_letters = re.compile(r"[a-z]+\Z")


def username_key(username: str) -> str:
    """Return what all spellings of `username` have in common; names that are not allowed have one as well."""
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
    """Return the key of an account whose name another account had first, from before names were compared."""
    return f"{username_key(username)}{DUPLICATE_MARK}{user_id.hex}"


def validate_username(username: str) -> None:
    """Raise ValidationError for what PRECIS refuses: invisible characters, mixed directions, symbols."""
    try:
        _precis.enforce(unicodedata.normalize("NFKC", username).casefold())
    except UnicodeError:
        message = "Enter a valid username: letters and digits of one writing direction, and @ . + - _"
        raise ValidationError(message, code="invalid") from None


@cache
def _lookalikes() -> dict[str, str]:
    """Return the text that stands for each letter outside of ASCII which looks like another one."""
    table = load("confusables.json")
    alike = {letter: {entry["c"].casefold() for entry in entries} for letter, entries in table.items()}
    direct: dict[str, str] = {}
    for letter in alike:
        # Names are compared without case: a letter whose capital alone looks like another (Cyrillic Т) does, too.
        for small in {letter, letter.casefold()}:
            if len(small) == 1 and small.isalnum() and not small.isascii():
                direct[small] = _standing_for(small, alike.get(small, set()), alike.get(small.upper(), set()))
    return {letter: _followed(letter, direct) for letter in direct}


def _standing_for(letter: str, *lookalikes: set[str]) -> str:
    """Return the plainest of the look-alikes: ASCII letters, an ASCII digit, or the first single character."""
    for found in lookalikes:
        plain = [each for each in found if _letters.match(each)] or [each for each in found if each in DIGITS]
        if plain:
            return min(plain, key=lambda each: (len(each), each))
    return min([letter, *(each for found in lookalikes for each in found if len(each) == 1 and each.isalnum())])


def _followed(letter: str, direct: dict[str, str]) -> str:
    """Follow look-alikes of look-alikes; of a circle take its smallest character."""
    seen = [letter]
    while (following := direct.get(seen[-1], seen[-1])) not in seen:
        seen.append(following)
    return min(seen[seen.index(following) :])
