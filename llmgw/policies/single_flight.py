"""Of the same requests at the same time, the first goes on and the others wait for what it gets.

Nobody waits for ever, and nobody fails because another did: when the first comes to nothing, one of
those who wait goes in its place; when that one does too, or what came cannot be shared, they all go.
"""

from __future__ import annotations

import asyncio

from llmgw.engine.strand import Pause
from llmgw.ports.cache import CacheKey

ALONE = object()
"""Nothing to share: go on, and let others do what they like."""
LEAD = object()
"""Nothing yet: go on, in the place of the first."""


class _Flight:
    """One request under way. leader: who took the place of the first."""

    __slots__ = ("leader", "waiting")

    def __init__(self) -> None:
        self.leader: Pause | None = None
        self.waiting: list[Pause] = []


class SingleFlight:
    """The flights of one process. waited: how many requests got what another had asked for."""

    def __init__(self) -> None:
        self.waited = 0
        self._flights: dict[CacheKey, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def begin(self, key: CacheKey) -> bool:
        """Whether nobody is under way with this, so that the caller is now. It then has to `land`."""
        if key in self._flights:
            return False
        self._flights[key] = _Flight()
        return True

    async def wait(self, key: CacheKey, within_s: float) -> object:
        """What the flight under way comes to, or `LEAD` or `ALONE`. Who is to lead has to `land`."""
        flight = self._flights[key]
        loop = asyncio.get_running_loop()
        pause = Pause()
        flight.waiting.append(pause)
        timer = loop.call_later(within_s, pause.wake, ALONE)
        value: object = ALONE
        try:
            value = await pause
        finally:
            timer.cancel()
            if pause in flight.waiting:
                flight.waiting.remove(pause)
            if flight.leader is pause and value is not LEAD:
                # Gone, or out of patience, when it was just told to lead.
                self.land(key, LEAD)
        if value is not ALONE and value is not LEAD:
            self.waited += 1
        return value

    def land(self, key: CacheKey, value: object) -> None:
        """The flight is over. value: for those who wait; `LEAD` when it came to nothing."""
        flight = self._flights[key]
        loop = asyncio.get_running_loop()
        if value is LEAD and flight.leader is None and flight.waiting:
            flight.leader = flight.waiting.pop(0)
            loop.call_soon(flight.leader.wake, LEAD)
            return
        del self._flights[key]
        for pause in flight.waiting:
            # Not now: whoever lands is within its own settlement.
            loop.call_soon(pause.wake, ALONE if value is LEAD else value)
        flight.waiting.clear()
