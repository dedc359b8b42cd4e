"""Anthropic itself, or what speaks its messages API under another base URL.

Authentication and the version header: Anthropic API reference, "API overview" and "Versions". Features
in beta are asked for by the client's own `anthropic-beta` header ("Beta headers").
"""

from __future__ import annotations

from llmgw.config.providers import Anthropic as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import ANTHROPIC, MESSAGES
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_VERSION = "2023-06-01"


class Anthropic:
    """Implements `ports.provider.Provider`."""

    kind = "anthropic"
    vendor: str | None = None
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = (b"anthropic-beta",)
    signer: Signer | None = None

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._fields = (("x-api-key", api_key or ""), ("anthropic-version", _VERSION))

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != ANTHROPIC:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return MESSAGES if operation is Operation.CHAT else None

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False
