"""Azure OpenAI: the deployment stands in the path, the version of the API in the query.

Facts: Microsoft's "Azure OpenAI REST API reference", its OpenAPI documents by `api-version`
(`stream_options` and `max_completion_tokens` since 2024-09-01-preview), and "Azure OpenAI API
version lifecycle" for `/openai/v1`, which has no version and takes the deployment from the body.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from llmgw.config.clouds import AzureOpenAI as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, OPENAI
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head
from llmgw.providers.entra_tokens import entra_tokens
from llmgw.providers.token_keeper import TokenKeeper
from llmgw.wire.urls import checked_segments

_STREAM_USAGE_SINCE = "2024-09-01"
_OF_DEPLOYMENTS = frozenset(
    {
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/generations",
        "/images/edits",
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
    }
)

_OWN = {Operation.CHAT: CHAT_COMPLETIONS, Operation.EMBEDDINGS: EMBEDDINGS}


class AzureOpenAI:
    """Implements `ports.provider.Provider`."""

    kind = "azure_openai"
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = settings.url
        self._query = f"?api-version={settings.api_version}"
        self._deployments = settings.deployments
        # ISO dates are in order as text.
        self._stream_usage = settings.api_version >= _STREAM_USAGE_SINCE
        self.vendor: str | None = "azure" if self._stream_usage else "azure_older"
        self.signer: Signer | None = None
        self._fields: tuple[tuple[str, str], ...] = ()
        if api_key is not None:
            self._fields = (("api-key", api_key),)
        elif settings.entra_token is not None:
            self._fields = (("authorization", f"Bearer {settings.entra_token.get_secret_value()}"),)
        else:
            self.signer = TokenKeeper(entra_tokens(name, settings), provider=name)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != OPENAI:
            return None
        suffix = self._suffix(endpoint, model)
        if suffix is None:
            return None
        return request_head(self._url, replace(endpoint, suffix=suffix), content_type, self._fields)

    def _suffix(self, endpoint: Endpoint, model: str) -> str | None:
        deployment = self._deployments.get(model, model)
        if endpoint.operation is Operation.RESPONSES:
            # There the body names the deployment, and it has the model's name.
            return f"/openai/v1{endpoint.suffix}" if deployment == model else None
        if endpoint.suffix not in _OF_DEPLOYMENTS:
            return None
        try:
            # Where every name is passed on, it is the caller's word: it must not leave its place.
            (segment,) = checked_segments(quote(deployment, safe=""))
        except ValueError:
            return None
        return f"/openai/deployments/{segment}{endpoint.suffix}{self._query}"

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        return endpoint.stream_usage and self._stream_usage
