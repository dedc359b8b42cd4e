"""Which authenticators a document asks for, and what of them outlives it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any, cast

import pytest

from llmgw.auth.api_key import ApiKeys
from llmgw.auth.jwt import JwtTokens
from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.core.principal import Principal
from llmgw.runtime.authenticators import Issuers, build_authenticators, import_used
from llmgw.transport.http import HttpTransport
from tests.fakes.issuer import DISCOVERY, FakeIssuer, running_issuer

HEAD = "version: 1\nproviders: {e: {kind: echo}}\ntenants: {acme: {}, rival: {}}\n"


def document(more: str = "") -> Document:
    return document_from_text(HEAD + more)


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as made:
        yield made


def test_keys_alone_unless_the_document_says_otherwise() -> None:
    keys, issuers = ApiKeys(), Issuers()
    nothing = cast("Any", None)

    assert build_authenticators(document(), keys, issuers, nothing) == (keys,)
    assert not build_authenticators(document("auth: {api_key: {enabled: false}}"), keys, issuers, nothing)
    import_used(document())


async def test_keys_of_an_issuer_outlive_a_generation_and_go_with_the_last(issuer: FakeIssuer) -> None:
    """A reload asks nobody anew, unless the issuer itself changed."""
    issuers, transport = Issuers(), HttpTransport()
    plain = document(f"auth: {{jwt: [{issuer.settings()}]}}")
    further = document(f"auth: {{jwt: [{issuer.settings(leeway='5s', required={'a': 'b'})}]}}")
    other = document(f"auth: {{jwt: [{issuer.settings(refresh='1m')}]}}")

    def kept(one: Document) -> Any:
        return build_authenticators(one, ApiKeys(), issuers, transport)

    first, second, third = kept(plain), kept(further), kept(other)
    names = [next(iter(made[0]._issuers.values())).keys for made in (first, second, third)]
    assert names[0] is names[1]
    assert names[0] is not names[2]
    await asyncio.gather(*(keys.sought() for keys in set(names)))
    assert issuer.requests.count(DISCOVERY) == 2

    del first, second, third, names
    gc.collect()
    assert not issuers._kept
    await transport.close()


async def test_tokens_keep_the_claims_that_routes_ask_for(issuer: FakeIssuer) -> None:
    routes = (
        "routes:\n"
        "  - {name: r, match: {claim: {groups: x}}}\n"
        "  - {name: s, match: {claim: {groups: y, sub: a}}}\n"
    )
    issuers, transport = Issuers(), HttpTransport()
    made = build_authenticators(
        document(f"auth: {{jwt: [{issuer.settings()}]}}\n{routes}"), ApiKeys(), issuers, transport
    )
    tokens = made[0]
    assert isinstance(tokens, JwtTokens)
    token = issuer.token(groups=["x", "z"]).encode()
    waiting = tokens.principal({b"x-api-key": token})
    assert waiting is not None
    assert not isinstance(waiting, Principal)

    principal = await waiting
    assert principal.claims == (("groups", ("x", "z")), ("sub", ("alice",)))
    assert tokens.principal({b"x-api-key": token}) is principal
    await transport.close()


async def test_subjects_of_several_issuers_are_told_apart(issuer: FakeIssuer) -> None:
    """A subject is its issuer's own name for somebody, and another issuer may have the same."""
    second = "{issuer: https://other.test/, audience: llmgw, claims: {tenant: org}, tenants: [acme]}"
    issuers, transport = Issuers(), HttpTransport()
    (tokens, *_) = build_authenticators(
        document(f"auth: {{jwt: [{issuer.settings(tenants=['acme'])}, {second}]}}"),
        ApiKeys(),
        issuers,
        transport,
    )
    waiting = tokens.principal({b"x-api-key": issuer.token().encode()})
    assert waiting is not None
    assert not isinstance(waiting, Principal)
    key_id = (await waiting).key_id
    assert key_id is not None
    assert key_id.startswith("jwt:http://127.0.0.1:")
    assert key_id.endswith(":alice")
    await transport.close()
