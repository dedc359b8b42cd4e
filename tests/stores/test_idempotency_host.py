from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from llmgw.core.errors import Unavailable
from llmgw.ports.idempotency import LEASE_S, Found
from llmgw.stores.idempotency_host import FILE, OWNERS, HostIdempotency
from tests.contracts.idempotency import DAY_S, PRINT, IdempotencyContract, held
from tests.fakes.clock import FakeClock


class Stores:
    """Each as if of a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.opened: list[HostIdempotency] = []

    def open(self) -> HostIdempotency:
        loop = asyncio.get_running_loop()
        self.opened.append(HostIdempotency(self.directory, self.clock.clock.utc_ns, loop, durable=False))
        return self.opened[-1]

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def count(self) -> int:
        with closing(sqlite3.connect(self.directory / FILE)) as connection:
            return int(connection.execute("SELECT count(*) FROM kept").fetchone()[0])


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = Stores(tmp_path)
    yield stores
    for store in stores.opened:
        await store.close()


class TestHostIdempotency(IdempotencyContract):
    pass


async def test_it_outlives_the_process(stores: Stores) -> None:
    store = stores.open()
    done, under_way = held(), held("acme:2")
    await store.claim(done)
    await store.keep(done, b"answer", DAY_S)
    await store.claim(under_way)
    await store.close()

    store = stores.open()

    assert await store.claim(held()) == Found(PRINT, b"answer")
    assert await store.claim(held("acme:2")) == Found(PRINT, None)


async def test_nobody_else_may_read_it(stores: Stores) -> None:
    await stores.open().claim(held())

    assert (stores.directory / FILE).stat().st_mode & 0o077 == 0


async def test_nothing_is_made_before_a_key_comes(stores: Stores) -> None:
    threads = threading.active_count()
    store = stores.open()
    await store.sweep()

    assert not (stores.directory / FILE).exists()
    assert threading.active_count() == threads


async def test_h12_a_damaged_file_is_unavailable_and_can_be_replaced(stores: Stores) -> None:
    store = stores.open()
    file = stores.directory / FILE
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable) as refused:
        await store.claim(held())
    assert str(file) in str(refused.value.detail)

    file.unlink()

    assert await store.claim(held()) is None


async def test_a_burst_is_one_commit(stores: Stores) -> None:
    """What came up while the thread was busy goes together, and all of it is answered."""
    store = stores.open()
    await store.claim(held("acme:first"))

    found = await asyncio.gather(*(store.claim(held(f"acme:{number}")) for number in range(300)))

    assert found == [None] * 300
    assert stores.count() == 301


_CLAIMER = """
import asyncio, secrets, sys, time
from pathlib import Path
from llmgw.ports.idempotency import Held
from llmgw.stores.idempotency_host import HostIdempotency

async def main():
    store = HostIdempotency(Path(sys.argv[1]), time.time_ns, asyncio.get_running_loop(), durable=False)
    print("ready", flush=True)
    sys.stdin.readline()
    names = [f"acme:{number}" for number in range(int(sys.argv[2]))]
    claims = [store.claim(Held(name, secrets.token_bytes(16), b"a" * 32)) for name in names]
    print((await asyncio.gather(*claims)).count(None), flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


def _claimers(directory: Path, processes: int, names: int) -> list[subprocess.Popen[str]]:
    """Processes that claim the same names, all at once."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _CLAIMER, str(directory), str(names)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return started


def test_h04_processes_that_race_for_names(tmp_path: Path) -> None:
    """Of four processes, one gets each of 1,000 names."""
    started = _claimers(tmp_path, 4, 1_000)
    won = [int(process.stdout.readline()) for process in started if process.stdout is not None]
    for process in started:
        process.kill()
        process.communicate()

    assert sum(won) == 1_000


async def test_h07_kill_9_of_the_owner(stores: Stores) -> None:
    """What it was at is free at once, for those who had the file open before and those who open it then."""
    stores.clock.until("2026-11-24T12:00:01+00:00")
    before = stores.open()
    await before.claim(held("acme:own"))
    (owner,) = _claimers(stores.directory, 1, 3)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "3\n"
    _have_leases_begin_now(stores)
    assert await before.claim(held()) == Found(PRINT, None)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()

    assert await before.claim(held()) is None

    after = stores.open()
    assert await after.claim(held("acme:2")) is None
    assert await after.claim(held("acme:1")) == Found(PRINT, None)
    assert await after.claim(held("acme:own")) == Found(PRINT, None)
    assert len([*(stores.directory / OWNERS).iterdir()]) == 2


async def test_h07_an_owner_that_hangs(stores: Stores) -> None:
    """It may come back, so its names are free when their lease is over, and no sooner."""
    (owner,) = _claimers(stores.directory, 1, 3)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "3\n"
    owner.send_signal(signal.SIGSTOP)
    try:
        _have_leases_begin_now(stores)
        store = stores.open()
        stores.sleep(LEASE_S - 1)
        assert await store.claim(held()) == Found(PRINT, None)
        stores.sleep(1.1)
        assert await store.claim(held()) is None
    finally:
        owner.kill()
        owner.communicate()


async def test_what_was_answered_outlives_its_owner(stores: Stores) -> None:
    store, other = stores.open(), stores.open()
    one = held()
    await store.claim(one)
    await store.keep(one, b"answer", DAY_S)
    await store.close()

    assert await other.claim(held()) == Found(PRINT, b"answer")


def _have_leases_begin_now(stores: Stores) -> None:
    """By the clock of the test."""
    with closing(sqlite3.connect(stores.directory / FILE)) as connection:
        until = stores.clock.clock.utc_ns() + int(LEASE_S * 1e9)
        connection.execute("UPDATE kept SET until_ns = ?", (until,))
        connection.commit()
