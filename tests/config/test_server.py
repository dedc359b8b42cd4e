"""Listeners, and what they tolerate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.server import Address, parse_address

Refusals = Callable[..., list[str]]
ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080), True),
        ("0.0.0.0:80", Address("0.0.0.0", 80), False),
        ("[::1]:0", Address("::1", 0), True),
        ("[::]:443", Address("::", 443), False),
        ("localhost:1", Address("localhost", 1), True),
        ("gateway.example.com:1", Address("gateway.example.com", 1), False),
    ],
)
def test_addresses(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.loopback is loopback


@pytest.mark.parametrize(
    "value", [8080, "8080", ":8080", "::1:8080", "host", "http://x:1", "x:99999", "*:80", None]
)
def test_not_addresses(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be host:port|larger than 65535|write 0\.0\.0\.0:80"):
        parse_address(value)


@pytest.mark.parametrize(
    ("server", "refusal"),
    [
        ("admin_listen: 0.0.0.0:8081", "server.admin_listen: 0.0.0.0:8081 is not a loopback address"),
        ("admin_listen: 127.0.0.1:8080", "server.admin_listen: is the same as listen"),
        ("workers: 65", "server.workers: input should be less than or equal to 64"),
        ("workers: 0", "server.workers: input should be greater than or equal to 1"),
        ("trusted_proxies: [10.0.0.1/8]", "server.trusted_proxies[0]: not a network such as 10.0.0.0/8"),
        ("tls: {cert: c.pem}", "server.tls.cert: cert needs key"),
        ("tls: {key: k.pem}", "server.tls.key: key needs cert"),
        ("tls: {client_ca: ca.pem}", "server.tls.client_ca: asks nobody while client_auth is none"),
        ("front_door: {max_body: 32}", "server.front_door.max_body: 32 needs a unit"),
        ("front_door: {body_timeout: 0s}", 'body_timeout: "0s" must be more than zero'),
    ],
)
def test_refused(server: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"{ECHO}server: {{{server}}}")

    assert any(refusal in line for line in found), found


@pytest.mark.parametrize(
    ("rows", "warned"),
    [
        ("server: {listen: '0.0.0.0:80'}", True),
        ("server: {listen: 'gateway.example.com:80'}", True),
        ("server: {listen: '127.0.0.1:80'}", False),
        ("server: {listen: '0.0.0.0:80', trusted_proxies: [10.0.0.0/8]}", False),
        ("server: {listen: '0.0.0.0:80'}\nlimits: {per_ip: off}", False),
        ("server: {listen: '0.0.0.0:80'}\nlimits: {per_ip: {apply_to: unauthenticated}}", False),
        ("server: {listen: '0.0.0.0:80'}\nlimits: {per_ip: [{requests: 9}]}", True),
    ],
)
def test_everybody_behind_one_address(rows: str, warned: bool) -> None:
    """Beyond loopback, a proxy that is not trusted makes all its clients one to `per_ip`."""
    found = [str(warning) for warning in document_from_text(ECHO + rows, path=Path("f.yaml")).warnings]

    assert len(found) == warned
    assert all(line.startswith("f.yaml:3 server.listen: limits.per_ip") for line in found)
    assert all("set server.trusted_proxies, or apply_to: unauthenticated" in line for line in found)


def test_system_chosen_ports_may_be_equal() -> None:
    """Port 0 twice is two ports."""
    server = document_from_text(ECHO + "server: {listen: '127.0.0.1:0', admin_listen: '127.0.0.1:0'}").server

    assert server.listen.port == server.admin_listen.port == 0


def test_absent_client_certificates_are_no_problem() -> None:
    """`null` means absent, also for what this version does not have."""
    assert document_from_text(ECHO + "server: {tls: {client_ca: null}}\nstorage: {redis: null}")


def test_quantities_are_shown_with_units() -> None:
    shown = document_from_text(ECHO).server.model_dump(mode="json")

    assert shown["drain_timeout"] == "5m"
    assert shown["front_door"]["max_body"] == "32MiB"
    assert shown["listen"] == "127.0.0.1:8080"
