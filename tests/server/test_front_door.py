from __future__ import annotations

from ipaddress import ip_network

import pytest

from llmgw.server.front_door import (
    IDENTITY_FIELDS,
    WATCHED_FIELDS,
    alias_problem,
    connection_problem,
    framing_problem,
    holder_of,
    is_host,
    is_trusted,
    target_problem,
)


@pytest.mark.parametrize(
    "host", [b"a", b"a.test", b"a.test.", b"A.TEST:80", b"a:", b"llm_gateway:8080", b"10.0.0.1", b"[::1]:80"]
)
def test_a06_hosts(host: bytes) -> None:
    assert is_host(host)
    assert framing_problem({b"host": host}, "1.1") is None


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a,b", b"a, a", b"u@a", b"a/b", b"a:99999", b"[::1", b"::1", b"[a]", b"a..b", b".a"],
)
def test_a06_c01_what_is_no_host(host: bytes) -> None:
    assert not is_host(host)
    assert framing_problem({b"host": host}, "1.1") is not None


@pytest.mark.parametrize(
    ("fields", "version", "fine"),
    [
        ({}, "1.1", False),
        ({}, "1.0", True),
        ({b"host": b"a"}, "0.9", False),
        ({b"host": b"a"}, "2.0", False),
        ({b"host": b"a", b"transfer-encoding": b"Chunked"}, "1.1", True),
        ({b"host": b"a", b"transfer-encoding": b"chunked"}, "1.0", False),
        ({b"host": b"a", b"transfer-encoding": b"gzip, chunked"}, "1.1", False),
        ({b"host": b"a", b"transfer-encoding": b"chunked", b"content-length": b"1"}, "1.1", False),
    ],
)
def test_a01_a03_framing(fields: dict[bytes, bytes], version: str, fine: bool) -> None:
    assert (framing_problem(fields, version) is None) is fine


@pytest.mark.parametrize(
    ("method", "target", "fine"),
    [
        (b"GET", b"/", True),
        (b"GET", b"//x?y", True),
        (b"GET", b"/x#y", False),
        (b"OPTIONS", b"*", True),
        (b"GET", b"*", False),
        (b"GET", b"http://a.test/x", True),
        (b"GET", b"http://A.TEST", True),
        (b"GET", b"http://b.test/x", False),
        (b"GET", b"http://a.test:80/x", False),
        (b"GET", b"http://u@a.test/x", False),
        (b"GET", b"ftp://a.test/x", False),
        (b"GET", b"a.test:80", False),
        (b"CONNECT", b"/", False),
        (b"CONNECT", b"a.test:80", False),
    ],
)
def test_a07_targets(method: bytes, target: bytes, fine: bool) -> None:
    """A URL must name the host that `Host` names."""
    assert (target_problem(method, target, b"a.test") is None) is fine


def test_c06_connections_are_counted_by_the_network_of_a_customer() -> None:
    assert holder_of("203.0.113.9") == "203.0.113.9"
    assert holder_of("::ffff:203.0.113.9") == "203.0.113.9"
    assert holder_of("::1") == "::1"
    assert (
        holder_of("2001:db8:1:2::3") == holder_of("2001:db8:1:2:ffff::9%eth0") == "2001:0db8:0001:0002::/64"
    )
    assert holder_of("2001:db8:1:3::3") != holder_of("2001:db8:1:2::3")


def test_trusted_proxies() -> None:
    networks = (ip_network("10.0.0.0/8"),)

    assert is_trusted("10.1.2.3", networks)
    assert is_trusted("::ffff:10.1.2.3", networks)
    assert not is_trusted("11.1.2.3", networks)
    assert not is_trusted("10.1.2.3", ())
    assert not is_trusted(None, networks)
    assert not is_trusted("no address", networks)


@pytest.mark.parametrize(
    "name", [b"x_user", b"x.user", b"x_forwarded_client_cert", b"x-forwarded_for", b"client.cert"]
)
def test_c08_other_spellings_of_identity_are_refused(name: bytes) -> None:
    assert alias_problem([b"host", name]) is not None


def test_c08_what_proxies_write_is_no_other_spelling() -> None:
    assert alias_problem([*IDENTITY_FIELDS, b"x-team", b"x_team"]) is None
    assert IDENTITY_FIELDS < WATCHED_FIELDS


@pytest.mark.parametrize(
    "value",
    [b"Authorization", b"close, X-Api-Key", b"idempotency-key", b"keep-alive ,\tHOST", b"x-forwarded-for"],
)
def test_c07_fields_that_decide_cannot_be_named_in_connection(value: bytes) -> None:
    assert connection_problem(value) is not None


@pytest.mark.parametrize("value", [b"keep-alive", b"", b"upgrade, HTTP2-Settings", b"x-request-id, te"])
def test_c07_other_fields_can(value: bytes) -> None:
    assert connection_problem(value) is None
