from __future__ import annotations

import pytest

from llmgw.core.errors import InvalidCredentials, LimitExceeded
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.policies.authenticate import Authenticate
from tests.fakes.exchanges import exchange


class Finds:
    def __init__(self, principal: Principal | None) -> None:
        self.found = principal

    def principal(self, fields: object) -> Principal | None:
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
