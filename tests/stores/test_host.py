from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmgw.core.claim import BALANCE, CONCURRENCY, FIXED_WINDOW, TOKEN_BUCKET, Claim
from llmgw.core.clock import Clock, system_clock
from llmgw.core.errors import Unavailable
from llmgw.stores.host import Abandoned, HostCounters
from tests.contracts.counters import (
    END,
    EVERY,
    MINUTE,
    RATES,
    REQUEST,
    CountersContract,
    SteadyHand,
    claim,
    remaining,
    rule,
    sweep_all,
)
from tests.fakes import counting

Attach = Callable[[int], HostCounters]


@pytest.fixture
def clock() -> SteadyHand:
    return SteadyHand()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters"


@pytest.fixture
def supervisor(path: Path, clock: SteadyHand) -> Iterator[HostCounters]:
    counters = HostCounters.create(path, 4, Clock(clock, 77), slots=64, grants=8)
    yield counters
    counters.close()


@pytest.fixture
def attach(supervisor: HostCounters, path: Path, clock: SteadyHand) -> Iterator[Attach]:
    opened = []

    def attach(worker: int) -> HostCounters:
        opened.append(HostCounters.attach(path, worker, clock))
        return opened[-1]

    yield attach
    for counters in opened:
        counters.close()


class TestHostCounters(CountersContract):
    @pytest.fixture
    def counters(self, clock: SteadyHand, path: Path) -> Iterator[HostCounters]:
        HostCounters.create(path, 4, Clock(clock, 0), slots=1024, grants=512).close()
        counters = HostCounters.attach(path, 2, clock)
        yield counters
        counters.close()


def test_workers_count_together(attach: Attach) -> None:
    one, other = attach(0), attach(3)
    hold = claim(BALANCE, 60)
    one.settle([(hold, 40)], one.acquire([hold], REQUEST))

    assert other.balance(hold.key) == (40, 0)
    assert not other.acquire([hold], REQUEST).refusals
    assert one.acquire([hold], REQUEST).refusals
    assert one.clock.utc_offset_ns == other.clock.utc_offset_ns == 77


def test_a_worker_notices_what_another_forgot(attach: Attach, clock: SteadyHand) -> None:
    """A slot that was given to another counter is not taken for the one that was there."""
    one, other = attach(0), attach(1)
    asked = [claim(FIXED_WINDOW, 30, str(whose)) for whose in range(64)]
    for each in asked:
        one.acquire([each], REQUEST)
    clock.now += 2 * MINUTE
    sweep_all(other)
    for whose in range(100, 164):
        other.acquire([claim(TOKEN_BUCKET, 80, str(whose))], REQUEST)
    assert one.counted() == 64
    clock.now += 2 * MINUTE

    assert [remaining(one, each) for each in asked] == [100] * 64
    assert not one.acquire([asked[0]], REQUEST).refusals
    assert remaining(other, asked[0]) == 70


