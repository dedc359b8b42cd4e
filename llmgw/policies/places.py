"""The line for a place among the requests under way, fair between tenants.

Each tenant has its own line, and places go round the tenants: one that sends a thousand requests
waits for its own, not everybody for them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_LOOK_S = 0.02
"""How often the first in line looks for a place that another process gave back."""


@dataclass(slots=True, eq=False)
class _Waiter(Generic[T]):
    tenant: str
    attempt: Callable[[], T | None]
    done: asyncio.Future[T | None]


class Places:
    """queue: how many may wait, of all tenants together. wait_s: how long."""

    def __init__(self, queue: int, wait_s: float) -> None:
        self.queue = queue
        self.wait_s = wait_s
        self.waiting = 0
        self._lines: OrderedDict[str, deque[_Waiter[Any]]] = OrderedDict()  # each takes what it wants
        self._looking: asyncio.TimerHandle | None = None
        self._soon = False

    async def take(
        self, tenant: str, attempt: Callable[[], T | None], give_back: Callable[[T], None]
    ) -> T | None:
        """What `attempt` gives at this tenant's turn; None when the line is full or the wait too long.

        attempt: takes a place and more, or gives None when there is no place yet.
        give_back: called with what was taken for a caller that left at that moment.
        """
        if self.waiting >= self.queue or self.wait_s <= 0:
            return None
        loop = asyncio.get_running_loop()
        waiter: _Waiter[T] = _Waiter(tenant, attempt, loop.create_future())
        self._lines.setdefault(tenant, deque()).append(waiter)
        self.waiting += 1
        timer = loop.call_later(self.wait_s, _give_up, waiter.done)
        self._look_later(loop)
        try:
            return await waiter.done
        except BaseException:
            if waiter.done.done() and (taken := waiter.done.result()) is not None:
                give_back(taken)
                self.freed()
            raise
        finally:
            timer.cancel()
            self._leave(waiter)

    def freed(self) -> None:
        """A place may be free. The first in line tries at the end of this turn of the loop."""
        if self.waiting and not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._soon = False
        while self._lines:
            tenant, line = next(iter(self._lines.items()))
            waiter = line[0]
            if not waiter.done.done():
                given = waiter.attempt()
                if given is None:
                    return
                waiter.done.set_result(given)
            line.popleft()
            self._lines.move_to_end(tenant)
            if not line:
                del self._lines[tenant]

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._looking is None:
            self._looking = loop.call_later(_LOOK_S, self._look_again, loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = None
        self._look()
        if self._lines:
            self._look_later(loop)

    def _leave(self, waiter: _Waiter[T]) -> None:
        self.waiting -= 1
        line = self._lines.get(waiter.tenant)
        if line is not None and waiter in line:
            line.remove(waiter)
            if not line:
                del self._lines[waiter.tenant]


def _give_up(done: asyncio.Future[T | None]) -> None:
    if not done.done():
        done.set_result(None)
