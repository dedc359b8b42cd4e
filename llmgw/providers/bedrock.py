"""Amazon Bedrock: the model stands in the path; requests are signed, or carry a key of Bedrock's own.

Facts: Amazon Bedrock API reference, Converse and ConverseStream, `POST /model/{modelId}/converse`, and
InvokeModel for embeddings; "Use an Amazon Bedrock API key": it is a bearer token.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

from llmgw.config.clouds import Bedrock as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.embeddings_bedrock import embeds
from llmgw.dialects.endpoints import BEDROCK, CONVERSE, CONVERSE_STREAM, INVOKE
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head
from llmgw.providers.one_by_one import OneByOne

_SERVICE = "bedrock"
_PLAIN = re.compile(r"[\x21-\x7e]+")


class Bedrock:
    """Implements `ports.provider.Provider`."""

    kind = "bedrock"
    vendor: str | None = None
    transport: Transport | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: Settings, api_key: str | None) -> None:
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.allow_private)
        self._url = settings.url
        self._fields = (("authorization", f"Bearer {api_key}"),) if api_key is not None else ()
        self._shown: tuple[str, ...] = ()
        self.signer: Signer | None = None if api_key is not None else self._signer(settings)

    def _signer(self, settings: Settings) -> Signer:
        from llmgw.providers.aws_credentials import by_chain, given
        from llmgw.providers.sigv4 import Given, SigV4
        from llmgw.providers.token_keeper import Keeper

        keys = given(settings) if settings.role_arn is None else None
        if keys is None:
            keeper = Keeper(by_chain(self.name, settings), provider=self.name)
            return SigV4(settings.url, settings.region, _SERVICE, keeper)
        self._shown = tuple(text for text in (keys.access_key, keys.token) if text is not None)
        return SigV4(settings.url, settings.region, _SERVICE, Given(keys))

    def over(self, transport: Transport) -> Transport:
        """The way there by the shared `transport`."""
        return OneByOne(transport, self.signer)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != BEDROCK:
            return None
        if not all(map(_PLAIN.fullmatch, self._shown)):
            raise ValueError("the access key or the session token has a character no header can carry")
        # An ARN has slashes, and where every name is passed on the model is the caller's word.
        suffix = f"/model/{quote(model, safe='')}{endpoint.suffix}"
        return request_head(self._url, replace(endpoint, suffix=suffix), content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        if operation is Operation.EMBEDDINGS:
            return INVOKE if embeds(model) else None
        if operation is not Operation.CHAT:
            return None
        return CONVERSE_STREAM if streamed else CONVERSE

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Never: usage comes unasked."""
        return False
