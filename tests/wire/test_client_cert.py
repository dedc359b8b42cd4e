"""Certificates as proxies tell of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.wire.client_cert import NotTold, parse_client_cert, parse_forwarded_cert

HASH = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"


def test_a_byte_sequence() -> None:
    assert parse_client_cert(b":AAEC:") == b"\0\1\2"
    assert parse_client_cert(b":AAE=:") == b"\0\1"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"::",
        b"AAEC",
        b":AAEC",
        b":AAEC:;a=1",
        b":AAEC:, :AAEC:",
        b" :AAEC:",
        b":AA EC:",
        b":AAE:",
        b":AA-_:",
        b":AAEC::",
        b":" + b"A" * 20_000 + b":",
        b"-----BEGIN CERTIFICATE-----",
    ],
)
def test_c08_what_is_no_single_byte_sequence(value: bytes) -> None:
    with pytest.raises(NotTold):
        parse_client_cert(value)


def test_envoys_own_example() -> None:
    """From its documentation, with what is repeated and quoted: a subject has RFC 4514's escapes in it."""
    value = (
        f"By=http://frontend.lyft.com;Hash={HASH};"
        'Subject="/C=US/ST=CA/L=San Francisco/OU=Lyft/CN=Test \\"Client\\"\\, Inc.";URI=http://testclient.lyft.com;'
        "DNS=lyft.com;DNS=www.lyft.com"
    )

    found = parse_forwarded_cert(value.encode())

    assert found[b"uri"] == [b"http://testclient.lyft.com"]
    assert found[b"dns"] == [b"lyft.com", b"www.lyft.com"]
    assert found[b"subject"] == [b'/C=US/ST=CA/L=San Francisco/OU=Lyft/CN=Test "Client"\\, Inc.']


def test_the_nearest_proxys_element_is_on_the_right() -> None:
    value = f"By=a;Hash={HASH};URI=left,by=b;HASH={HASH};uri=right, By=c;Hash={HASH};URI="

    assert parse_forwarded_cert(value.encode())[b"uri"] == [b""]
    assert parse_forwarded_cert(value.rpartition(",")[0].encode())[b"uri"] == [b"right"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "junk",
        f"Hash={HASH};",
        f"Hash={HASH},",
        f",Hash={HASH}",
        f"Hash={HASH};;URI=a",
        f"Hash={HASH};URI",
        f"Hash={HASH};Colour=red",
        f"Hash={HASH};Hash={HASH}",
        f"Hash={HASH};Subject=a;Subject=b",
        f'Hash={HASH};URI="a',
        f'Hash={HASH};URI="a"b',
        f'Hash={HASH};URI=a"b"',
        f"Hash={HASH[:-1]};URI=a",
        "URI=a",
        f"URI=a,By=b;Hash={HASH}",
        f"Hash={HASH};URI=a\x00",
        f'Hash={HASH};URI="a\\"',
        ",".join([f"Hash={HASH}"] * 33),
        f"Hash={HASH};URI={'a' * 20_000}",
    ],
)
def test_c08_what_is_not_envoys(value: str) -> None:
    """One element that cannot be read spoils all of them."""
    with pytest.raises(NotTold):
        parse_forwarded_cert(value.encode("latin-1"))


@given(st.binary(max_size=200) | st.text('=;,"\\ByHashURIab0', max_size=200).map(str.encode))
def test_whatever_comes_is_read_or_refused(value: bytes) -> None:
    for parse in (parse_client_cert, parse_forwarded_cert):
        with contextlib.suppress(NotTold):
            parse(value)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30), min_size=1))
def test_what_is_quoted_comes_back(names: list[str]) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    value = f"Hash={HASH};" + ";".join(f"URI={quoted(name)}" for name in names)
    if len(value) <= 16_384:
        assert parse_forwarded_cert(value.encode())[b"uri"] == [name.encode() for name in names]
