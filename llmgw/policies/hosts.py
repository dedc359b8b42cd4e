"""Holds requests to a tenant's own hosts to that tenant's credentials."""

from __future__ import annotations

from collections.abc import Mapping

from llmgw.core.errors import PermissionDenied
from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.ports.policy import Ticket


class Hosts:
    """tenants: by host name, in lower case. Other hosts are anybody's."""

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._tenants = tenants

    def admit(self, ex: Exchange) -> Ticket | Reply | None:
        assert ex.principal is not None
        host = ex.fields.get(b"host", b"").decode("latin-1").lower()
        if not host.startswith("["):
            host = host.partition(":")[0].rstrip(".")
        tenant = self._tenants.get(host)
        if tenant is not None and tenant != ex.principal.tenant:
            raise PermissionDenied("this host belongs to another tenant than the credential")
        return None
