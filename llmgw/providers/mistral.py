"""Mistral's own platform, which speaks OpenAI's API with members of its own.

Facts: Mistral's API reference. Members that it does not know are answered with 422, among them
`stream_options`; usage comes with the last chunk unasked. What differs in conversations is the
row `mistral` of `dialects.openai_chat_vendors`.
"""

from __future__ import annotations

from llmgw.config.providers import Mistral as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, OPENAI
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_SERVED = frozenset({"/chat/completions", "/embeddings", "/moderations", "/audio/transcriptions"})

_OWN = {Operation.CHAT: CHAT_COMPLETIONS, Operation.EMBEDDINGS: EMBEDDINGS}


class Mistral:
    """Implements `ports.provider.Provider`."""

    kind = "mistral"
    vendor: str | None = "mistral"
    transport: Transport | None = None
    signer: Signer | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._fields = (("authorization", f"Bearer {api_key}"),)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != OPENAI or endpoint.suffix not in _SERVED:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False
