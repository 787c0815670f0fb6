"""Network addresses: which of them limits count as one caller, and how much of one an account's owner is shown."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

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


def read_network(text: str) -> str:
    """Return a network in its usual form, `192.0.2.0/24`; one address is a network, too. Raises ValueError.

    The address in a network must not have bits beyond the prefix: `192.0.2.7/24` may be meant as either of two things.
    """
    network = ipaddress.ip_network(text.strip())
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None:  # addresses are compared as IPv4 (parse_address)
        if network.prefixlen < 96:
            raise ValueError("an IPv4 network inside IPv6 has a prefix of at least 96 bits")
        network = ipaddress.ip_network((mapped, network.prefixlen - 96))
    return str(network)


def is_within(text: str, networks: Iterable[str]) -> bool:
    """Tell whether an address is in one of `networks`; an invalid address is in none."""
    address = parse_address(text)
    return address is not None and any(address in ipaddress.ip_network(each) for each in networks)


def _network(text: str, *, ipv4: int, ipv6: int) -> str:
    address = parse_address(text)
    if address is None:
        return UNKNOWN
    length = ipv4 if address.version == 4 else ipv6
    network = ipaddress.ip_network((address, length), strict=False)
    return str(address) if length == address.max_prefixlen else str(network)
