"""A process's start, life and end with counters that all hosts share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.core.claim import CONCURRENCY, FIXED_WINDOW, Claim, Verdict
from llmgw.core.clock import Clock, steady_ns
from llmgw.core.errors import Unavailable
from llmgw.runtime.limits import allowances
from llmgw.server.sharing import (
    Sharing,
    host_of,
    make_ready,
    release_worker,
    seed_shared,
    share,
    view,
)
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.ledger import Ledger
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from llmgw.telemetry.events import NullEvents
from llmgw.telemetry.metrics import PrometheusMeter
from tests.contracts.counters import claim
from tests.contracts.records import settled
from tests.fakes.redis import RedisServer, redis_server

LIMIT = 100_000


@dataclass
class Place:
    """A host's directory, and the counters all hosts share."""

    directory: Path
    server: RedisServer
    document: Document
    clock: Clock

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.document.storage.database, self.document.storage.data_dir / "journal")

    def claim(self, cost: int = 1) -> Claim:
        """Of the tenant's quota."""
        (allowance,) = allowances(self.document, "acme", None, None, None)
        period = allowance.at(self.clock.utc_ns(), self.clock.utc_offset_ns)
        return Claim(period.rule, period.key, cost, period.until)

    def record(self, *numbers: int) -> None:
        """These requests are in the database."""
        sink = open_sink(self.document.storage.database, durable=False)
        now = time.time_ns()
        sink.load([settled(number, at_ns=now, user=None, key_id=None) for number in numbers])
        sink.close()

    def start(self) -> None:
        self.clock, warnings = make_ready(self.document, self.ledger)
        assert warnings == []

    async def worker(self) -> Sharing:
        local = MemoryCounters(self.clock.steady_ns)
        sharing = await share(self.document, local, self.clock, 0, NullEvents())
        assert sharing.counters.link is not None
        return sharing

    async def seen(self) -> tuple[int, int]:
        """Spent and held of the quota, as commands are shown it."""
        counters = view(self.document, MemoryCounters(steady_ns), self.clock)
        return await asyncio.to_thread(counters.balance, self.claim().key)


async def take(sharing: Sharing, asked: Claim, request: str) -> Verdict:
    decided: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
    given = sharing.counters.acquire([asked], request, decided.set_result)
    return given if isinstance(given, Verdict) else await decided


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with redis_server(tmp_path) as server:
        text = (
            "version: 1\n"
            f'storage: {{url: "sqlite:///{tmp_path}/l.db", redis: "{server.url}?budget=2000ms"}}\n'
            "providers: {e: {kind: echo}}\n"
            "tenants: {acme: {}}\n"
            f"quotas: [{{per: tenant, requests: {LIMIT}, window: month}}]\n"
        )
        create_schema(f"sqlite:///{tmp_path}/l.db")
        document = document_from_text(text, path=tmp_path / "llmgw.yaml")
        made = Place(tmp_path, server, document, Clock(steady_ns, 0))
        made.start()
        yield made


def test_a_host_keeps_its_name(place: Place) -> None:
    name = host_of(place.document)

    assert host_of(place.document) == name
    assert len(name) == 16


def test_the_clock_is_the_one_of_redis(place: Place) -> None:
    assert abs(place.clock.utc_ns() - time.time_ns()) < 5 * 10**9


async def test_a_start_brings_balances_up_to_the_ledger(place: Place) -> None:
    place.record(1, 2, 3)
    place.start()
    assert await place.seen() == (3, 0)

    place.record(4)
    seed_shared(place.document, place.clock)

    assert await place.seen() == (4, 0)


async def test_g12_what_a_dead_worker_held_is_charged_with_its_records(place: Place) -> None:
    sharing = await place.worker()
    for number in (1, 2):
        assert not (await take(sharing, place.claim(), f"req_{number:012}")).refusals
    member = sharing.session._member.split(":")
    await sharing.session.close()
    assert await place.seen() == (0, 2)
    place.record(1)

    for _ in range(2):
        release_worker(place.document, place.ledger, int(member[1]), int(member[2]))

    assert await place.seen() == (1, 0)


async def test_g12_what_was_let_on_without_redis_is_charged_at_the_next_start(place: Place) -> None:
    """The host was killed in the outage: its files say what it let on, its records what that used."""
    sharing = await place.worker()
    counters = sharing.counters
    verdict = await take(sharing, place.claim(), "req_000000000009")
    counters.settle([(place.claim(), 0)], verdict)
    link = counters.link
    assert link is not None
    await sharing.session._beat(link)
    await link.call("PING")
    await link.call("PING")
    counters.leave("cut off")
    for number in (1, 2, 3):
        assert not (await take(sharing, place.claim(), f"req_{number:012}")).refusals
    assert sharing.session._task is not None
    sharing.session._task.cancel()
    await asyncio.gather(sharing.session._task, return_exceptions=True)
    place.record(1, 2)

    place.start()

    assert await place.seen() == (2, 0)
    assert not list((place.document.storage.data_dir / "shares").iterdir())


async def test_commands_see_places_of_this_host_and_limits_of_all(place: Place) -> None:
    """Asked in a thread of their own, while the loop goes on."""
    local = MemoryCounters(place.clock.steady_ns)
    busy = claim(CONCURRENCY)
    local.acquire([busy], "r")
    counters = view(place.document, local, place.clock)

    steps = await asyncio.to_thread(
        counters.peek, [Claim(busy.rule, busy.key, 0), Claim(claim(FIXED_WINDOW).rule, "w", 0)]
    )

    assert [remaining for _, remaining, _ in steps] == [99, 100]


async def test_what_metrics_say(place: Place) -> None:
    sharing = await place.worker()
    meter = PrometheusMeter(version="0")
    sharing.watch(meter)
    await until(lambda: sharing.session.hosts == 1)

    text = meter.render()[0].decode()
    await sharing.session.close()

    assert "llmgw_redis_up 1" in text
    assert "llmgw_redis_hosts 1" in text


async def test_a_process_that_ends_is_forgotten_at_once(place: Place) -> None:
    sharing = await place.worker()
    assert place.server.call("HLEN", b"llmgw:{limits}:members") == 1

    await sharing.session.close()

    assert place.server.call("HLEN", b"llmgw:{limits}:members") == 0


def test_a_redis_that_is_not_there(place: Place) -> None:
    place.server.stop()

    with pytest.raises(Unavailable, match="cannot be reached"):
        make_ready(place.document, place.ledger)
