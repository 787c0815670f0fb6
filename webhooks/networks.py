"""Which addresses webhooks may be sent to: the public Internet, and what WEBHOOK_NETWORKS allows."""

from __future__ import annotations

from django.conf import settings

from accounts.addresses import is_within, parse_address

# Addresses that look public and are not: of a platform's own services (Azure), and IPv4 addresses inside of IPv6 ones,
# behind which a router may find a private network (NAT64, 6to4, Teredo).
NOT_PUBLIC = ("168.63.129.16/32", "64:ff9b::/96", "2002::/16", "2001::/32")


def may_reach(text: str, *, is_encrypted: bool) -> bool:
    """Tell whether a webhook may be sent to an IP address; without TLS it may only stay in WEBHOOK_NETWORKS."""
    if is_within(text, settings.WEBHOOK_NETWORKS):
        return True
    address = parse_address(text)
    if address is None or not is_encrypted or is_within(text, NOT_PUBLIC):
        return False
    is_special = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not is_special
