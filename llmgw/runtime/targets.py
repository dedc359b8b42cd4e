"""How targets stand, for people: rows, one event at each change, and an alert for a refused credential."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from llmgw.engine.breaker import CLOSED, HALF_OPEN, OPEN, state_of
from llmgw.ports.targets import TargetStates
from llmgw.telemetry.events import Events
from llmgw.telemetry.webhook import Webhook, chat_text

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
    """Tells of each change once, from outside the road.

    webhook: where to, as long as it says so, besides the log, of what a person must mend.
    """

    def __init__(
        self,
        states: TargetStates,
        events: Events,
        now: Callable[[], float],
        webhook: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._states = states
        self._events = events
        self._now = now
        self._where = webhook
        self._webhook = Webhook(None)
        self._deliveries: set[asyncio.Future[bool]] = set()
        self._before: dict[tuple[str | None, str, str | None], Standing] = {}

    async def watch(self) -> None:
        """For ever."""
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                self.look()
        finally:
            for delivery in self._deliveries:
                delivery.cancel()
            await asyncio.gather(*self._deliveries, return_exceptions=True)
            await self._webhook.close()

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
                    self._alert(one)
            elif one.state == CLOSED != was:
                self._tell("info", "target_recovered", one)
            elif one.state != CLOSED and was == CLOSED:
                self._tell("error", "target_failing", one)

    def _tell(self, level: str, event: str, one: Standing) -> None:
        fields = {name: value for name, value in asdict(one).items() if value is not None}
        self._events.log_event(level, event, **fields)

    def _alert(self, one: Standing) -> None:
        self._webhook.url = self._where()
        if self._webhook.url is not None:
            body = render_refusal(one)
            delivery = asyncio.ensure_future(
                self._webhook.tell(body, self._events, {"provider": one.provider})
            )
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)


def render_refusal(one: Standing) -> bytes:
    """The JSON that the webhook gets when an account's credential is refused."""
    whose = one.provider if one.tenant is None else f"{one.provider} of tenant {one.tenant}"
    text = (
        f"The credential of provider {whose} is refused. "
        f"Nothing is sent there for {one.spared_for_s:.0f} s; put a valid one into the configuration."
    )
    fields = {
        "event": "credential_refused",
        "text": chat_text(text),
        "tenant": one.tenant,
        "provider": one.provider,
        "spared_for_s": one.spared_for_s,
    }
    return json.dumps(fields).encode("ascii")
