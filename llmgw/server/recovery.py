"""What becomes of what a dead worker's requests held.

Places among the requests under way are free at once. Balances are charged with what the records
say, so they wait until everything that the worker wrote is in the database; while that, or Redis,
is away, they wait for it, and what was held goes on counting: too much is refused rather than too
little. The worker that follows begins meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from llmgw.core.claim import CONCURRENCY
from llmgw.stores.host import Abandoned
from llmgw.telemetry.events import Events

_TOLD_AFTER_S = 10.0
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 5.0


class Holds(Protocol):
    """Of the host's counters, what is needed here."""

    def abandoned(self, worker: int) -> list[Abandoned]: ...

    def release(
        self,
        worker: int,
        request_id: str,
        charges: Mapping[str, int],
        keys: Collection[str] | None = None,
    ) -> None: ...


class Recovery:
    """Give `recovered` to the supervisor, and `close` it before the counters.

    adopted: whether all that a dead process wrote is in the database, waiting for it so many seconds.
    release: turns what a dead worker held into what its records say; blocking.
    pause_s: between two tries, longer each time.
    """

    def __init__(
        self,
        holds: Holds,
        adopted: Callable[[int, float], Awaitable[bool]],
        release: Callable[[int, int, Sequence[Abandoned]], None],
        events: Events,
        *,
        pause_s: float = _PAUSE_S,
        told_after_s: float = _TOLD_AFTER_S,
    ) -> None:
        self._holds = holds
        self._adopted = adopted
        self._release = release
        self._events = events
        self._pause_s = pause_s
        self._told_after_s = told_after_s
        self._waiting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def recovered(self, index: int, pid: int) -> None:
        """Note what a dead worker held, before another has its place. Raises Unavailable."""
        async with self._turn:
            held = await asyncio.to_thread(self._note, index)
        self._waiting.update(one.request_id for one in held)
        task = asyncio.create_task(self._see_to(index, pid, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave what is not done to the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note(self, index: int) -> list[Abandoned]:
        """What is held, but for what an earlier worker left there. Places are given back."""
        held = []
        for one in self._holds.abandoned(index):
            if one.request_id in self._waiting:
                continue
            places = {claim.key for claim in one.claims if claim.algorithm == CONCURRENCY}
            if places:
                self._holds.release(index, one.request_id, {}, places)
            rest = tuple(claim for claim in one.claims if claim.key not in places)
            if rest:
                held.append(Abandoned(one.request_id, rest))
        return held

    async def _see_to(self, index: int, pid: int, held: Sequence[Abandoned]) -> None:
        """Try until it is done; told when that takes long, and when it then is."""
        began = time.monotonic()
        pause_s = self._pause_s
        told = False
        while (why := await self._try(index, pid, held)) is not None:
            if not told and time.monotonic() - began >= self._told_after_s:
                told = True
                self._tell("warning", "holds_kept", index, pid, requests=len(held), error=why)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._waiting.difference_update(one.request_id for one in held)
        if told:
            self._tell("info", "holds_released", index, pid, requests=len(held))

    async def _try(self, index: int, pid: int, held: Sequence[Abandoned]) -> str | None:
        """Why it could not be done; None when it is."""
        if not await self._adopted(pid, _LONGEST_PAUSE_S):
            return "its journal is not in the database yet"
        try:
            async with self._turn:
                await asyncio.to_thread(self._release, index, pid, held)
        except Exception as error:
            # Whatever it is, what was held goes on counting, and the next try may do.
            return str(getattr(error, "detail", None) or error)
        return None

    def _tell(self, level: str, event: str, index: int, pid: int, **fields: object) -> None:
        self._events.log_event(level, event, index=index, pid=pid, **fields)
