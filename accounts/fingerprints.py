"""Notices when the secrets in the settings are not the ones that this database was used with.

Under a different KEY_PEPPER no existing API key works, and keys made under it will not work with the right one. So the
first use stores a fingerprint of the secret, never the secret itself, and later uses compare.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from accounts.models import SecretFingerprint

KEY_PEPPER, SECRET_KEY = "KEY_PEPPER", "SECRET_KEY"
WRONG_PEPPER = (
    "KEY_PEPPER is not the one that the API keys in this database were created with. Set the former one (it may be "
    "in var/secrets.env on another machine), or run `manage.py accept_key_pepper` to give up those keys."
)
_confirmed: set[str] = set()


def fingerprint(name: str) -> str:
    """Return the digest of the current secret in the setting `name`."""
    secret: str = getattr(settings, name)
    return hmac.new(secret.encode(), f"fingerprint of {name}".encode(), sha256).hexdigest()


def differs(name: str) -> bool:
    """Tell whether this database was used with a different secret of that name."""
    stored = SecretFingerprint.objects.filter(name=name).first()
    return stored is not None and not hmac.compare_digest(stored.fingerprint, fingerprint(name))


def store(name: str, *, replace: bool = False) -> None:
    """Store the fingerprint of the current secret; an existing one is kept unless `replace`."""
    current = fingerprint(name)
    stored, _ = SecretFingerprint.objects.get_or_create(name=name, defaults={"fingerprint": current})
    if replace and stored.fingerprint != current:
        stored.fingerprint = current
        stored.save(update_fields=["fingerprint"])


def confirm_key_pepper() -> None:
    """Raise ImproperlyConfigured before a key is made that would never work."""
    current = fingerprint(KEY_PEPPER)
    if current not in _confirmed:
        store(KEY_PEPPER)
        if differs(KEY_PEPPER):
            raise ImproperlyConfigured(WRONG_PEPPER)
        _confirmed.add(current)
