"""Cohere, by version 2 of its chat. Facts: Cohere API reference, "Chat"."""

from __future__ import annotations

from llmgw.config.providers import Cohere as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import COHERE, COHERE_CHAT, COHERE_EMBED, COHERE_RERANK
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_OWN = {Operation.CHAT: COHERE_CHAT, Operation.EMBEDDINGS: COHERE_EMBED, Operation.RERANK: COHERE_RERANK}


class Cohere:
    """Implements `ports.provider.Provider`."""

    kind = "cohere"
    vendor: str | None = None
    transport: Transport | None = None
    signer: Signer | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._fields = (("authorization", f"Bearer {api_key}"),)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != COHERE:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False
