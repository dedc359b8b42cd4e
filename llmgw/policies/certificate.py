"""Who a request is from, where a client certificate says so, or holds other credentials to itself.

Alone, a certificate is the credential. Beside another one, that decides, for a tenant that is the
certificate's; and a certificate that is nobody's is then a second factor, since it was verified.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llmgw.core.errors import InvalidCredentials, PermissionDenied, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.policies.authenticate import Authenticate
from llmgw.ports.auth import Authenticator, CertificateReader, Shown
from llmgw.ports.policy import Ticket

_REFUSALS = (InvalidCredentials, PermissionDenied, Unavailable)


class AuthenticateCertificate:
    """Asks for a certificate before the other authenticators; without one, they decide as ever.

    unproved, anonymous: as `policies.authenticate.Authenticate` has them.
    """

    def __init__(
        self,
        certificates: CertificateReader,
        authenticators: tuple[Authenticator, ...],
        unproved: Callable[[Exchange], None],
        anonymous: Principal | None = None,
    ) -> None:
        self._certificates = certificates
        self._authenticators = authenticators
        self._unproved = unproved
        self._without = Authenticate(
            authenticators,
            unproved,
            anonymous,
            "no credential was sent; show a client certificate, or send an API key as"
            " 'Authorization: Bearer <key>' or 'x-api-key: <key>'",
        )

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[None] | None:
        try:
            shown = self._certificates.shown(ex.fields)
            if shown is not None:
                return self._beside(ex, shown)
        except _REFUSALS:
            self._unproved(ex)
            raise
        return self._without.admit(ex)

    def _beside(self, ex: Exchange, shown: Shown) -> Awaitable[None] | None:
        for authenticator in self._authenticators:
            principal = authenticator.principal(ex.fields)
            if principal is None:
                continue
            if not isinstance(principal, Principal):
                return self._later(ex, shown, principal)
            ex.principal = _held_to(shown, principal)
            return None
        if shown.principal is None:
            raise InvalidCredentials(
                "the client certificate is nobody's here", detail=f"the client certificate: {shown.why}"
            )
        ex.principal = shown.principal
        return None

    async def _later(self, ex: Exchange, shown: Shown, waiting: Awaitable[Principal]) -> None:
        try:
            ex.principal = _held_to(shown, await waiting)
        except _REFUSALS:
            self._unproved(ex)
            raise


def _held_to(shown: Shown, principal: Principal) -> Principal:
    if shown.principal is not None and shown.principal.tenant != principal.tenant:
        raise PermissionDenied("the client certificate belongs to another tenant than the credential")
    return principal
