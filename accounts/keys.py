"""The text of a key: `cb_<kid8>_<secret43><crc6>`. Pure, except for the pepper in the settings."""

from __future__ import annotations

import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from hashlib import sha256

from django.conf import settings

ALPHABET = string.ascii_letters + string.digits
PATTERN = re.compile(r"cb_([A-Za-z0-9]{8})_([A-Za-z0-9]{43})([a-z0-9]{6})\Z")


@dataclass(frozen=True, slots=True)
class ParsedKey:
    kid: str
    secret: str


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    digits = string.digits + string.ascii_lowercase
    value = zlib.crc32(body.encode())
    text = ""
    for _ in range(6):
        value, rest = divmod(value, 36)
        text = digits[rest] + text
    return text


def generate() -> tuple[ParsedKey, str]:
    """Return a new key and its full text."""
    key = ParsedKey(kid=_random(8), secret=_random(43))
    body = f"cb_{key.kid}_{key.secret}"
    return key, body + _checksum(body)


def parse(text: str) -> ParsedKey | None:
    """Return the parts of a key's text, or None if it cannot be a key (the checksum saves a look-up)."""
    match = PATTERN.match(text)
    if match is None or _checksum(text[:-6]) != match[3]:
        return None
    return ParsedKey(kid=match[1], secret=match[2])


def digest(secret: str) -> str:
    return hmac.new(settings.KEY_PEPPER.encode(), secret.encode(), sha256).hexdigest()