@pytest.mark.parametrize("algorithm", EVERY)
def test_f02_four_processes_admit_the_limit_exactly(path: Path, algorithm: str) -> None:
    supervisor = HostCounters.create(path, 4, system_clock(), slots=64, grants=512)
    processes = [
        counting.start("burst", path, worker, algorithm, 500, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for worker in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    passed = [int(process.communicate(timeout=60)[0]) for process in processes]
    supervisor.close()

    assert sum(passed) == 100, passed


def test_g08_killed_workers_neither_lose_nor_keep_anything(path: Path, tmp_path: Path) -> None:
    """Workers killed at random under load: holds end, and what is spent is what was reported."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    supervisor = HostCounters.create(path, 4, system_clock(), slots=64, grants=64)
    out = [tmp_path / f"{worker}.out" for worker in range(4)]
    released: list[str] = []
    kills = 0

    def begin(worker: int) -> subprocess.Popen[str]:
        with out[worker].open("ab") as file:
            return counting.start("work", path, worker, stdout=file)

    def bury(worker: int) -> None:
        nonlocal kills
        workers[worker].kill()
        workers[worker].wait()
        kills += 1
        for lost in supervisor.abandoned(worker):
            supervisor.release(worker, lost.request_id, {counting.HOLD.key: counting.CHARGE})
            released.append(lost.request_id)

    workers = [begin(worker) for worker in range(4)]
    for _ in range(16):
        time.sleep(chance.uniform(0.05, 0.2))
        worker = chance.randrange(4)
        written = out[worker].stat().st_size
        while out[worker].stat().st_size == written:
            time.sleep(0.002)
        bury(worker)
        workers[worker] = begin(worker)
    for worker in range(4):
        bury(worker)

    lines = [line.split() for file in out for line in file.read_text().splitlines()]
    taken = {request_id for word, request_id in lines if word == "taken"}
    settled = {request_id for word, request_id in lines if word == "settled"}
    known = len(settled | set(released))
    assert len(settled) > 100
    spent, held = supervisor.balance(counting.HOLD.key)
    assert held == 0
    assert counting.used(supervisor, counting.PLACE) == 0
    assert counting.CHARGE * known <= spent <= counting.CHARGE * (known + kills)
    assert len(taken) <= counting.used(supervisor, counting.REQUESTS) <= len(taken) + kills
    assert counting.used(supervisor, counting.TOKENS) >= counting.CHARGE * known
    supervisor.close()


def test_a_counter_never_looks_smaller_while_it_is_written(path: Path) -> None:
    """So that a process killed over it leaves no less; and readers that take no lock see no less."""
    supervisor = HostCounters.create(path, 1, system_clock(), slots=64, grants=8)
    process = counting.start("work", path, 0, stdout=subprocess.DEVNULL)
    while supervisor.balance(counting.HOLD.key)[0] == 0:
        time.sleep(0.002)
    end = time.monotonic() + 1
    spent = 0
    while time.monotonic() < end:
        for _ in range(1_000):
            before, spent = spent, supervisor.balance(counting.HOLD.key)[0]
            assert spent >= before
    process.kill()
    process.wait()
    supervisor.close()


def test_killed_at_any_line(path: Path) -> None:
    """Over-count by the one request under way, never under-count; nothing stays held or locked."""
    done = counting.start("die_everywhere", path, 0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = done.communicate(timeout=120)

    assert done.returncode == 0, err
    lines = dict(line.split() for line in out.splitlines())
    assert all(int(lines[operation]) > 30 for operation in ("acquire", "settle")), lines


class TestAbandoned:
    def test_holds_count_until_they_are_released(self, attach: Attach, supervisor: HostCounters) -> None:
        dead, alive = attach(1), attach(2)
        place, hold, rate = claim(CONCURRENCY), claim(BALANCE, 60), claim(TOKEN_BUCKET, 5)
        dead.acquire([rate, place, hold], REQUEST)
        alive.acquire([place], "another")

        assert supervisor.abandoned(3) == []
        assert supervisor.abandoned(1) == [
            Abandoned(REQUEST, ((place.key, 1, CONCURRENCY), (hold.key, 60, BALANCE)))
        ]
        assert alive.acquire([hold], REQUEST).refusals
        supervisor.release(1, REQUEST, {hold.key: 25})
        supervisor.release(1, REQUEST, {hold.key: 25})

        assert supervisor.abandoned(1) == []
        assert alive.balance(hold.key) == (25, 0)
        assert remaining(alive, place) == 99
        assert remaining(alive, rate) == 95

    def test_what_was_never_dispatched_costs_nothing(self, attach: Attach, supervisor: HostCounters) -> None:
        hold = claim(BALANCE, 60)
        attach(1).acquire([hold], REQUEST)
        assert len(supervisor.abandoned(1)) == 1

        supervisor.release(1, REQUEST, {})

        assert supervisor.balance(hold.key) == (0, 0)

    def test_only_the_named_request_is_released(self, attach: Attach, supervisor: HostCounters) -> None:
        dead = attach(1)
        for name in ("one", "two"):
            dead.acquire([claim(BALANCE, 10)], name)

        supervisor.release(1, "one", {claim(BALANCE).key: 4})

        assert [lost.request_id for lost in supervisor.abandoned(1)] == ["two"]
        assert supervisor.balance(claim(BALANCE).key) == (4, 10)

    def test_places_before_balances(self, attach: Attach, supervisor: HostCounters) -> None:
        """What needs no record is given back at once, the rest when its record is there."""
        place, hold = claim(CONCURRENCY), claim(BALANCE, 60)
        attach(1).acquire([place, hold], REQUEST)

        supervisor.release(1, REQUEST, {}, {place.key})
        assert supervisor.abandoned(1) == [Abandoned(REQUEST, ((hold.key, 60, BALANCE),))]
        assert remaining(supervisor, place) == 100
        supervisor.release(1, REQUEST, {hold.key: 25}, {hold.key})

        assert supervisor.abandoned(1) == []
        assert supervisor.balance(hold.key) == (25, 0)

    def test_a_successor_leaves_them_alone(self, attach: Attach, supervisor: HostCounters) -> None:
        """A worker started again takes other grants, and the released ones when it has no other."""
        dead = attach(1)
        for number in range(6):
            dead.acquire([claim(CONCURRENCY)], f"dead {number}")
        listed = supervisor.abandoned(1)
        successor = attach(1)
        verdicts = [successor.acquire([claim(CONCURRENCY)], "new") for _ in range(2)]
        assert successor.alone == 0
        for lost in listed:
            supervisor.release(1, lost.request_id, {})

        verdicts += [successor.acquire([claim(CONCURRENCY)], "new") for _ in range(6)]
        assert (successor.alone, remaining(successor, claim(CONCURRENCY))) == (0, 92)
        for verdict in verdicts:
            successor.settle([(claim(CONCURRENCY), 0)], verdict)

        assert supervisor.abandoned(1) == []
        assert remaining(successor, claim(CONCURRENCY)) == 100

    def test_very_long_keys_are_cut_but_counted_apart(self, attach: Attach, supervisor: HostCounters) -> None:
        dead = attach(1)
        holds = [claim(BALANCE, 10, "é" * 200 + whose) for whose in ("a", "b")]
        dead.acquire(holds, REQUEST)
        (lost,) = supervisor.abandoned(1)
        assert all(holds[0].key.startswith(held.key) and len(held.key) > 100 for held in lost.claims)

        supervisor.release(1, REQUEST, {held.key: 3 for held in lost.claims})

        assert [supervisor.balance(hold.key) for hold in holds] == [(3, 0), (3, 0)]


@pytest.fixture
def stopped(path: Path, supervisor: HostCounters) -> Iterator[subprocess.Popen[str]]:
    """A worker that was stopped while it held the lock."""
    process = counting.start("stop", path, 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.002)
    yield process
    process.kill()
    process.communicate()


class TestStoppedHolder:
    def test_each_rule_says_what_becomes_of_its_claims(
        self, attach: Attach, stopped: subprocess.Popen[str]
    ) -> None:
        counters = attach(1)
        begun = time.monotonic()
        allowed = [
            counters.acquire([claim(rule(FIXED_WINDOW, limit=1, on_store_error="allow"))], REQUEST)
            for _ in range(5)
        ]
        assert time.monotonic() - begun < 2
        denied = counters.acquire([claim(rule(FIXED_WINDOW, on_store_error="deny"))], REQUEST)
        local = [counters.acquire([claim(rule(FIXED_WINDOW, limit=8))], REQUEST) for _ in range(5)]

        assert counters.degraded
        assert counters.alone == 11
        assert not any(verdict.refusals for verdict in allowed)
        assert len(denied.refusals) == 1
        assert [len(verdict.refusals) for verdict in local] == [0, 0, 1, 1, 1]

    def test_nobody_waits_for_it_again(self, attach: Attach, stopped: subprocess.Popen[str]) -> None:
        counters = attach(1)
        counters.acquire([claim(FIXED_WINDOW)], REQUEST)
        waits = []
        for _ in range(20):
            begun = time.monotonic()
            counters.acquire([claim(FIXED_WINDOW)], REQUEST)
            waits.append(time.monotonic() - begun)

        assert sorted(waits)[10] < 0.01

    def test_what_was_used_is_settled_when_it_goes_on(
        self, path: Path, attach: Attach, supervisor: HostCounters
    ) -> None:
        """Of a request taken before, and of one that was decided alone."""
        counters = attach(1)
        before, alone = claim(BALANCE, 50), claim(rule(BALANCE, on_store_error="allow"), 20)
        verdict = counters.acquire([before, claim(CONCURRENCY)], REQUEST)
        process = counting.start("stop", path, 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while not counters.degraded:
            decided = counters.acquire([alone], REQUEST)
        counters.settle([(before, 30), (claim(CONCURRENCY), 0)], verdict)
        counters.settle([(alone, 15)], decided)
        assert counters.peek([before])[0][1] == 0
        assert list(counters.balances()) == [(before.key, 0, 50)]
        counters.sweep()

        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "freed\n"
        counters.sweep()
        process.communicate("\n")

        assert not counters.degraded
        assert supervisor.balance(before.key) == (45, 0)
        assert remaining(counters, claim(CONCURRENCY)) == 100
        assert supervisor.abandoned(1) == []

    def test_the_supervisor_says_who_holds_it(
        self, supervisor: HostCounters, stopped: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llmgw.stores.host._INSISTS_NS", 50_000_000)

        with pytest.raises(Unavailable, match=f"process {stopped.pid}"):
            supervisor.abandoned(0)

    def test_a_killed_holder_frees_the_lock(self, attach: Attach, stopped: subprocess.Popen[str]) -> None:
        stopped.kill()
        stopped.wait()
        counters = attach(1)

        assert not counters.acquire([claim(FIXED_WINDOW)], REQUEST).refusals
        assert not counters.degraded


class TestNoRoom:
    @pytest.fixture
    def full(self, attach: Attach) -> HostCounters:
        """Every slot holds a balance of this period."""
        counters = attach(1)
        for whose in range(64):
            hold = claim(BALANCE, 1, str(whose))
            counters.settle([(hold, 1)], counters.acquire([hold], REQUEST))
        assert counters.counted() == counters.capacity == 64
        return counters

    def test_counters_that_fit_go_on(self, full: HostCounters) -> None:
        assert not full.acquire([claim(BALANCE, 99, "7")], REQUEST).refusals
        assert full.acquire([claim(BALANCE, 1, "7")], REQUEST).refusals
        assert full.alone == 0

    @pytest.mark.parametrize(("mode", "passing"), [("allow", 5), ("deny", 0), ("local", 2)])
    def test_a_claim_without_room_is_decided_by_its_rule(
        self, full: HostCounters, mode: str, passing: int
    ) -> None:
        fitting = claim(BALANCE, 10, "7")
        new = claim(rule(FIXED_WINDOW, limit=8, on_store_error=mode))

        verdicts = [full.acquire([new, fitting], REQUEST) for _ in range(5)]

        assert sum(not verdict.refusals for verdict in verdicts) == passing
        assert full.balance(fitting.key) == (1, 10 * passing)
        assert full.alone == 5
        for verdict in verdicts[:passing]:
            full.settle([(new, 0), (fitting, 2)], verdict)
        assert full.balance(fitting.key) == (1 + 2 * passing, 0)
        assert len(full.acquire([new, fitting], REQUEST).refusals) == (mode == "deny")

    def test_spent_counters_make_room(self, full: HostCounters, clock: SteadyHand) -> None:
        clock.now = END

        assert not full.acquire([claim(FIXED_WINDOW)], REQUEST).refusals

        assert (full.alone, full.counted()) == (0, 1)

    def test_room_made_of_the_request_itself(self, full: HostCounters, clock: SteadyHand) -> None:
        """A spent counter of the same request may be forgotten for a new one; it gets another slot."""
        clock.now = END
        old = Claim(rule(BALANCE), claim(BALANCE, 1, "7").key, 30, END + MINUTE)

        verdict = full.acquire([old, claim(FIXED_WINDOW)], REQUEST)

        assert not verdict.refusals
        assert full.balance(old.key) == (1, 30)
        assert remaining(full, claim(FIXED_WINDOW)) == 99
        assert (full.alone, full.counted()) == (0, 2)

    def test_a_late_debt_without_room_is_counted_as_lost(self, attach: Attach, clock: SteadyHand) -> None:
        counters = attach(1)
        asked = claim(FIXED_WINDOW)
        verdict = counters.acquire([asked], REQUEST)
        clock.now += 2 * MINUTE
        for whose in range(64):
            counters.acquire([claim(BALANCE, 1, str(whose))], REQUEST)
            if whose == 6:
                # More holds than grants: the rest is held by other workers.
                break
        sweep_all(counters)
        other = attach(2)
        for whose in range(64):
            hold = claim(BALANCE, 1, str(whose))
            other.settle([(hold, 1)], other.acquire([hold], REQUEST))

        counters.settle([(asked, 5)], verdict)

        assert counters.uncounted == 1

    def test_more_requests_under_way_than_grants(self, attach: Attach, supervisor: HostCounters) -> None:
        counters = attach(1)
        place = claim(rule(CONCURRENCY, limit=400, on_store_error="deny"))

        verdicts = [counters.acquire([claim(FIXED_WINDOW), place], f"r{number}") for number in range(9)]

        assert [len(verdict.refusals) for verdict in verdicts] == [0] * 8 + [1]
        assert remaining(counters, claim(FIXED_WINDOW)) == 92
        counters.settle([(place, 0)], verdicts[0])
        assert not counters.acquire([place], REQUEST).refusals

    def test_balances_of_the_ledger_need_room(self, supervisor: HostCounters) -> None:
        with pytest.raises(Unavailable, match="no room for 65 balances"):
            supervisor.restore({f"b{number}": (1, END) for number in range(65)})


class TestRestart:
    def test_limits_go_on_and_holds_do_not(
        self, path: Path, attach: Attach, clock: SteadyHand, supervisor: HostCounters
    ) -> None:
        counters = attach(1)
        rates = [claim(algorithm, 60) for algorithm in RATES]
        hold = claim(BALANCE, 50)
        counters.settle([(hold, 20)], counters.acquire([hold], REQUEST))
        counters.acquire([*rates, claim(CONCURRENCY), hold], REQUEST)
        clock.now += 1

        again = HostCounters.create(path, 2, Clock(clock, 99), slots=128, grants=4)

        assert [remaining(again, rate) for rate in rates] == [40, 40, 40]
        assert again.balance(hold.key) == (20, 0)
        assert remaining(again, claim(CONCURRENCY)) == 100
        assert again.abandoned(1) == []
        assert (again.clock.utc_offset_ns, again.capacity, again.counted()) == (99, 128, 4)
        again.close()

    def test_a_gateway_that_still_ends_goes_on_alone(
        self, path: Path, attach: Attach, clock: SteadyHand
    ) -> None:
        """The workers of the gateway before settle in the file they know."""
        old = attach(1)
        verdict = old.acquire([claim(CONCURRENCY)], REQUEST)
        again = HostCounters.create(path, 4, Clock(clock, 0), slots=64, grants=8)
        new = HostCounters.attach(path, 1, clock)
        new.acquire([claim(CONCURRENCY)], REQUEST)

        old.settle([(claim(CONCURRENCY), 0)], verdict)

        assert remaining(new, claim(CONCURRENCY)) == 99
        new.close()
        again.close()

    def test_the_ledger_says_what_balances_are(self, path: Path, attach: Attach, clock: SteadyHand) -> None:
        counters = attach(1)
        for whose in ("acme", "beta"):
            hold = claim(BALANCE, 50, whose)
            counters.settle([(hold, 20)], counters.acquire([hold], REQUEST))
        again = HostCounters.create(path, 4, Clock(clock, 0), slots=64, grants=8)

        again.restore({claim(BALANCE).key: (33, END)})

        assert list(again.balances()) == [(claim(BALANCE).key, 33, 0)]
        again.close()


class TestRefusedFiles:
    def test_no_file(self, path: Path) -> None:
        with pytest.raises(Unavailable, match="No such file"):
            HostCounters.attach(path, 0)

    def test_a_worker_too_many(self, path: Path, supervisor: HostCounters) -> None:
        with pytest.raises(Unavailable, match="for 4 workers, not for number 4"):
            HostCounters.attach(path, 4)

    def test_garbage(self, path: Path) -> None:
        path.write_bytes(b"\x00" * 100_000)

        with pytest.raises(Unavailable, match="not a counter file"):
            HostCounters.attach(path, 0)

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="cannot be kept"):
            HostCounters.create(tmp_path / "no" / "counters", 4, system_clock())


def test_the_supervisor_takes_no_leases(supervisor: HostCounters) -> None:
    """It has no grants to write them in, so that its claims are decided by their rules."""
    place: Any = claim(rule(CONCURRENCY, on_store_error="deny"))

    assert supervisor.acquire([place], REQUEST).refusals
    assert not supervisor.acquire([claim(FIXED_WINDOW)], REQUEST).refusals
