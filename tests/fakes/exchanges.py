"""Exchanges as the gateway makes them, for tests of what works on one."""

from __future__ import annotations

import json

from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.wire.envelope import Envelope


def exchange(
    body: object = None,
    *,
    path: str = "/v1/chat/completions",
    principal: Principal | None = None,
    fields: dict[bytes, bytes] | None = None,
) -> Exchange:
    """An exchange whose body has been opened."""
    raw = body if isinstance(body, bytes) else json.dumps(body or {"model": "m"}).encode()
    ex = Exchange("req_1", ENDPOINTS[path], fields or {}, raw, "127.0.0.1", 0.0, 0.0, "gen")
    ex.envelope = Envelope(raw)
    ex.model = "m"
    ex.principal = principal or Principal("acme")
    return ex
