"""A certificate alone, and beside other credentials."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from llmgw.core.errors import GatewayError, InvalidCredentials, PermissionDenied, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.policies.certificate import AuthenticateCertificate
from llmgw.ports.auth import Shown
from tests.fakes.exchanges import exchange

ACME, RIVAL = Principal("acme", "web", "cert:a"), Principal("rival")
KEY = Principal("acme", "alice", "main")


class Shows:
    def __init__(self, found: Shown | GatewayError | None) -> None:
        self._found = found

    def shown(self, fields: object) -> Shown | None:
        if isinstance(self._found, GatewayError):
            raise self._found
        return self._found


class Finds:
    def __init__(self, principal: Principal | Awaitable[Principal] | None) -> None:
        self._found = principal

    def principal(self, fields: object) -> Principal | Awaitable[Principal] | None:
        return self._found


class Counts:
    def __init__(self) -> None:
        self.refused = 0

    def __call__(self, ex: Exchange) -> None:
        self.refused += 1


async def later(found: Principal | GatewayError) -> Principal:
    if isinstance(found, GatewayError):
        raise found
    return found


async def asked(
    shown: Shown | GatewayError | None,
    *found: Principal | Awaitable[Principal] | None,
    anonymous: Principal | None = None,
    counts: Counts | None = None,
) -> Principal | None:
    ex = exchange()
    policy = AuthenticateCertificate(Shows(shown), tuple(map(Finds, found)), counts or Counts(), anonymous)
    waiting = policy.admit(ex)
    if waiting is not None:
        await waiting  # type: ignore[misc]
    return ex.principal


async def test_alone_it_says_who() -> None:
    assert await asked(Shown(ACME), None) == ACME
    assert await asked(Shown(ACME), anonymous=RIVAL) == ACME


async def test_beside_another_credential_that_one_says_who() -> None:
    assert await asked(Shown(ACME), None, KEY) == KEY
    assert await asked(Shown(ACME), later(KEY)) == KEY
    assert await asked(Shown(None), KEY) == KEY


async def test_of_another_tenant_than_the_other_credential() -> None:
    counts = Counts()
    with pytest.raises(PermissionDenied):
        await asked(Shown(ACME), RIVAL, counts=counts)
    with pytest.raises(PermissionDenied):
        await asked(Shown(ACME), later(RIVAL), counts=counts)
    assert counts.refused == 2


async def test_nobodys_is_no_way_in() -> None:
    """Not even where anybody without a credential is let in."""
    counts = Counts()
    with pytest.raises(InvalidCredentials) as refused:
        await asked(Shown(None, "it is strange"), None, anonymous=RIVAL, counts=counts)
    assert refused.value.detail == "the client certificate: it is strange"
    assert counts.refused == 1


async def test_one_that_does_not_hold_is_refused_whatever_is_beside_it() -> None:
    counts = Counts()
    with pytest.raises(InvalidCredentials):
        await asked(InvalidCredentials("expired"), KEY, counts=counts)
    with pytest.raises(Unavailable):
        await asked(Shown(ACME), later(Unavailable("later")), counts=counts)
    assert counts.refused == 2


async def test_without_one_the_others_decide() -> None:
    counts = Counts()
    assert await asked(None, KEY) == KEY
    assert await asked(None, None, anonymous=RIVAL) == RIVAL
    with pytest.raises(InvalidCredentials, match="show a client certificate"):
        await asked(None, None, counts=counts)
    assert counts.refused == 1
