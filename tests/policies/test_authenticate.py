from __future__ import annotations

from collections.abc import Awaitable

import pytest

from llmgw.core.errors import GatewayError, InvalidCredentials, LimitExceeded, PermissionDenied, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.policies.authenticate import Authenticate
from tests.fakes.exchanges import exchange


class Finds:
    def __init__(self, principal: Principal | Awaitable[Principal] | None) -> None:
        self.found = principal

    def principal(self, fields: object) -> Principal | Awaitable[Principal] | None:
        return self.found


def uncounted(ex: Exchange) -> None:
    """Lets every refusal through uncounted."""


def test_the_first_that_finds_a_credential_decides() -> None:
    ex = exchange()

    Authenticate((Finds(None), Finds(Principal("a")), Finds(Principal("b"))), uncounted).admit(ex)

    assert ex.principal == Principal("a")


def test_without_a_credential_there_is_no_way_in() -> None:
    with pytest.raises(InvalidCredentials, match="Authorization: Bearer"):
        Authenticate((Finds(None),), uncounted).admit(exchange())


def test_unless_the_operator_lets_anybody_in() -> None:
    ex = exchange()

    Authenticate((), uncounted, Principal("public")).admit(ex)

    assert ex.principal == Principal("public")


def test_a_refusal_is_counted_before_it_is_told() -> None:
    """Too many refusals are a limit exceeded, so that guessing keys is slowed down."""

    def exceeded(ex: Exchange) -> None:
        raise LimitExceeded("too many")

    with pytest.raises(LimitExceeded):
        Authenticate((Finds(None),), exceeded).admit(exchange())


async def test_an_authenticator_may_have_to_ask_somebody_first() -> None:
    async def later() -> Principal:
        return Principal("a")

    ex = exchange()
    ex.principal = None
    waiting = Authenticate((Finds(None), Finds(later()), Finds(Principal("b"))), uncounted).admit(ex)

    assert isinstance(waiting, Awaitable)
    assert ex.principal is None
    assert await waiting is None
    assert ex.principal == Principal("a")


@pytest.mark.parametrize("refusal", [InvalidCredentials("no"), PermissionDenied("no"), Unavailable("no")])
async def test_a_refusal_is_counted_at_once_and_later(refusal: GatewayError) -> None:
    counted = []

    class Refuses:
        def principal(self, fields: object) -> Principal | None:
            raise refusal

    async def later() -> Principal:
        raise refusal

    with pytest.raises(type(refusal)):
        Authenticate((Refuses(),), counted.append).admit(exchange())
    waiting = Authenticate((Finds(later()),), counted.append).admit(exchange())
    assert isinstance(waiting, Awaitable)
    with pytest.raises(type(refusal)):
        await waiting
    assert len(counted) == 2
