"""Whose address a request came from, seen through the operator's own proxies.

`X-Forwarded-For` grows to the right, one proxy at a time, and whoever is on the left of the last
trusted proxy can have written anything. So it is read from the right, and only while the
neighbour is trusted. (RFC 7239 section 8.1 says the same of `Forwarded`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_HOPS = 32


def client_address(peer: str, forwarded_for: bytes | None, trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is not one of the operator's proxies; None when there is none.

    peer: the other end of the connection.
    forwarded_for: every `X-Forwarded-For` joined by commas, in order.
    trusted: networks of proxies whose word is taken.
    """
    address = parse_address(peer)
    if address is None or forwarded_for is None or not is_in(address, trusted):
        return address
    for hop in reversed(forwarded_for.split(b",")[-_MAX_HOPS:]):
        before = parse_address(hop.strip().decode("latin-1"))
        if before is None:
            break
        address = before
        if not is_in(address, trusted):
            break
    return address


def parse_address(text: str) -> Address | None:
    """An address, with or without a port or a zone; IPv4 inside IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks has the address."""
    return any(address in network for network in networks if network.version == address.version)
