"""Who a request is from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llmgw.core.errors import InvalidCredentials, PermissionDenied, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.ports.auth import Authenticator
from llmgw.ports.policy import Ticket

_REFUSALS = (InvalidCredentials, PermissionDenied, Unavailable)


class Authenticate:
    """Asks each authenticator in turn; the first that finds a credential of its kind decides.

    unproved: counts a request that is refused here. Raises LimitExceeded when there were too many.
    anonymous: who a request without any credential is from, None to refuse it.
    missing: what it is told then.
    """

    def __init__(
        self,
        authenticators: tuple[Authenticator, ...],
        unproved: Callable[[Exchange], None],
        anonymous: Principal | None = None,
        missing: str = "no API key was sent; send one as 'Authorization: Bearer <key>' or 'x-api-key: <key>'",
    ) -> None:
        self._authenticators = authenticators
        self._unproved = unproved
        self._anonymous = anonymous
        self._missing = missing

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[None] | None:
        try:
            for authenticator in self._authenticators:
                principal = authenticator.principal(ex.fields)
                if principal is not None:
                    if not isinstance(principal, Principal):
                        return self._later(ex, principal)
                    ex.principal = principal
                    return None
        except _REFUSALS:
            self._unproved(ex)
            raise
        if self._anonymous is None:
            self._unproved(ex)
            raise InvalidCredentials(self._missing)
        ex.principal = self._anonymous
        return None

    async def _later(self, ex: Exchange, waiting: Awaitable[Principal]) -> None:
        try:
            ex.principal = await waiting
        except _REFUSALS:
            self._unproved(ex)
            raise
