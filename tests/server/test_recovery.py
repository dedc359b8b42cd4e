"""What a dead worker held, with stores that come back late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import pytest

from llmgw.core.claim import BALANCE, CONCURRENCY
from llmgw.core.errors import Unavailable
from llmgw.server.recovery import Recovery
from llmgw.stores.host import Abandoned, Held

PLACE = Held("concurrency", 1, CONCURRENCY)
BUDGET = Held("quota|acme", 40, BALANCE)


class Host:
    """The counters, the drainer and the ledger of a host. drained, answers: whether they are there."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[Held, ...]] = {}
        self.drained = self.answers = True
        self.charged: list[tuple[int, int, str]] = []
        self.events: list[tuple[str, object]] = []

    def abandoned(self, worker: int) -> list[Abandoned]:
        return [Abandoned(request_id, claims) for request_id, claims in self.held.items()]

    def release(
        self,
        worker: int,
        request_id: str,
        charges: Mapping[str, int],
        keys: Collection[str] | None = None,
    ) -> None:
        assert keys is not None
        self.held[request_id] = tuple(one for one in self.held[request_id] if one.key not in keys)

    async def adopted(self, pid: int, within_s: float) -> bool:
        await asyncio.sleep(0)
        return self.drained

    def charge(self, index: int, pid: int, held: Sequence[Abandoned]) -> None:
        if not self.answers:
            raise Unavailable("the database does not answer", detail="connection refused")
        self.charged += [(index, pid, one.request_id) for one in held]

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append((event, fields.get("error")))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.005)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
async def recovery(host: Host) -> Recovery:
    return Recovery(
        host,
        host.adopted,
        host.charge,
        host,  # type: ignore[arg-type]
        pause_s=0.01,
        told_after_s=0.0,
    )


async def test_places_are_free_at_once_and_balances_are_charged(host: Host, recovery: Recovery) -> None:
    host.held = {"r1": (PLACE, BUDGET), "r2": (PLACE,)}

    await recovery.recovered(1, 4711)
    assert host.held == {"r1": (BUDGET,), "r2": ()}
    await host.until(lambda: bool(host.charged))

    assert host.charged == [(1, 4711, "r1")]
    assert host.events == []


@pytest.mark.parametrize("away", ["drained", "answers"])
async def test_g08_a_worker_that_dies_while_a_store_is_away(
    host: Host, recovery: Recovery, away: str
) -> None:
    """The next worker is not kept waiting; what was held is charged once the store is back."""
    setattr(host, away, False)
    host.held = {"r1": (BUDGET,)}

    await recovery.recovered(1, 4711)
    await host.until(lambda: bool(host.events))
    assert host.charged == []
    setattr(host, away, True)
    await host.until(lambda: bool(host.charged))
    await host.until(lambda: len(host.events) == 2)

    assert host.charged == [(1, 4711, "r1")]
    why = {
        "drained": "its journal is not in the database yet",
        "answers": "connection refused",
    }
    assert host.events == [("holds_kept", why[away]), ("holds_released", None)]


async def test_the_next_worker_dies_as_well(host: Host, recovery: Recovery) -> None:
    """What the first held is charged by the first one's records alone."""
    host.drained = False
    host.held = {"r1": (BUDGET,)}
    await recovery.recovered(1, 1)
    host.held["r2"] = (BUDGET,)
    await recovery.recovered(1, 2)

    host.drained = True
    await host.until(lambda: len(host.charged) == 2)

    assert sorted(host.charged) == [(1, 1, "r1"), (1, 2, "r2")]


async def test_what_is_left_at_the_end_is_for_the_next_start(host: Host, recovery: Recovery) -> None:
    host.drained = False
    host.held = {"r1": (BUDGET,)}
    await recovery.recovered(1, 1)

    await recovery.close()
    host.drained = True
    await asyncio.sleep(0.05)

    assert host.charged == []
