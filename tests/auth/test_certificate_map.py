"""Whose a name is."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.auth.certificate_map import CertificateMap, comparable, principal_of_certificate
from llmgw.config.client_cert import CertificateHolder
from llmgw.core.principal import Principal


def found(identity: Any, name: str, *patterns: str) -> str | None:
    entries = {pattern: CertificateHolder(tenant="acme") for pattern in patterns}
    entry = CertificateMap(identity, entries).find(name)
    return entry[0] if entry is not None else None


def test_the_most_specific_entry_decides_whatever_their_order() -> None:
    patterns = ["spiffe://a/*", "*", "spiffe://a/acme/*", "spiffe://a/acme/web", "spiffe://a/acme/*/x"]
    for order in (patterns, patterns[::-1]):
        assert found("san_uri", "spiffe://a/acme/web", *order) == "spiffe://a/acme/web"
        assert found("san_uri", "spiffe://a/acme/batch", *order) == "spiffe://a/acme/*"
        assert found("san_uri", "spiffe://a/acme/b/x", *order) == "spiffe://a/acme/*/x"
        assert found("san_uri", "spiffe://a/other", *order) == "spiffe://a/*"
        assert found("san_uri", "spiffe://b/other", *order) == "*"


@pytest.mark.parametrize(
    ("identity", "name", "pattern", "fits"),
    [
        ("san_uri", "spiffe://a/acme/x/y", "spiffe://a/acme/*", True),
        ("san_uri", "spiffe://a/acme/", "spiffe://a/acme/*", False),
        ("san_uri", "spiffe://a/acme", "spiffe://a/acme/*", False),
        ("san_uri", "spiffe://a/acmeX", "spiffe://a/acme", False),
        ("san_uri", "x-spiffe://a/acme", "spiffe://a/acme", False),
        ("san_uri", "spiffe://a/ACME/x", "spiffe://a/acme/*", False),
        ("san_uri", "spiffe://aXb/acme", "spiffe://a.b/acme", False),
        ("san_dns", "web.Acme.example.com", "*.acme.example.com", True),
        ("san_dns", "a.b.acme.example.com", "*.acme.example.com", True),
        ("san_dns", "acme.example.com", "*.acme.example.com", False),
        ("san_dns", "evilacme.example.com", "*.acme.example.com", False),
        ("san_dns", "*.acme.example.com", "*.acme.example.com", False),
        ("san_email", "web@Example.com", "*@example.com", True),
        ("san_email", "web@example.com.evil", "*@example.com", False),
        ("san_email", "Web@example.com", "web@example.com", False),
    ],
)
def test_patterns(identity: Any, name: str, pattern: str, fits: bool) -> None:
    assert (found(identity, name, pattern) is not None) is fits


@pytest.mark.parametrize(
    "name",
    [
        "",
        "spiffe://a/acme/../rival",
        "spiffe://a/acme/./x",
        "spiffe://a/acme/..",
        "spiffe://a/acme/%2e%2E/rival",
        "spiffe://a/acme/*",
        "spiffe://a/acme/x y",
        "spiffe://a/acme/x\0",
        "spiffe://a/acme/x\n",
        "spiffe://a/acme/é",
        "spiffe://a/acme/" + "x" * 256,
    ],
)
def test_c09_what_names_nobody(name: str) -> None:
    assert comparable("san_uri", name) is None
    assert found("san_uri", name, "*", "spiffe://a/acme/*") is None


def test_an_address_has_two_parts() -> None:
    assert comparable("san_email", "example.com") is None
    assert comparable("san_email", "@example.com") is None


def test_who_that_is() -> None:
    holder = CertificateHolder(tenant="acme", user="web", allow_models=("gpt-*",))

    assert principal_of_certificate("a", holder) == Principal("acme", "web", "cert:a", ("gpt-*",))
