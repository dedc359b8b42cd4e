"""A provider, as the engine sees it: where requests go, with which credential, which quirks.

What depends only on the configuration is asked once, when a plan is compiled.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from llmgw.core.operation import Endpoint, Operation
from llmgw.ports.transport import Origin, Transport


class Signer(Protocol):
    """Proves requests one by one, where the proof depends on the body and the time."""

    def pending(self) -> Awaitable[None] | None:
        """What to wait for before the next request can be signed; None, nearly always, for nothing.

        The wait raises UpstreamError when there is nothing to sign with.
        """

    def sign(self, head: bytes, body: bytes) -> bytes:
        """`head` with the header lines that prove it and `body`, good for a few minutes."""


class Provider(Protocol):
    """One configured upstream account.

    name: as configured; kind: the adapter's; vendor: the row of data behind it, if any.
    transport: how to reach it, None for the shared upstream client.
    forwards: names of the client's header fields, in lower case, that go on to it where it is asked
        in the client's own dialect.
    signer: what each request is signed by before it is sent, None where the head says it all.
    """

    name: str
    kind: str
    vendor: str | None
    origin: Origin
    transport: Transport | None
    forwards: tuple[bytes, ...]
    signer: Signer | None

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        """Request line and headers for an endpoint of the provider's own dialect.

        As `UpstreamRequest.head` wants them, the credential included. None when the provider
        does not serve the endpoint.
        """

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        """Where it serves `model` in its own dialect, for requests that come in another.

        operation: CHAT, EMBEDDINGS or RERANK. None for what it does not serve.
        """

    def stream_usage(self, endpoint: Endpoint) -> bool:
        """Whether it accepts `stream_options.include_usage` there."""
