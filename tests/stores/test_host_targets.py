"""States of targets, shared by processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from llmgw.stores.host_targets import HostTargets, targets_path
from tests.contracts.targets import TargetStatesContract

NAME = "|openai|gpt-4o"
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return targets_path(tmp_path / "counters")


@pytest.fixture
def states(path: Path) -> Iterator[HostTargets]:
    found = HostTargets.create(path)
    yield found
    found.close()


class TestHostTargets(TargetStatesContract):
    pass


def test_what_one_process_writes_another_reads(states: HostTargets, path: Path) -> None:
    other = HostTargets(path)

    states.of(NAME).open_until = 12.5

    assert other.of(NAME).open_until == 12.5
    assert [name for name, _ in other.all()] == [NAME]
    other.close()


def _race(path: Path, barrier: Barrier, rounds: int, won: list[int]) -> None:
    state = HostTargets(path).of(NAME)
    for number in range(rounds):
        barrier.wait(20)
        if state.claim_probe():
            won.append(number)
        barrier.wait(20)
        state.drop_probe()


def test_j10_of_many_processes_exactly_one_probes(states: HostTargets, path: Path) -> None:
    rounds = 50
    barrier = SPAWN.Barrier(3)
    with SPAWN.Manager() as manager:
        won = manager.list()
        processes = [SPAWN.Process(target=_race, args=(path, barrier, rounds, won)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)

        assert sorted(won) == list(range(rounds))


def _probe_and_wait(path: Path, barrier: Barrier) -> None:
    assert HostTargets(path).of(NAME).claim_probe()
    barrier.wait(20)
    signal.pause()


def test_who_dies_over_its_probe_does_not_count(states: HostTargets, path: Path) -> None:
    barrier = SPAWN.Barrier(2)
    process = SPAWN.Process(target=_probe_and_wait, args=(path, barrier))
    process.start()
    barrier.wait(20)
    state = states.of(NAME)
    assert not state.claim_probe()

    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)

    assert state.claim_probe()


def test_a_full_table_leaves_states_to_their_process(states: HostTargets) -> None:
    for number in range(1024):
        states.of(f"|p|{number}")

    extra = states.of("|p|extra")
    extra.open_until = 3.0

    assert states.of("|p|extra").open_until == 3.0
    assert len(states.all()) == 1024


def test_a_new_one_forgets(states: HostTargets, path: Path) -> None:
    states.of(NAME).open_until = 12.5
    fresh = HostTargets.create(path)

    assert fresh.all() == []
    assert states.of(NAME).open_until == 12.5
    fresh.close()
