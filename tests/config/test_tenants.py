"""Tenants, and the keys they declare."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.tenants import TenantSettings

Refusals = Callable[..., list[str]]
HASH = "sha256:" + "ab" * 32


def tenant(text: str) -> TenantSettings:
    document = document_from_text(
        f"version: 1\nproviders: {{e: {{kind: echo}}}}\ntenants: {{a: {{{text}}}}}\n"
    )
    return document.tenants["a"]


def test_everything_a_tenant_has() -> None:
    shouted = HASH.upper().replace("SHA", "sha")
    found = tenant(
        "name: Acme, hosts: [ACME.example.com.], allow_models: [gpt-4o, 'claude-*'],"
        " deny_models: ['*-preview'], users: {alice@acme.test: {}},"
        f" keys: [{{id: ci, user: bot, hash: '{shouted}', allow_models: [echo], labels: {{team: platform}}}}]"
    )

    assert found.hosts == ("acme.example.com",)
    assert found.allow_models == ("gpt-4o", "claude-*")
    assert found.keys[0].hash == HASH
    assert found.keys[0].labels == {"team": "platform"}
    assert found.keys[0].expires is None


def test_absent_and_empty_allow_models_differ() -> None:
    """Absent is every shared model, empty is none."""
    assert tenant("name: x").allow_models is None
    assert tenant("allow_models: []").allow_models == ()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T12:00:00Z", datetime(2027, 1, 1, 12, tzinfo=UTC)),
        ("2027-01-01 12:00", datetime(2027, 1, 1, 12, tzinfo=UTC)),
        ("2027-01-01T12:00:00+02:00", datetime(2027, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_expiry(text: str, moment: datetime) -> None:
    """Dates need no quotes, and are UTC unless they say otherwise."""
    assert tenant(f"keys: [{{id: k, hash: '{HASH}', expires: {text}}}]").keys[0].expires == moment


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("keys: [{id: k}]", "tenants.a.keys[0].hash: is required"),
        (f"keys: [{{hash: '{HASH}'}}]", "tenants.a.keys[0].id: is required"),
        ("keys: [{id: k, hash: 'sha256:12'}]", "hash: must be sha256: and 64 hexadecimal digits"),
        (f"keys: [{{id: k, hash: '{HASH[7:]}'}}]", "hash: must be sha256: and 64 hexadecimal digits"),
        (f"keys: [{{id: 'a b', hash: '{HASH}'}}]", "keys[0].id: holds characters"),
        (f"keys: [{{id: k, hash: '{HASH}', expires: soon}}]", '"soon" is not a date'),
        (f"keys: [{{id: k, hash: '{HASH}', expires: 2027}}]", "must be a date such as"),
        (f"keys: [{{id: k, hash: '{HASH}', expires: 2027-13-01}}]", "is not a date"),
        ("hosts: ['*.example.com']", "tenants.a.hosts[0]: must be a host name"),
        ("hosts: ['http://example.com']", "tenants.a.hosts[0]: must be a host name"),
        ("hosts: ['example.com:80']", "tenants.a.hosts[0]: must be a host name"),
        ("allow_models: ['a b']", "tenants.a.allow_models[0]: holds characters"),
        ("allow_models: gpt-4o", "tenants.a.allow_models: must be a list"),
    ],
)
def test_refused(text: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"version: 1\nproviders: {{e: {{kind: echo}}}}\ntenants: {{a: {{{text}}}}}\n")

    assert any(refusal in line for line in found), found
