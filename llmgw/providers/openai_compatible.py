"""Any service that speaks OpenAI's API; vendors are rows of `config.vendors`."""

from __future__ import annotations

from llmgw.config.providers import OpenAICompatible as Settings
from llmgw.config.vendors import VENDORS
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, OPENAI, RERANK
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head

_OWN = {Operation.CHAT: CHAT_COMPLETIONS, Operation.EMBEDDINGS: EMBEDDINGS, Operation.RERANK: RERANK}


class OpenAICompatible:
    """Implements `ports.provider.Provider`."""

    kind = "openai_compatible"
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = ()
    signer: Signer | None = None

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.vendor = settings.vendor
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._fields = (("authorization", f"Bearer {api_key}"),) if api_key is not None else ()
        self._stream_usage = settings.vendor is None or VENDORS[settings.vendor].stream_usage

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != OPENAI:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        return endpoint.stream_usage and self._stream_usage
