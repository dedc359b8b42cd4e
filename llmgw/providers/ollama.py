"""Ollama: its own API below `/api`, and a part of OpenAI's below `/v1`.

Facts: Ollama's docs, `api.md` and `openai.md`. Who speaks either is passed on as they are;
conversations in other dialects go to `/api/chat`.
"""

from __future__ import annotations

from dataclasses import replace

from llmgw.config.providers import Ollama as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import OLLAMA, OLLAMA_CHAT, OLLAMA_EMBED, OPENAI
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_OF_OPENAI = frozenset({"/chat/completions", "/completions", "/embeddings"})

_OWN = {Operation.CHAT: OLLAMA_CHAT, Operation.EMBEDDINGS: OLLAMA_EMBED}


class Ollama:
    """Implements `ports.provider.Provider`."""

    kind = "ollama"
    vendor: str | None = "ollama"
    transport: Transport | None = None
    signer: Signer | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._fields = (("authorization", f"Bearer {api_key}"),) if api_key is not None else ()

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect == OPENAI and endpoint.suffix in _OF_OPENAI:
            endpoint = replace(endpoint, suffix=f"/v1{endpoint.suffix}")
        elif endpoint.dialect != OLLAMA:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        return endpoint.stream_usage and endpoint.suffix in _OF_OPENAI
