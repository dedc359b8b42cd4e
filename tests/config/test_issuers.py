"""Issuers of tokens, as an operator writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmgw.config.diff import changes
from llmgw.config.issuers import claim_path, unfit
from llmgw.config.load import document_from_text
from llmgw.config.problems import ConfigError
from llmgw.config.resolve import resolve_secrets
from llmgw.secrets.env import EnvSource

Refusals = Callable[..., list[str]]

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"
TENANTS = "tenants: {acme: {}, rival: {}}\n"
GOOD = {"issuer": "https://login.example.com/", "audience": "llmgw", "tenant": "acme"}


def text(*issuers: dict[str, Any], more: str = "") -> str:
    rows = "".join(f"  - {json.dumps(issuer)}\n" for issuer in issuers)
    return f"{ECHO}{TENANTS}auth:\n jwt:\n{rows}{more}"


def said(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **more}.items() if value is not None}


def test_what_is_unset_is_safe() -> None:
    """Asymmetric signatures alone, a minute between clocks, and keys where the issuer says."""
    (issuer,) = document_from_text(text(GOOD)).auth.jwt

    assert issuer.algorithms == ("RS256",)
    assert (issuer.leeway, issuer.refresh, issuer.stale_grace) == (60, 600, 86400)
    assert issuer.audience == ("llmgw",)
    assert issuer.keys_url == "https://login.example.com/.well-known/openid-configuration"
    assert issuer.claims.user == "sub"


@pytest.mark.parametrize(
    "more",
    [
        {"audience": ["a", "api://b"]},
        {"algorithms": ["ES256", "EdDSA", "PS512"]},
        {"jwks_url": "https://b2c.example.com/keys?p=b2c_1"},
        {"issuer": "keycloak", "jwks_url": "https://login.example.com/keys"},
        {"issuer": "me", "algorithms": ["HS256"], "secret": "s" * 32},
        {"issuer": "http://127.0.0.1:9000", "allow_private": True},
        {"tenant": None, "claims": {"tenant": "https://example.com/org", "user": r"a\.b.c"}},
        {"tenant": None, "claims": {"tenant": "org"}, "tenants": ["acme"]},
        {"required": {"hd": "acme.test"}, "required_scopes": ["llm:use"], "typ": "at+jwt"},
        {"ca": "ca.pem", "proxy": "http://proxy:3128"},
    ],
)
def test_what_can_be_said(more: dict[str, Any]) -> None:
    assert document_from_text(text(said(**more)))


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"audience": None}, "auth.jwt[0].audience: is required"),
        ({"audience": []}, "auth.jwt[0].audience: must hold at least one"),
        ({"issuer": None}, "auth.jwt[0].issuer: is required"),
        ({"issuer": "keycloak"}, "auth.jwt[0].issuer: is no URL that tells where its keys are; set jwks_url"),
        ({"issuer": "http://login.example.com"}, "auth.jwt[0].issuer: must begin with https://"),
        ({"issuer": "https://10.0.0.1/"}, "10.0.0.1 is not a public host; add allow_private: true"),
        ({"jwks_url": "http://login.example.com/k"}, "auth.jwt[0].jwks_url: must begin with https://"),
        ({"jwks_url": "https://2130706433/k"}, "auth.jwt[0].jwks_url: 2130706433 is not a public host"),
        ({"jwks_url": "file:///etc/passwd"}, "a URL begins with http:// or https://, not file://"),
        ({"jwks_url": "https://u:p@x.example.com/"}, "a URL carries no user name and no password"),
        ({"jwks_url": "https://x.example.com/#a"}, "must be a URL such as"),
        ({"algorithms": []}, "auth.jwt[0].algorithms: must hold at least one"),
        ({"algorithms": ["none"]}, "auth.jwt[0].algorithms[0]: must be 'RS256'"),
        ({"algorithms": ["HS256"]}, "auth.jwt[0].secret: is needed for HS256"),
        ({"algorithms": ["HS256", "RS256"], "secret": "s" * 32}, "auth.jwt[0].algorithms: mixes HS256"),
        ({"secret": "s" * 32}, "auth.jwt[0].secret: proves nothing signed with RS256"),
        (
            {"algorithms": ["HS256"], "secret": "s" * 32, "jwks_url": "https://x.example.com/k"},
            "auth.jwt[0].jwks_url: has no keys for HS256; the secret proves",
        ),
        ({"tenant": None}, "auth.jwt[0]: says no tenant: set tenant, or claims.tenant"),
        ({"claims": {"tenant": "org"}}, "auth.jwt[0].tenant: is said by claims.tenant too; keep one"),
        ({"tenants": ["acme"]}, "auth.jwt[0].tenants: is for claims.tenant, and that is not set"),
        ({"tenant": "acm"}, 'auth.jwt[0].tenant: no tenant named "acm"; did you mean "acme"?'),
        (
            {"tenant": None, "claims": {"tenant": "o"}, "tenants": ["rivel"]},
            'auth.jwt[0].tenants[0]: no tenant named "rivel"; did you mean "rival"?',
        ),
        ({"leeway": "1h"}, "auth.jwt[0].leeway: is more than 10m"),
        ({"claims": {"users": "x"}}, 'auth.jwt[0].claims.users: unknown key; did you mean "user"?'),
        ({"claims": {"user": "a..b"}}, "auth.jwt[0].claims.user: must be a claim's name"),
        ({"required_scopes": ["a b"]}, "auth.jwt[0].required_scopes[0]: holds characters"),
        ({"jwks_uri": "https://x"}, 'auth.jwt[0].jwks_uri: unknown key; did you mean "jwks_url"?'),
        ({"issuer": "https://x.example.com/${env:A}"}, "references are read in"),
    ],
)
def test_what_cannot(more: dict[str, Any], refusal: str, refusals: Refusals) -> None:
    found = refusals(text(said(**more)))

    assert any(refusal in line for line in found), found


def test_an_issuer_is_there_once(refusals: Refusals) -> None:
    found = refusals(text(GOOD, said(audience="b")))

    assert found == [
        "f.yaml:5 auth.jwt: https://login.example.com/ is there twice; list its audiences in one"
    ]


def test_issuers_that_may_name_each_others_tenants_are_told_of() -> None:
    """With several, one customer's issuer could let its people in as another's."""
    free = said(issuer="https://a.example.com", tenant=None, claims={"tenant": "org"})
    document = document_from_text(text(GOOD, free, said(issuer="https://b.example.com")))

    assert [warning.path for warning in document.warnings] == ["auth.jwt[1]"]
    assert document.warnings[0].reason.endswith("set tenants")
    assert not document_from_text(text(free)).warnings


def test_claims_that_no_request_can_have_are_told_of() -> None:
    route = "routes: [{name: r, match: {claim: {sub: x}}}]\n"

    (warning,) = document_from_text(f"{ECHO}{route}").warnings
    assert str(warning).endswith(
        "routes[0].match.claim: no request has claims, since auth.jwt names no issuer"
    )
    assert not document_from_text(text(GOOD, more=route)).warnings


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("org", ("org",)),
        ("a.b.c", ("a", "b", "c")),
        (r"a\.b.c", ("a.b", "c")),
        ("https://example.com/org.unit", ("https://example.com/org.unit",)),
    ],
)
def test_a_claims_name_is_a_path(name: str, path: tuple[str, ...]) -> None:
    assert claim_path(name) == path


def test_a_secret_that_can_be_guessed_is_refused_by_length() -> None:
    assert unfit(["HS256"], "s" * 32) is None
    assert unfit(["HS256", "HS512"], "s" * 63) == "is shorter than the 64 bytes that HS512 needs"

    hs = said(issuer="me", algorithms=["HS384"], secret="${env:S}")
    document = document_from_text(text(hs))
    with pytest.raises(ConfigError, match=r"auth\.jwt\[0\]\.secret: is shorter than the 48 bytes"):
        resolve_secrets(document, [EnvSource({"S": "s" * 47})])
    (issuer,) = resolve_secrets(document, [EnvSource({"S": "a secret of words " * 3})]).auth.jwt
    assert "secret of" not in repr(issuer)


@pytest.mark.parametrize("secret", ["-----BEGIN PUBLIC KEY-----", '{"kty": "RSA"}', "ssh-rsa AAAA"])
def test_d05_what_everybody_may_know_is_no_secret(secret: str) -> None:
    assert "whose public part anybody may have" in str(unfit(["HS256"], secret * 3))


def test_a_change_of_an_issuer_concerns_its_tokens() -> None:
    before = document_from_text(text(GOOD)).model_dump(mode="json")
    other = said(issuer="https://b.example.com")
    after = document_from_text(text(other, said(leeway="5s"))).model_dump(mode="json")

    assert {change.path: change.affects for change in changes(before, after)} == {
        'auth.jwt."https://b.example.com"': "whoever comes with a token of https://b.example.com",
        'auth.jwt."https://login.example.com/".leeway': (
            "whoever comes with a token of https://login.example.com/"
        ),
    }


ASKED = {"url": "https://login.example.com/introspect", "client_id": "gw", "client_secret": "${env:S}"}


def introspection(**more: Any) -> str:
    return f"{ECHO}{TENANTS}auth: {{introspection: {json.dumps(ASKED | more)}}}\n"


def test_a_service_that_is_asked_about_tokens() -> None:
    document = document_from_text(introspection(tenant="acme"))
    assert document.auth.introspection is not None
    assert document.auth.introspection.ttl == 60

    resolved = resolve_secrets(document, [EnvSource({"S": "s3cret"})]).auth.introspection
    assert resolved is not None
    assert resolved.client_secret.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{resolved!r}{resolved.model_dump_json()}"


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({}, "auth.introspection: says no tenant"),
        ({"tenant": "acm"}, 'auth.introspection.tenant: no tenant named "acm"; did you mean "acme"?'),
        (
            {"tenant": "acme", "url": "http://x.example.com"},
            "auth.introspection.url: must begin with https://",
        ),
        ({"tenant": "acme", "ttl": "1d"}, "auth.introspection.ttl: is more than 10m"),
        ({"tenant": "acme", "algorithms": ["RS256"]}, "auth.introspection.algorithms: unknown key"),
    ],
)
def test_what_cannot_be_asked(more: dict[str, Any], refusal: str, refusals: Refusals) -> None:
    found = refusals(introspection(**more))

    assert any(refusal in line for line in found), found


def test_without_pyjwt_a_document_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, refusals: Refusals
) -> None:
    monkeypatch.setattr("llmgw.config.issuers.find_spec", lambda name: None)

    assert refusals(text(GOOD)) == [
        "f.yaml:6 auth.jwt[0]: needs PyJWT and cryptography, which come with llmgw[jwt]"
    ]
