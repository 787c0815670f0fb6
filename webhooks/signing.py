"""Signs what is sent, by the Standard Webhooks specification.

Secrets are derived from KEY_PEPPER and stored nowhere: a stolen database signs nothing.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac

from django.conf import settings
from standardwebhooks import Webhook

from webhooks.models import WebhookEndpoint


def secret_of(endpoint: WebhookEndpoint, *, before: int = 0) -> str:
    """Return the secret of an endpoint (`whsec_…`), or the one that it had so many rotations before."""
    named = f"webhooks {endpoint.pk.hex} {endpoint.secret_number - before}"
    key = hmac.digest(settings.KEY_PEPPER.encode(), named.encode(), "sha256")
    return f"whsec_{base64.b64encode(key).decode()}"


def signed_headers(endpoint: WebhookEndpoint, event_id: str, body: str, now: dt.datetime) -> dict[str, str]:
    """Return the three headers of the specification; after a rotation with two signatures for a while."""
    secrets = [secret_of(endpoint)]
    if endpoint.previous_secret_until is not None and now < endpoint.previous_secret_until:
        secrets.append(secret_of(endpoint, before=1))
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, now, body) for secret in secrets),
    }
