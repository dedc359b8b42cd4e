"""`auth`: which credentials are taken."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from llmgw.config.client_cert import ClientCertSettings
from llmgw.config.issuers import IntrospectionSettings, JwtSettings
from llmgw.config.quantities import Duration
from llmgw.config.section import Flag, Mistake, Section, TenantName


class ApiKeySettings(Section):
    enabled: Flag = True
    """Take API keys, issued by `llmgw keys create` or declared under a tenant."""


class AnonymousSettings(Section):
    tenant: TenantName
    """The tenant that requests without a credential belong to."""


class AuthSettings(Section):
    """Who may come in, and as whom."""

    stale_grace: Duration = 300.0
    """How long issued keys keep working while the database does not answer. Those that the configuration
    declares always do."""
    api_key: ApiKeySettings = ApiKeySettings()
    jwt: tuple[JwtSettings, ...] = ()
    """Issuers whose tokens are taken."""
    introspection: IntrospectionSettings | None = None
    """A service that says what opaque tokens are worth."""
    client_cert: ClientCertSettings = ClientCertSettings()
    """Certificates of clients, and whose they are."""
    anonymous: AnonymousSettings | None = None
    """Lets requests without a credential in. Absent: they are refused."""

    @model_validator(mode="after")
    def _each_issuer_once(self) -> Self:
        issuers = [one.issuer for one in self.jwt]
        for issuer in issuers:
            if issuers.count(issuer) > 1:
                raise Mistake(f"{issuer} is there twice; list its audiences in one", member="jwt")
        return self
