"""OpenAI itself.

Authentication and the organization and project headers: OpenAI API reference, "Authentication".
"""

from __future__ import annotations

from llmgw.config.providers import OpenAI as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, OPENAI
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_OWN = {Operation.CHAT: CHAT_COMPLETIONS, Operation.EMBEDDINGS: EMBEDDINGS}


class OpenAI:
    """Implements `ports.provider.Provider`."""

    kind = "openai"
    vendor: str | None = None
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = ()
    signer: Signer | None = None

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        fields = [("authorization", f"Bearer {api_key}")]
        if settings.organization is not None:
            fields.append(("openai-organization", settings.organization))
        if settings.project is not None:
            fields.append(("openai-project", settings.project))
        self._fields = tuple(fields)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != OPENAI:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        return endpoint.stream_usage
