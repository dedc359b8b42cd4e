"""Vertex AI: models of Google and of others, each in its vendor's dialect, all with Google's tokens.

Facts: Vertex AI API reference, `publishers.models` and `endpoints`: `generateContent`, `predict` for
embeddings, `rawPredict` and `streamRawPredict`. "Use Anthropic's Claude models": the body says
`anthropic_version` and not the model; Mistral's says the model. "Call MaaS APIs for open models": chat
completions at `endpoints/openapi`, for names such as `meta/llama-3.3-70b-instruct-maas`. Tuned models have an
endpoint of their own.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from llmgw.config.clouds import Vertex as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import (
    CHAT_COMPLETIONS,
    GENERATE,
    MISTRAL_RAW_PREDICT,
    MISTRAL_STREAM_RAW_PREDICT,
    RAW_PREDICT,
    STREAM_GENERATE,
    STREAM_RAW_PREDICT,
    VERTEX_PREDICT,
)
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head
from llmgw.providers.google_tokens import by_credentials, by_default, by_metadata
from llmgw.providers.token_keeper import TokenKeeper

_GOOGLE = frozenset({GENERATE, STREAM_GENERATE, VERTEX_PREDICT})
_ANTHROPIC = frozenset({RAW_PREDICT, STREAM_RAW_PREDICT})
_MISTRAL = frozenset({MISTRAL_RAW_PREDICT, MISTRAL_STREAM_RAW_PREDICT})
_OPENAI = frozenset({CHAT_COMPLETIONS})
_NOTHING: frozenset[Endpoint] = frozenset()
_WHOLE = (GENERATE, RAW_PREDICT, MISTRAL_RAW_PREDICT, CHAT_COMPLETIONS)
_STREAMED = (STREAM_GENERATE, STREAM_RAW_PREDICT, MISTRAL_STREAM_RAW_PREDICT, CHAT_COMPLETIONS)
_OWN = {
    (Operation.CHAT, False): _WHOLE,
    (Operation.CHAT, True): _STREAMED,
    (Operation.EMBEDDINGS, False): (VERTEX_PREDICT,),
    (Operation.EMBEDDINGS, True): (VERTEX_PREDICT,),
}
_MISTRALS = ("mistral", "ministral", "magistral", "codestral")
_SERVED = {"google": _GOOGLE, "anthropic": _ANTHROPIC, "mistralai": _MISTRAL}


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
            found = by_credentials(settings.credentials.get_secret_value(), settings)
            self.signer = TokenKeeper(found, provider=name)
        else:
            found = by_metadata() if settings.metadata_server else by_default(name, settings)
            self.signer = TokenKeeper(found, provider=name)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        served, place = _place(model)
        if endpoint not in served:
            return None
        suffix = f"{place}{endpoint.suffix}"
        return request_head(self._url, replace(endpoint, suffix=suffix), content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        served, _ = _place(model)
        return next((each for each in _OWN.get((operation, streamed), ()) if each in served), None)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Where OpenAI's chat completions are spoken. Elsewhere usage comes unasked."""
        return endpoint.stream_usage


def _place(model: str) -> tuple[frozenset[Endpoint], str]:
    """What a model is served by, and the path to it.

    Where every name is passed on, the model is the caller's word: it must not leave its place.
    """
    first, _, rest = model.partition("/")
    if first == "endpoints":
        name = rest.removesuffix(CHAT_COMPLETIONS.suffix)
        return _GOOGLE if name == rest else _OPENAI, f"/endpoints/{quote(name, safe='')}"
    if not rest:
        publisher = "google"
        if model.startswith("claude"):
            publisher = "anthropic"
        elif model.startswith(_MISTRALS):
            publisher = "mistralai"
        return _published(publisher, model)
    if first == "publishers":
        publisher, _, rest = rest.partition("/models/")
        # The body names Mistral's model too, and there it has its bare name.
        return _published(publisher, rest) if publisher in ("google", "anthropic") else (_NOTHING, "")
    if first in ("google", "anthropic"):
        return _published(first, rest)
    return _OPENAI, "/endpoints/openapi"


def _published(publisher: str, model: str) -> tuple[frozenset[Endpoint], str]:
    return _SERVED[publisher], f"/publishers/{publisher}/models/{quote(model, safe='@')}"
