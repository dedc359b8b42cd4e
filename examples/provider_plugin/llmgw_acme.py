"""Acme, a made-up service, as a kind of provider.

It speaks OpenAI's chat completions at `/w/WORKSPACE/chat/completions` and wants its token in `x-acme-token`.
A provider says where requests go and with which credential; the wire format is the business of the
dialect that its endpoints name.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from llmgw.config.secret import Secret
from llmgw.config.upstream import BaseUrl, Service
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Transport
from llmgw.providers.base import origin, request_head


class AcmeSettings(Service):
    """An account at Acme."""

    kind: Literal["acme"]
    base_url: BaseUrl = "https://api.acme.example"
    workspace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=64)]
    token: Secret


class Acme:
    """Implements `llmgw.ports.provider.Provider`."""

    Settings: ClassVar[type[AcmeSettings]] = AcmeSettings

    kind = "acme"
    vendor: str | None = None
    transport: Transport | None = None
    signer: Signer | None = None
    forwards: tuple[bytes, ...] = ()

    def __init__(self, name: str, settings: AcmeSettings, api_key: str | None) -> None:
        """api_key: of a member with that name, which these settings do not have."""
        self.name = name
        self.origin = origin(settings.url, settings, allow_private=settings.private_allowed)
        self._url = f"{settings.url}/w/{settings.workspace}"
        self._fields = (("x-acme-token", settings.token.get_secret_value()),)

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint is not CHAT_COMPLETIONS:
            return None
        return request_head(self._url, endpoint, content_type, self._fields)

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        """Where requests go that come in another dialect. Acme has nothing but conversations."""
        return CHAT_COMPLETIONS if operation is Operation.CHAT else None

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Acme takes `stream_options.include_usage`."""
        return True
