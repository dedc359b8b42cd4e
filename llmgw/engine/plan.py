"""What the configuration decided about a model, compiled when it was loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint
from llmgw.core.target import Target
from llmgw.engine.health import Health
from llmgw.policies.redact import Redaction
from llmgw.policies.upstream_state import UpstreamState
from llmgw.ports.policy import Policy
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Timeouts, Transport

_JSON = b"application/json"


@dataclass(slots=True, eq=False)
class Lane:
    """A target with all that reaching it takes.

    reply_head: the header lines of ours that every answer from here carries.
    owned: the provider is the tenant's own, so state kept upstream is the tenant's too.
    health: what is known of the target. weight: its share, for strategies that spread requests.
    """

    target: Target
    provider: Provider
    transport: Transport
    model_json: bytes
    reply_head: bytes
    owned: bool
    health: Health
    weight: int
    _heads: dict[Endpoint, bytes | None] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the target."""
        return f"{self.target.provider}/{self.target.model}"

    def head(self, endpoint: Endpoint) -> bytes | None:
        """Request line and headers of a JSON request to `endpoint`; None when not served."""
        try:
            return self._heads[endpoint]
        except KeyError:
            head = self._heads[endpoint] = self.provider.head(endpoint, self.target.model, _JSON)
            return head


@dataclass(frozen=True, slots=True)
class RetryRules:
    """attempts: the most calls for one request. base_s, max_s: waits before the same target is asked again.
    budget: the share of requests under way that may be repeating a call."""

    attempts: int = 3
    base_s: float = 0.25
    max_s: float = 5.0
    budget: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Fallback:
    """on: `error`, `rate_limit`, `context_length`, `content_filter`.
    plan: the other model's, None where the tenant may not use it."""

    model: str
    on: frozenset[str]
    plan: Callable[[], Plan | None]


@dataclass(frozen=True, slots=True, eq=False)
class Mirror:
    """share: of the requests, from 0 to 1, that are sent to `lane` as well.
    state: what they may refer to there, None for whatever they do."""

    lane: Lane
    share: float
    state: UpstreamState | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """For one model as one tenant sees it: what to ask of a request, and where it goes.

    sticky: what keeps a request at one target, None where nothing does.
    refuses_loss: a request that a target's dialect cannot express whole is refused.
    keep_alive_s: after how long a silent stream gets a comment, None for never.
    hedge_after_s: how long the first target may say nothing before the second is asked as well.
    redaction: what is taken out of requests and answers, None for nothing.
    """

    model: str
    policies: tuple[Policy, ...]
    lanes: tuple[Lane, ...]
    timeouts: Timeouts
    route: str | None = None
    strategy: str = "priority"
    sticky: Callable[[Exchange], str | None] | None = None
    retry: RetryRules = RetryRules()
    fallbacks: tuple[Fallback, ...] = ()
    refuses_loss: bool = False
    mirror: Mirror | None = None
    hedge_after_s: float | None = None
    keep_alive_s: float | None = None
    redaction: Redaction | None = None


def lane(
    target: Target,
    provider: Provider,
    transport: Transport,
    *,
    model: str,
    generation: str,
    owned: bool,
    health: Health,
    weight: int = 1,
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
    return Lane(
        target,
        provider,
        transport,
        msgspec.json.encode(target.model),
        reply_head,
        owned,
        health,
        weight,
    )
