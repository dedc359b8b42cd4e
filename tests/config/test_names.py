"""Names lead somewhere, and none means two things."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text

Refusals = Callable[..., list[str]]

HASH = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


@pytest.mark.parametrize(
    "text",
    [
        ECHO,
        ECHO + "tenants: {a: {}, b: {models: {m: {targets: [{provider: e, model: x}]}}}}",
        "version: 1\ntenants: {a: {providers: {e: {kind: echo}}}, b: {providers: {e: {kind: echo}}}}\n"
        "models: {m: {targets: [{provider: e, model: x}]}}",
        ECHO + "tenants: {public: {}}\nauth: {anonymous: {tenant: public}}",
        ECHO + "auth: {anonymous: {tenant: default}}",
        ECHO
        + "tenants: {a: {providers: {f: {kind: echo}}, models: {m: {targets: [{provider: f, model: x}]}},"
        " prices: {overrides: {f/x: {input: 1 USD/M, output: 1 USD/M}}}}}",
    ],
)
def test_names_that_lead_somewhere(text: str) -> None:
    assert document_from_text(text)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (
            ECHO + "models: {m: {targets: [{provider: f, model: x}]}}",
            'f.yaml:3 models.m.targets[0].provider: no provider named "f"',
        ),
        (
            ECHO + "tenants: {a: {models: {m: {targets: [{provider: eco, model: x}]}}}}",
            'tenants.a.models.m.targets[0].provider: no provider named "eco"',
        ),
        (
            "version: 1\nproviders: {e: {kind: echo}}\nmodels: {m: {targets: [{provider: own, model: x}]}}\n"
            "tenants: {a: {providers: {own: {kind: echo}}}, b: {}}",
            'no shared provider named "own", and tenant "b" has none',
        ),
        (
            ECHO + "tenants: {acme: {}}\nquotas: [{per: user, tenant: acmee, requests: 1, window: day}]",
            'f.yaml:4 quotas[0].tenant: no tenant named "acmee"; did you mean "acme"?',
        ),
        (
            ECHO + "quotas: [{per: user, tenant: defualt, requests: 1, window: day}]",
            'quotas[0].tenant: no tenant named "defualt"; did you mean "default"?',
        ),
        (ECHO + "auth: {anonymous: {tenant: publik}}", 'auth.anonymous.tenant: no tenant named "publik"'),
        (
            ECHO + "prices: {overrides: {eo/x: {input: 1 USD/M, output: 1 USD/M}}}",
            'no provider named "eo"',
        ),
        (
            ECHO + "prices: {overrides: {x: {input: 1 USD/M, output: 1 USD/M}}}",
            "a price is for provider/model",
        ),
        (
            "version: 1\nproviders: {a: {kind: echo}, b: {kind: echo}}",
            "2 providers and no models; add models:",
        ),
        (
            ECHO + "tenants: {a: {providers: {f: {kind: echo}}}}",
            'f.yaml:3 tenants.a: tenant "a" has 2 providers and no models',
        ),
        (
            "version: 1\ntenants: {a: {providers: {f: {kind: echo}}}, b: {}}",
            'tenants.b: tenant "b" has no provider and no models',
        ),
    ],
)
def test_names_that_lead_nowhere(text: str, refusal: str, refusals: Refusals) -> None:
    assert any(refusal in line for line in refusals(text)), refusals(text)


def test_l02_duplicate_key_ids(refusals: Refusals) -> None:
    """An id belongs to one tenant, and a key to one id; the first place is named."""
    text = (
        f"{ECHO}tenants:\n  a:\n    keys: [{{id: ci, hash: '{HASH}'}}]\n"
        f"  b:\n    keys:\n      - {{id: ci, hash: '{OTHER}'}}\n      - {{id: cd, hash: '{HASH}'}}\n"
    )

    assert refusals(text) == [
        "f.yaml:8 tenants.b.keys[0].id: id ci is used twice; first at f.yaml:5",
        f"f.yaml:9 tenants.b.keys[1].hash: hash {HASH} is used twice; first at f.yaml:5",
    ]


def test_duplicate_hosts(refusals: Refusals) -> None:
    """However they are spelled."""
    text = f"{ECHO}tenants:\n  a: {{hosts: [a.example.com]}}\n  b: {{hosts: [A.example.com.]}}\n"

    assert refusals(text) == [
        "f.yaml:5 tenants.b.hosts[0]: host a.example.com is used twice; first at f.yaml:4"
    ]


@pytest.mark.parametrize(
    "row",
    [
        "tenants: {a: {name: '${env:NAME}'}}",
        "include: ['${file:x}']",
        "tenants: {a: {hosts: ['${vault:x}']}}",
    ],
)
def test_references_outside_secrets(row: str, refusals: Refusals) -> None:
    """They would be taken for plain text."""
    assert any(
        "references are read in api_key, proxy and webhook only" in line for line in refusals(ECHO + row)
    )


def test_other_dollar_signs_are_text() -> None:
    assert document_from_text(ECHO + "tenants: {a: {name: 'costs ${5}'}}").tenants["a"].name == "costs ${5}"


SELECTED = "quotas: [{per: key, requests: 1, window: day, tenant: acme, %s}]"
ACME = f"tenants: {{acme: {{users: {{alice: {{}}}}, keys: [{{id: ci, user: bot, hash: '{HASH}'}}]}}}}\n"


@pytest.mark.parametrize("selector", ["user: alice", "user: bot", "key: ci"])
def test_a_quota_for_a_listed_subject(selector: str) -> None:
    """A user is listed under `users`, or as somebody's whose key is declared."""
    assert document_from_text(ECHO + ACME + SELECTED % selector).warnings == ()


@pytest.mark.parametrize(
    ("selector", "warning"),
    [
        (
            "user: alcie",
            'quotas[0].user: tenant "acme" lists no user "alcie"; fine if another source knows it',
        ),
        ("key: c2", 'quotas[0].key: tenant "acme" lists no key "c2"'),
        ("user: alcie", 'did you mean "alice"?'),
    ],
)
def test_a_quota_for_somebody_unlisted(selector: str, warning: str) -> None:
    """Users come from credentials and keys from the database too: it may be right."""
    (found,) = document_from_text(ECHO + ACME + SELECTED % selector).warnings

    assert warning in str(found)


def test_a_quota_for_a_user_of_the_only_tenant() -> None:
    text = "quotas: [{per: user, requests: 1, window: day, tenant: default, user: alice}]"

    (found,) = document_from_text(ECHO + text).warnings

    assert 'tenant "default" lists no user "alice"' in str(found)
