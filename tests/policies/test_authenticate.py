from __future__ import annotations

import pytest

from llmgw.core.errors import InvalidCredentials
from llmgw.core.principal import Principal
from llmgw.policies.authenticate import Authenticate
from tests.fakes.exchanges import exchange


class Finds:
    def __init__(self, principal: Principal | None) -> None:
        self.found = principal

    def principal(self, fields: object) -> Principal | None:
        return self.found


def test_the_first_that_finds_a_credential_decides() -> None:
    ex = exchange()

    Authenticate((Finds(None), Finds(Principal("a")), Finds(Principal("b")))).admit(ex)

    assert ex.principal == Principal("a")


def test_without_a_credential_there_is_no_way_in() -> None:
    with pytest.raises(InvalidCredentials, match="Authorization: Bearer"):
        Authenticate((Finds(None),)).admit(exchange())


def test_unless_the_operator_lets_anybody_in() -> None:
    ex = exchange()

    Authenticate((), anonymous=Principal("public")).admit(ex)

    assert ex.principal == Principal("public")
