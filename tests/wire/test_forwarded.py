from __future__ import annotations

from ipaddress import ip_network

import pytest

from llmgw.wire.forwarded import client_address, is_in, parse_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.1", None, "198.51.100.1"),
        ("198.51.100.1", b"203.0.113.7", "198.51.100.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", b"1.2.3.4, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", b"203.0.113.7, 10.9.9.9", "203.0.113.7"),
        ("10.0.0.1", b"10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", b"not an address", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.7, garbage, 10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", b"spoof, 203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", b"1.2.3.4, 203.0.113.7,", "10.0.0.1"),
        ("10.0.0.1", b"10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("fd00::1", b"2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", b"[2001:db8::7]:443", "2001:db8::7"),
        ("nonsense", None, None),
    ],
)
def test_c05_the_word_of_a_trusted_proxy_counts(
    peer: str, forwarded: bytes | None, expected: str | None
) -> None:
    """Read from the right, and only while the neighbour is trusted."""
    address = client_address(peer, forwarded, PROXIES)

    assert (None if address is None else str(address)) == expected


def test_c05_a_long_chain_is_read_to_a_bound() -> None:
    """A header of thousands of hops costs no more than a few."""
    assert str(client_address("10.0.0.1", b"10.1.1.1," * 5000 + b"10.2.2.2", PROXIES)) == "10.1.1.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4:80", "1.2.3.4"),
        ("[::1]:80", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_spellings_of_an_address(text: str, expected: str) -> None:
    assert str(parse_address(text)) == expected


def test_families_are_apart() -> None:
    """An IPv6 address is in no IPv4 network."""
    address = parse_address("::1")
    assert address is not None

    assert not is_in(address, [ip_network("0.0.0.0/0")])
