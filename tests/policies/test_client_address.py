from __future__ import annotations

from ipaddress import ip_network

from llmgw.policies.client_address import ClientAddress
from tests.fakes.exchanges import exchange

LOOPBACK = [ip_network("127.0.0.0/8")]


def subject(address: ClientAddress, peer: str | None, forwarded: bytes | None = None) -> str | None:
    ex = exchange(fields={} if forwarded is None else {b"x-forwarded-for": forwarded})
    ex.peer = peer
    return address.subject(ex)


def test_exempt_addresses_are_nobody() -> None:
    """Loopback by default; a socket without an address likewise."""
    address = ClientAddress((), LOOPBACK)

    assert subject(address, "127.0.0.1") is None
    assert subject(address, None) is None
    assert subject(address, "198.51.100.1") == "198.51.100.1"


def test_c06_a_whole_ipv6_customer_is_one() -> None:
    """Single addresses of one /64 are free to anybody who has one of them."""
    address = ClientAddress((), ())

    assert (
        subject(address, "2001:db8::1") == subject(address, "2001:db8::ffff:2") == "2001:0db8:0000:0000::/64"
    )


def test_c04_forwarded_addresses_are_read_only_where_proxies_are_trusted() -> None:
    """Otherwise anybody could be anybody."""
    assert subject(ClientAddress((), ()), "127.0.0.1", b"198.51.100.9") == "127.0.0.1"
    assert subject(ClientAddress(LOOPBACK, LOOPBACK), "127.0.0.1", b"198.51.100.9") == "198.51.100.9"


def test_b13_what_is_remembered_is_bounded() -> None:
    """A flood of addresses does not fill the memory, and answers stay right."""
    address = ClientAddress(LOOPBACK, ())
    for number in range(20_000):
        forwarded = f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        assert subject(address, "127.0.0.1", forwarded.encode()) == forwarded
