"""Network addresses: which of them limits count as one caller, and how much of one an account's owner is shown."""

from __future__ import annotations

import ipaddress
import re

UNKNOWN = "unknown"
"""All invalid addresses count as one caller: made-up ones must not get around the limits."""

WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]+)\](?::\d+)?|(?P<ipv4>[0-9.]+):\d+")


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in `text`, which may include a port or a zone; None if there is none.

    An IPv4 address inside an IPv6 one (`::ffff:192.0.2.1`) is returned as that IPv4 address.
    """
    text = text.strip()
    if found := WITH_PORT.fullmatch(text):
        text = found["ipv6"] or found["ipv4"]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def address_key(text: str) -> str:
    """Return what an address is counted as: IPv4 unchanged, IPv6 as its /64, which is what one customer gets."""
    return _network(text, ipv4=32, ipv6=64)


def shortened_address(text: str) -> str:
    """Return the network of an address (/24, IPv6 /48): enough to recognise one's own."""
    return _network(text, ipv4=24, ipv6=48)


def _network(text: str, *, ipv4: int, ipv6: int) -> str:
    address = parse_address(text)
    if address is None:
        return UNKNOWN
    length = ipv4 if address.version == 4 else ipv6
    network = ipaddress.ip_network((address, length), strict=False)
    return str(address) if length == address.max_prefixlen else str(network)
