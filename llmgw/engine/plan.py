"""What the configuration decided about a model, compiled when it was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from llmgw.core.operation import Endpoint
from llmgw.core.target import Target
from llmgw.ports.policy import Policy
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Timeouts, Transport

_JSON = b"application/json"


@dataclass(slots=True, eq=False)
class Lane:
    """A target with all that reaching it takes.

    reply_head: the header lines of ours that every answer from here carries.
    owned: the provider is the tenant's own, so state kept upstream is the tenant's too.
    """

    target: Target
    provider: Provider
    transport: Transport
    model_json: bytes
    reply_head: bytes
    owned: bool
    _heads: dict[Endpoint, bytes | None] = field(default_factory=dict)

    def head(self, endpoint: Endpoint) -> bytes | None:
        """Request line and headers of a JSON request to `endpoint`; None when not served."""
        try:
            return self._heads[endpoint]
        except KeyError:
            head = self._heads[endpoint] = self.provider.head(endpoint, self.target.model, _JSON)
            return head


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """For one model as one tenant sees it: what to ask of a request, and where it goes."""

    model: str
    policies: tuple[Policy, ...]
    lanes: tuple[Lane, ...]
    timeouts: Timeouts
    route: str | None = None


def lane(
    target: Target, provider: Provider, transport: Transport, *, model: str, generation: str, owned: bool
) -> Lane:
    """A lane for the public name `model` in the configuration `generation`."""
    public = model.encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?")
    reply_head = (
        b"cache-control: private, no-store\r\n"
        b"vary: authorization\r\n"
        b"x-llmgw-provider: " + target.provider.encode() + b"\r\n"
        b"x-llmgw-model: " + public + b"\r\n"
        b"x-llmgw-config: " + generation.encode() + b"\r\n"
    )
    return Lane(target, provider, transport, msgspec.json.encode(target.model), reply_head, owned)
