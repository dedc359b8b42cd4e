"""Who proves where a request comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from llmgw.core.principal import Principal

CERTIFICATE = b":client-certificate"
PROXY_CERTIFICATE = b":proxy-certificate"
"""Where a connection's own certificate stands among the fields of its requests, as DER: a client's,
or one of the operator's proxies. No header can have such a name."""


class Authenticator(Protocol):
    def principal(self, fields: Mapping[bytes, bytes]) -> Principal | Awaitable[Principal] | None:
        """Who sent these headers; None when they carry no credential of this kind. Something to
        await where somebody else has to be asked first.

        Raises InvalidCredentials when they carry one that does not hold, PermissionDenied when it
        holds and lets nobody in here, Unavailable when nobody can say at the moment.
        """


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate that holds. principal: whose it is, None for nobody's. why: that, for the log."""

    principal: Principal | None
    why: str = ""


class CertificateReader(Protocol):
    def shown(self, fields: Mapping[bytes, bytes]) -> Shown | None:
        """The certificate with which these headers came; None when there is none.

        Raises InvalidCredentials when it does not hold, or cannot be read.
        """
