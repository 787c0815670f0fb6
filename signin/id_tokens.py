"""Verifies ID tokens. allauth checks neither their nonce nor, after a code, their signature."""

from __future__ import annotations

import hmac
from typing import Any, Protocol

import jwt
from allauth.socialaccount.providers.oauth2.client import OAuth2Error

# Signed with the provider's private key: never `none`, nor with the client's secret, which both sides know.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
LEEWAY_SECONDS = 60  # by which two clocks may differ
REQUIRED = ["iss", "sub", "aud", "exp", "iat"]


class KeySet(Protocol):
    """Returns the provider's key set (JWKS): a kept one, or `anew`, because it may have a new key."""

    def __call__(self, *, anew: bool) -> dict[str, Any]: ...


def verified_claims(token: str, *, key_set: KeySet, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """Return the claims of an ID token that was made for us, in answer to the request with this nonce.

    Raises OAuth2Error.
    """
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise OAuth2Error(f"the ID token is signed by {algorithm!r}")
        claims: dict[str, Any] = jwt.decode(
            token,
            key=_key_for(header.get("kid"), key_set),
            algorithms=[algorithm],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED},
        )
    except jwt.PyJWTError as error:
        raise OAuth2Error(f"the ID token is not valid ({type(error).__name__})") from error
    if not (nonce and hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode())):
        raise OAuth2Error("the ID token answers another sign-in (nonce)")
    others = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if others else client_id) != client_id:
        raise OAuth2Error("the ID token was made for another service (azp)")
    return claims


def _key_for(name: str | None, key_set: KeySet) -> Any:
    for anew in (False, True):
        found = [key for key in jwt.PyJWKSet.from_dict(key_set(anew=anew)).keys if key.public_key_use in (None, "sig")]
        named = [key for key in found if key.key_id == name] if name is not None else found
        if len(named) == 1:
            return named[0].key
    raise OAuth2Error("the provider has no such key")
