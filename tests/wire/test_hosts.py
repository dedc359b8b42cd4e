"""Private hosts are recognised in every spelling."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.wire.hosts import is_private_host, is_private_ip

PRIVATE = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0177.0.0.01",
    "00000177.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost..",
    "api.localhost",
    "api.localhost.",
    "localhost.localdomain",
    "ip6-localhost",
    "printer.local",
    "metadata.google.internal",
    "router.home.arpa",
    "vllm",
    "0.0.0.0",
    "0",
    "0x0",
    "10.0.0.7",
    "10.7",
    "167772167",
    "0xa.7",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "192.168.257",
    "0300.0250.1.1",
    "0xc0a80101",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "100.64.0.1",
    "100.127.255.255",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "[::1]",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "[::ffff:127.0.0.1]",
    "::ffff:7f00:1",
    "::ffff:0:7f00:1",
    "::127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:7::1",
    "2002:a9fe:a9fe::",
    "2001:0:1234::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "[fe80::1%25eth0]",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "１２７.０.０.１",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "%31%32%37.0.0.1",
    "",
    ".",
    "a..b",
    "256.256.256.256",
    "1.2.3.4.5",
    "127.0.0.09",
    ":::",
]

PUBLIC = [
    "api.openai.com",
    "API.OPENAI.COM.",
    "openrouter.ai",
    "8.8.8.8",
    "134744072",
    "0x08080808",
    "010.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "192.169.0.1",
    "2606:4700:4700::1111",
    "[2606:4700:4700::1111]",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "localhost.example.com",
    "notlocalhost.com",
    "127.0.0.1.nip.io",
    "10.example.com",
    "0x7f.example.com",
    "münchen.example",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_e02_private_spellings(host: str) -> None:
    """Whatever the spelling, what is not public is recognised without asking a resolver."""
    assert is_private_host(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_e02_public_spellings(host: str) -> None:
    """Public addresses and names pass, even those that look like private ones."""
    assert not is_private_host(host)


def test_table_is_large_enough() -> None:
    """At least 40 spellings are held."""
    assert len(set(PRIVATE)) >= 40


@pytest.mark.parametrize(
    ("address", "private"),
    [("127.0.0.1", True), ("1.1.1.1", False), ("fe80::1%eth0", True), ("2606:4700::1", False)],
)
def test_address_as_text(address: str, private: bool) -> None:
    """Text as resolvers return it is accepted."""
    assert is_private_ip(address) is private


def test_name_is_no_address() -> None:
    """A name is refused, so that a forgotten look-up cannot pass for a public address."""
    with pytest.raises(ValueError, match="does not appear"):
        is_private_ip("example.com")


@given(st.integers(0, 2**32 - 1))
def test_every_spelling_of_an_address_agrees(value: int) -> None:
    """Dotted, decimal, hex, octal and IPv4-mapped forms of one address are judged alike."""
    address = ipaddress.IPv4Address(value)
    spellings = [str(address), str(value), hex(value), f"0{value:o}", f"::ffff:{address}"]

    assert {is_private_host(spelling) for spelling in spellings} == {is_private_ip(address)}


@given(st.text(max_size=40))
def test_any_text_is_judged(host: str) -> None:
    """No spelling raises."""
    assert is_private_host(host) in (True, False)
