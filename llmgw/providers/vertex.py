"""Vertex AI: Google's models in Gemini's dialect, Anthropic's in its own, both with Google's tokens.

Facts: Vertex AI API reference, `publishers.models`: `generateContent`, `streamGenerateContent`, `predict` for
embeddings, `rawPredict` and `streamRawPredict`; "Use Anthropic's Claude models": the body says
`anthropic_version` and not the model; "Locations": `global`, the multi-regions and their hosts.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from llmgw.config.providers import Vertex as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import (
    GENERATE,
    RAW_PREDICT,
    STREAM_GENERATE,
    STREAM_RAW_PREDICT,
    VERTEX_PREDICT,
)
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head
from llmgw.providers.google_tokens import by_credentials, by_metadata
from llmgw.providers.token_keeper import TokenKeeper

_SERVED = {
    "anthropic": frozenset({RAW_PREDICT, STREAM_RAW_PREDICT}),
    "google": frozenset({GENERATE, STREAM_GENERATE, VERTEX_PREDICT}),
}


class Vertex:
    """Implements `ports.provider.Provider`."""

    kind = "vertex"
    vendor: str | None = None
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = (b"anthropic-beta",)

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        """api_key: there is none; the settings say where tokens come from."""
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.allow_private)
        self._url = f"{settings.url}/projects/{settings.project}/locations/{settings.location}"
        self._fields: tuple[tuple[str, str], ...] = ()
        self.signer: Signer | None = None
        if settings.access_token is not None:
            self._fields = (("authorization", f"Bearer {settings.access_token.get_secret_value()}"),)
        elif settings.credentials is not None:
            self.signer = TokenKeeper(by_credentials(settings.credentials.get_secret_value(), settings))
        else:
            self.signer = TokenKeeper(by_metadata())

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        publisher = _publisher(model)
        if endpoint not in _SERVED[publisher]:
            return None
        # Where every name is passed on, the model is the caller's word: it must not leave its place.
        suffix = f"/publishers/{publisher}/models/{quote(model, safe='@')}{endpoint.suffix}"
        return request_head(self._url, replace(endpoint, suffix=suffix), content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        if _publisher(model) == "anthropic":
            if operation is not Operation.CHAT:
                return None
            return STREAM_RAW_PREDICT if streamed else RAW_PREDICT
        if operation is Operation.CHAT:
            return STREAM_GENERATE if streamed else GENERATE
        return VERTEX_PREDICT if operation is Operation.EMBEDDINGS else None

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False


def _publisher(model: str) -> str:
    return "anthropic" if model.startswith("claude") else "google"
