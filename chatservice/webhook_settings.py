"""The setting of webhooks; chatservice/settings.py applies it."""

from __future__ import annotations

from accounts.addresses import read_network
from chatservice.environment import Environment

# --- Webhooks (docs/webhooks.md) -----------------------------------------------------------------


def webhook_networks(env: Environment) -> list[str]:
    """Return the networks besides the Internet that webhooks may reach."""
    # The networks besides the public Internet that webhooks may reach, also without TLS: `10.20.0.0/16`, or an address.
    found = env.list("WEBHOOK_NETWORKS", default=[])
    try:
        return [read_network(text) for text in found]
    except ValueError:
        env.problem("WEBHOOK_NETWORKS takes networks between commas, as in 10.20.0.0/16 or 192.168.1.7.")
        return []
