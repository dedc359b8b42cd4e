"""Which keys of a published set are used, and for what."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from llmgw.auth.key_set import parse_key_set
from tests.fakes.issuer import private_key, public_jwk

GOOD = public_jwk("one")


def weak() -> dict[str, Any]:
    short = rsa.generate_private_key(65537, 1024).public_key()
    return {**RSAAlgorithm.to_jwk(short, as_dict=True), "kid": "weak"}


LEFT_OUT = [
    None,
    "text",
    {},
    {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "two"},
    {"kty": "RSA", "kid": "two"},
    {"kty": "RSA", "n": "!!", "e": "AQAB"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
    {"kty": ["RSA"], "n": "AQAB", "e": "AQAB"},
    {**GOOD, "use": "enc"},
    {**GOOD, "key_ops": ["encrypt"]},
    {**GOOD, "key_ops": 5},
    {**GOOD, "alg": "HS256"},
    {**GOOD, "alg": "none"},
    {**GOOD, "alg": ["RS256"]},
    {**GOOD, "kid": 7},
]


@pytest.mark.parametrize("bad", [*LEFT_OUT, weak()], ids=lambda bad: type(bad).__name__)
def test_d10_a_bad_key_beside_a_good_one_is_left_out(bad: object) -> None:
    """Whatever it is, the good one works; a secret in a set is never a key."""
    found = parse_key_set({"keys": [bad, GOOD]})

    assert [key.kid for key in found.keys] == ["one"]
    assert found.left_out == 1


@pytest.mark.parametrize(
    "document", [{}, {"keys": {}}, {"keys": []}, {"keys": [{}]}, {"keys": [GOOD] * 101}, {"keys": None}]
)
def test_what_is_no_set_of_keys(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it has"):
        parse_key_set(document)


@pytest.mark.parametrize("kind", ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_proves_what_its_type_can_and_nothing_else(kind: str) -> None:
    keys = parse_key_set({"keys": [public_jwk("k", kind)]})

    every = {"RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "none"}
    fits = {one for one in every if keys.find("k", one) is not None}
    assert fits == ({"RS256", "PS512"} if kind[0] in "RP" else {kind})


def test_d07_a_kid_is_compared_and_nothing_else_is_done_with_it() -> None:
    keys = parse_key_set({"keys": [GOOD, public_jwk("two")]})

    for kid in ("../../dev/null", "one'--", "", "ONE", "x" * 100, None):
        assert keys.find(kid, "RS256") is None
    assert keys.find("two", "RS256") is keys.keys[1]


def test_without_a_kid_the_only_key_is_meant() -> None:
    keys = parse_key_set({"keys": [GOOD, public_jwk("two", "ES256")]})

    assert keys.find(None, "RS256") is keys.keys[0]


def test_two_keys_under_one_kid_are_no_key() -> None:
    keys = parse_key_set({"keys": [GOOD, {**public_jwk("two"), "kid": "one"}]})

    assert keys.find("one", "RS256") is None


def test_a_private_key_that_was_published_is_read_as_its_public_part() -> None:
    whole = {**RSAAlgorithm.to_jwk(private_key("one"), as_dict=True), "kid": "one", "key_ops": ["verify"]}
    (key,) = parse_key_set({"keys": [whole]}).keys

    assert "d" in whole
    assert key.material == parse_key_set({"keys": [GOOD]}).keys[0].material
    assert not hasattr(key.public, "sign")


def test_the_order_of_keys_changes_nothing() -> None:
    two = public_jwk("two")
    found = parse_key_set({"keys": [GOOD, two]})

    assert found.proves_like(parse_key_set({"keys": [two, GOOD]}))
    assert not found.proves_like(parse_key_set({"keys": [two]}))
    assert not found.proves_like(parse_key_set({"keys": [GOOD, {**two, "alg": "RS256"}]}))
