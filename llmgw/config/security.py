"""`auth`: which credentials are taken."""

from __future__ import annotations

from llmgw.config.quantities import Duration
from llmgw.config.section import Flag, Section, TenantName


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
    anonymous: AnonymousSettings | None = None
    """Lets requests without a credential in. Absent: they are refused."""
