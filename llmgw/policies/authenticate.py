"""Who a request is from."""

from __future__ import annotations

from collections.abc import Callable

from llmgw.core.errors import InvalidCredentials, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.ports.auth import Authenticator
from llmgw.ports.policy import Ticket


class Authenticate:
    """Asks each authenticator in turn; the first that finds a credential of its kind decides.

    unproved: counts a request that is refused here. Raises LimitExceeded when there were too many.
    anonymous: who a request without any credential is from, None to refuse it.
    """

    def __init__(
        self,
        authenticators: tuple[Authenticator, ...],
        unproved: Callable[[Exchange], None],
        anonymous: Principal | None = None,
    ) -> None:
        self._authenticators = authenticators
        self._unproved = unproved
        self._anonymous = anonymous

    def admit(self, ex: Exchange) -> Ticket | Reply | None:
        try:
            for authenticator in self._authenticators:
                principal = authenticator.principal(ex.fields)
                if principal is not None:
                    ex.principal = principal
                    return None
        except (InvalidCredentials, Unavailable):
            self._unproved(ex)
            raise
        if self._anonymous is None:
            self._unproved(ex)
            raise InvalidCredentials(
                "no API key was sent; send one as 'Authorization: Bearer <key>' or 'x-api-key: <key>'"
            )
        ex.principal = self._anonymous
        return None
