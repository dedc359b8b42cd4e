from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from llmgw.stores.host_peers import HostPeers, peers_path
from tests.contracts.peers import PeersContract

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    HostPeers.create(tmp_path / "peers", 3)
    return tmp_path / "peers"


@pytest.fixture
def peers(path: Path) -> Iterator[HostPeers]:
    opened = HostPeers(path, 1)
    yield opened
    opened.close()


class TestHostPeers(PeersContract):
    pass


def test_the_workers_of_a_host_count_together(path: Path, peers: HostPeers) -> None:
    other = HostPeers(path, 2)
    assert [peers.come("a", 3), other.come("a", 3), peers.come("a", 3)] == [True] * 3
    assert not other.come("a", 3)
    assert not peers.come("a", 3)
    assert other.come("b", 3)
    peers.go("a")
    assert other.come("a", 3)
    other.close()


def test_a_place_that_is_taken_over_begins_empty(path: Path, peers: HostPeers) -> None:
    assert HostPeers(path, 0).come("a", 1)
    assert not peers.come("a", 1)
    HostPeers(path, 0)
    assert peers.come("a", 1)


def come_together(path: Path, worker: int, barrier: Barrier, rounds: int) -> int:
    peers = HostPeers(path, worker)
    barrier.wait()
    return sum(peers.come("a", 1_000) for _ in range(rounds))


def test_f10_processes_that_race_never_take_more_than_the_limit(path: Path) -> None:
    with SPAWN.Manager() as manager, SPAWN.Pool(2) as pool:
        barrier = manager.Barrier(2)
        taken = pool.starmap(come_together, [(path, worker, barrier, 900) for worker in (0, 1)])
    assert 990 <= sum(taken) <= 1_000


def hold(path: Path, ready: Barrier) -> None:
    peers = HostPeers(path, 0)
    assert peers.come("a", 1)
    ready.wait()
    signal.pause()


def test_what_a_killed_worker_counted_is_gone_with_it(path: Path, peers: HostPeers) -> None:
    ready = SPAWN.Barrier(2)
    worker = SPAWN.Process(target=hold, args=(path, ready))
    worker.start()
    ready.wait()
    assert not peers.come("a", 1)
    worker.kill()
    worker.join()
    assert peers.come("a", 1)


def test_it_lies_beside_the_counters() -> None:
    assert peers_path(Path("/x/llmgw-1")) == Path("/x/llmgw-1.peers")
