"""`models`: public names and where they go."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from llmgw.config.later import LATER_STRATEGIES, REASON
from llmgw.config.problems import nearest
from llmgw.config.quantities import PositiveDuration
from llmgw.config.section import Mistake, ModelName, ProviderName, Section

STRATEGIES = ("priority",)


def _strategy(name: str) -> str:
    if name in LATER_STRATEGIES:
        raise Mistake(f'strategy "{name}" is {REASON}; "priority" is')
    if name not in STRATEGIES:
        raise Mistake(
            f'no strategy named "{name}" (known: {", ".join(STRATEGIES)})',
            suggestion=nearest(name, STRATEGIES),
        )
    return name


Strategy = Annotated[str, AfterValidator(_strategy), Field(json_schema_extra={"enum": list(STRATEGIES)})]


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


class ModelSettings(Section):
    """A public model name."""

    strategy: Strategy = "priority"
    """How a target is chosen. `priority`: the first one."""
    targets: tuple[TargetSettings, ...] = Field(min_length=1)
    timeouts: TimeoutSettings = TimeoutSettings()
