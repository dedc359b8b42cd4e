"""The Gemini API: the model stands in the path, and streams are asked for there.

Facts: Google's Gemini API reference, "All methods": `models.generateContent`,
`models.streamGenerateContent` with `alt=sse`, and the key in `x-goog-api-key`.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from llmgw.config.providers import Gemini as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import BATCH_EMBED_CONTENTS, GEMINI, GENERATE, STREAM_GENERATE
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head


class Gemini:
    """Implements `ports.provider.Provider`."""

    kind = "gemini"
    vendor: str | None = None
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = ()
    signer: Signer | None = None

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._fields = (("x-goog-api-key", api_key or ""),)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != GEMINI:
            return None
        # Where every name is passed on, the model is the caller's word: it must not leave its place.
        suffix = f"/models/{quote(model.removeprefix('models/'), safe='')}{endpoint.suffix}"
        return request_head(self._url, replace(endpoint, suffix=suffix), content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        if operation is Operation.CHAT:
            return STREAM_GENERATE if streamed else GENERATE
        return BATCH_EMBED_CONTENTS if operation is Operation.EMBEDDINGS else None

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False
