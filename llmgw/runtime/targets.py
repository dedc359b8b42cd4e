"""How targets stand, for people: rows, and one event at each change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass

from llmgw.engine.breaker import CLOSED, HALF_OPEN, OPEN, state_of
from llmgw.ports.targets import TargetStates
from llmgw.telemetry.events import Events

STATE_VALUES = {CLOSED: 0.0, HALF_OPEN: 1.0, OPEN: 2.0}
"""Of the gauge `llmgw_target_state`."""
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """One target's or, where model is None, one account's.

    tenant: whose provider it is, None for a shared one. state: of its breaker.
    spared_for_s: for how long it asked to be left alone, or its credential is.
    """

    tenant: str | None
    provider: str
    model: str | None
    state: str
    spared_for_s: float


def standings(states: TargetStates, now: float) -> list[Standing]:
    """Every target that was called since the start, and its account. now: as the loop has it."""
    found = []
    for name, state in states.all():
        tenant, provider, *model = name.split("|", 2)
        found.append(
            Standing(
                tenant or None,
                provider,
                model[0] if model else None,
                state_of(state, now),
                round(max(0.0, state.cooled_until - now), 3),
            )
        )
    return found


class TargetWatch:
    """Tells of each change once, from outside the road."""

    def __init__(self, states: TargetStates, events: Events, now: Callable[[], float]) -> None:
        self._states = states
        self._events = events
        self._now = now
        self._before: dict[tuple[str | None, str, str | None], Standing] = {}

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """Compare with the last look."""
        for one in standings(self._states, self._now()):
            key = (one.tenant, one.provider, one.model)
            before = self._before.get(key)
            self._before[key] = one
            was = before.state if before is not None else CLOSED
            spared = before is not None and before.spared_for_s > 0
            if one.model is None:
                if one.spared_for_s and not spared:
                    self._tell("error", "credential_refused", one)
            elif one.state == CLOSED != was:
                self._tell("info", "target_recovered", one)
            elif one.state != CLOSED and was == CLOSED:
                self._tell("error", "target_failing", one)

    def _tell(self, level: str, event: str, one: Standing) -> None:
        fields = {name: value for name, value in asdict(one).items() if value is not None}
        self._events.log_event(level, event, **fields)
