"""The token of a shared link: 192 bits that nobody can guess, and that the database alone does not tell."""

from __future__ import annotations

import base64
import hmac
import re
import uuid
from hashlib import sha256

from django.conf import settings

from accounts import keys

PATTERN = re.compile(r"[A-Za-z0-9_-]{32}\Z")
TOKEN_BYTES = 24


def token_of(link_id: uuid.UUID) -> str:
    """Return the token of a link, which only who knows KEY_PEPPER can compute from the id."""
    mac = hmac.new(settings.KEY_PEPPER.encode(), b"shared link " + link_id.bytes, sha256).digest()
    return base64.urlsafe_b64encode(mac[:TOKEN_BYTES]).decode()


def digest_of(token: str) -> str:
    """Return what is stored of a token: a link is found by it."""
    return keys.digest(token)


def is_token(text: str) -> bool:
    return PATTERN.match(text) is not None
