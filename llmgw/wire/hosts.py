"""Which hosts are the operator's own network, however they are spelled.

A URL in the configuration that names loopback, a private network or a cloud's metadata address
is refused unless its provider says `allow_private: true`. Resolvers accept many spellings of one
address (`127.1`, `0x7f000001`, `017700000001`, `[::ffff:127.0.0.1]`, full-width digits), so the
text is read the way `inet_aton` and IDNA would read it before it is judged.

The same judgement, `is_private_ip`, holds for the addresses a name resolves to.

Facts: IANA special-purpose address registries (RFC 6890 and its successors), RFC 6052 (NAT64),
RFC 3056 (6to4), RFC 6761, 6762 and 8375 (reserved names).
"""

from __future__ import annotations

import unicodedata
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

_PRIVATE_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PRIVATE_V6 = tuple(
    IPv6Network(text)
    for text in (
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # NAT64 for local use
        "100::/64",  # discard
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",  # documentation
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",  # site-local, deprecated and still routed by some
        "ff00::/8",
    )
)
_EMBEDS_V4 = (
    # network, and how far right of it the IPv4 address sits
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
_LOCAL_NAMES = frozenset({"localhost", "localdomain", "local", "internal", "home.arpa"})
_IDNA_DOTS = str.maketrans("。．｡", "...")
_DIGITS = {8: "01234567", 10: "0123456789", 16: "0123456789abcdef"}


def is_private_ip(ip: str | IPv4Address | IPv6Address) -> bool:
    """Whether an address is anything but a public one. A zone (`fe80::1%eth0`) is ignored.

    Raises ValueError when `ip` is text that is no address.
    """
    if isinstance(ip, str):
        ip = ip_address(ip.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return any(ip in network for network in _PRIVATE_V4)
    if any(ip in network for network in _PRIVATE_V6):
        return True
    for network, shift in _EMBEDS_V4:
        if ip in network:
            return is_private_ip(IPv4Address(int(ip) >> shift & 0xFFFFFFFF))
    return False


def is_private_host(host: str) -> bool:
    """Whether a host, as written in a URL, is not on the public internet.

    Judges the spelling alone and asks no resolver: addresses in every form, names reserved for
    local use, and names without a dot, which only a local resolver can know. What is neither
    a name nor an address counts as private.
    """
    host = unicodedata.normalize("NFKC", host).translate(_IDNA_DOTS).strip().lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if ":" in host:
        try:
            return is_private_ip(IPv6Address(host.partition("%")[0]))
        except AddressValueError:
            return True
    host = host.rstrip(".")
    if not host or "%" in host or not all(host.split(".")):
        return True
    address = _parse_ipv4(host)
    if address is not None:
        return is_private_ip(address)
    if host.rpartition(".")[2].isdigit():
        return True
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES)


def _parse_ipv4(host: str) -> IPv4Address | None:
    """The address that `inet_aton` reads: one to four parts, each decimal, octal or hex."""
    parts = host.split(".")
    numbers = [_parse_number(part) for part in parts]
    if len(parts) > 4 or None in numbers:
        return None
    value = 0
    for index, number in enumerate(numbers):
        assert number is not None
        last = index == len(numbers) - 1
        width = 8 * (4 - index) if last else 8
        if number >> width:
            return None
        value |= number << (0 if last else 8 * (3 - index))
    return IPv4Address(value)


def _parse_number(text: str) -> int | None:
    if text.startswith("0x"):
        base, digits = 16, text[2:] or "0"
    elif len(text) > 1 and text.startswith("0"):
        base, digits = 8, text[1:]
    else:
        base, digits = 10, text
    if not digits or len(digits) > 64 or any(digit not in _DIGITS[base] for digit in digits):
        return None
    return int(digits, base)
