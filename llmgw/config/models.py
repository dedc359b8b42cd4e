"""`models`: public names and where they go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from llmgw.config.cache import CacheOverride
from llmgw.config.facts import FactsSettings
from llmgw.config.problems import nearest
from llmgw.config.quantities import PPM_PER_PERCENT, Percent, PositiveDuration
from llmgw.config.redaction import RedactionOverride
from llmgw.config.section import Mistake, ModelName, ProviderName, Section

STRATEGIES = ("weighted", "priority", "least_inflight", "latency", "cost")


def _strategy(name: str) -> str:
    if name not in STRATEGIES:
        raise Mistake(
            f'no strategy named "{name}" (known: {", ".join(STRATEGIES)})',
            suggestion=nearest(name, STRATEGIES),
        )
    return name


Strategy = Annotated[str, AfterValidator(_strategy), Field(json_schema_extra={"enum": list(STRATEGIES)})]


def _off(value: object) -> object:
    return None if value == "off" else value


class TargetSettings(Section):
    """One place a model's requests can go."""

    provider: ProviderName
    """Name under `providers`; the tenant's own first, then the shared ones."""
    model: ModelName
    """The provider's name for the model."""
    weight: int = Field(default=1, strict=True, ge=0, le=1_000_000)
    """Share of the traffic, for strategies that spread it."""


class TimeoutSettings(Section):
    """How long an upstream may take."""

    connect: PositiveDuration = 5.0
    """To connect, TLS included."""
    first_byte: PositiveDuration = 60.0
    """To the first byte of a streamed answer."""
    idle: PositiveDuration = 60.0
    """Between two chunks."""
    total: PositiveDuration = 600.0
    """For the whole answer."""
    keep_alive: Annotated[PositiveDuration | None, BeforeValidator(_off)] = None
    """Say `: keep-alive` into event streams that are silent for so long. `off` unless written."""


Reason = Literal["error", "rate_limit", "context_length", "content_filter"]


class FallbackSettings(Section):
    """Another model to ask when this one's targets have failed."""

    model: ModelName
    on: tuple[Reason, ...] = Field(default=("error", "rate_limit"), min_length=1)
    """For which failures."""


class RetrySettings(Section):
    """How often, and how soon, a failed call is made again."""

    attempts: int = Field(default=3, strict=True, ge=1, le=10)
    """The most calls for one request, over all targets and fallbacks."""
    base: PositiveDuration = 0.25
    """The longest first wait before the same target is asked again; doubles each time."""
    max: PositiveDuration = 5.0
    """The longest wait, also of those that a provider asks for."""
    budget: Percent = 200_000
    """Share of the requests under way that may be repeating a call to the same target; at least 3 may."""


class BreakerSettings(Section):
    """When a target that fails is left alone."""

    failure_ratio: float = Field(default=0.5, gt=0, le=1)
    """Share of failed calls that opens it."""
    min_calls: int = Field(default=10, strict=True, ge=1)
    """Not before so many calls in the window."""
    window: PositiveDuration = 30.0
    """Over which calls are counted."""
    open_for: PositiveDuration = 5.0
    """How long it stays open before one call probes."""


class StickyHeader(Section):
    """Requests with the same value of a header go to the same target."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", to_lower=True, max_length=64)]


class MirrorSettings(Section):
    """A copy of some requests goes here too; its answer is thrown away and its cost recorded apart."""

    target: TargetSettings
    share: Percent
    """Of the requests, as in `1%`."""

    @model_validator(mode="after")
    def _a_share(self) -> MirrorSettings:
        if not 0 < self.share <= 100 * PPM_PER_PERCENT:
            raise Mistake("must be more than 0% and at most 100%", member="share")
        return self


class HedgeSettings(Section):
    """A second target is asked as well when the first is slow; whichever begins first is heard."""

    after: PositiveDuration
    """How long the first may say nothing."""


class ModelSettings(Section):
    """A public model name."""

    strategy: Strategy = "priority"
    """How a target is chosen. `priority`: in order; `cost`: the cheapest first; `latency`: the quickest."""
    targets: tuple[TargetSettings, ...] = Field(min_length=1)
    fallbacks: tuple[FallbackSettings, ...] = ()
    """Asked in order, once every target has failed."""
    sticky: Literal["user", "conversation"] | StickyHeader | None = None
    """What keeps going to the same target while that is healthy."""
    mirror: MirrorSettings | None = None
    """A target on trial beside the others."""
    retry: RetrySettings = RetrySettings()
    breaker: Annotated[BreakerSettings | None, BeforeValidator(_off)] = BreakerSettings()
    """`off`: a target is never left alone."""
    hedge: Annotated[HedgeSettings | None, BeforeValidator(_off)] = None
    """For latency's sake: costs the prompt of the call that loses. `off` unless written."""
    timeouts: TimeoutSettings = TimeoutSettings()
    facts: FactsSettings = FactsSettings()
    cache: CacheOverride = CacheOverride()
    redaction: RedactionOverride = RedactionOverride()
    on_loss: Literal["drop", "reject"] = "drop"
    """`reject`: refuse tuning that the target's dialect cannot express, instead of naming it."""

    @model_validator(mode="after")
    def _weights_lead_somewhere(self) -> ModelSettings:
        if self.strategy == "weighted" and not any(target.weight for target in self.targets):
            raise Mistake("every target has weight 0, so none would be asked", member="targets")
        return self
