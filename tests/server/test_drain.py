from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from llmgw.server.drain import Departure, drain


@pytest.mark.parametrize(("number", "patient"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_signals(number: int, patient: bool) -> None:
    """The first asks, SIGTERM with patience; the second hurries and changes nothing else."""
    departure = Departure()
    with departure.on_signals(asyncio.get_running_loop()):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(departure.asked.wait(), 5)
        assert (departure.patient, departure.hurry.is_set()) == (patient, False)

        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(departure.hurry.wait(), 5)

    assert departure.patient is patient


class Quiet:
    """A gateway with nothing under way, and a listener with connections that wait."""

    def __init__(self, *waiting_since: float) -> None:
        self.draining = False
        self.under_way: set[object] = set()
        self.state = self
        self.connections = set(waiting_since)
        self.steps: list[str] = []

    def stop(self) -> None:
        self.steps.append("stop")

    def close_idle(self, since: float | None = None) -> None:
        self.connections = {one for one in self.connections if since is not None and one > since}
        if since is None:
            self.steps.append(f"close {len(self.connections)}")

    async def finish(self, within_s: float) -> None:
        self.steps.append("finish")


async def drained(quiet: Any, *, accepting: bool, lame_duck_s: float = 0.3) -> float:
    """How long it took."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await drain(
        quiet,
        [quiet],
        lame_duck_s=lame_duck_s,
        drain_timeout_s=5.0,
        hurry=asyncio.Event(),
        accepting=accepting,
    )
    assert quiet.draining
    assert quiet.steps == ["stop", "close 0", "finish"]
    return loop.time() - before


async def test_one_that_was_followed_goes_with_its_last_connection() -> None:
    """It waits for none that is not there, and for those that are as long as they may send."""
    now = asyncio.get_running_loop().time()

    assert await drained(Quiet(), accepting=False, lame_duck_s=60) < 5
    assert 0.2 < await drained(Quiet(now - 1, now), accepting=False) < 5


async def test_one_that_nobody_follows_accepts_for_a_while() -> None:
    assert 0.2 < await drained(Quiet(), accepting=True) < 5
