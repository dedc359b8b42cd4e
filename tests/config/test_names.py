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
    assert any("references are read in api_key and proxy only" in line for line in refusals(ECHO + row))


def test_other_dollar_signs_are_text() -> None:
    assert document_from_text(ECHO + "tenants: {a: {name: 'costs ${5}'}}").tenants["a"].name == "costs ${5}"
