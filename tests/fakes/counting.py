"""Processes that count: `python -m tests.fakes.counting COMMAND FILE WORKER ...`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from llmgw.core.claim import BALANCE, CONCURRENCY, FIXED_WINDOW, TOKEN_BUCKET, Claim, Verdict
from llmgw.core.clock import Clock, steady_ns
from llmgw.core.ids import request_ids
from llmgw.stores import host_lock
from llmgw.stores.host import HostCounters
from tests.contracts.counters import MINUTE, claim, rule

LONG = 3600 * 24 * 365 * 100 * 1_000_000_000
REQUESTS = claim(rule(FIXED_WINDOW, limit=10**9, window_ns=LONG))
TOKENS = claim(rule(TOKEN_BUCKET, limit=10**9, window_ns=LONG), 10)
PLACE = claim(rule(CONCURRENCY, limit=1_000))
HOLD = Claim(rule(BALANCE, limit=10**12), "balance|acme", 10, LONG)
CHARGE = 7


def start(command: str, *args: object, **settings: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.counting", command, *map(str, args)],
        cwd=Path(__file__).parents[2],
        text=True,
        **settings,
    )


def burst(path: Path, worker: int, algorithm: str, times: int) -> None:
    """Say how many of `times` claims passed at a limit of 100, once told to begin."""
    counters = HostCounters.attach(path, worker)
    asked = claim(
        rule(algorithm, **({} if algorithm in (CONCURRENCY, BALANCE) else {"window_ns": 60 * MINUTE}))
    )
    if algorithm == BALANCE:
        asked = Claim(asked.rule, asked.key, 1, LONG)
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(not counters.acquire([asked], f"r{number}").refusals for number in range(times)))


def work(path: Path, worker: int) -> None:
    """Take and settle, saying so after each, until killed."""
    counters = HostCounters.attach(path, worker)
    make_id = request_ids()
    for number in count():
        request_id = make_id()
        verdict = counters.acquire([REQUESTS, TOKENS, PLACE, HOLD], request_id)
        os.write(1, f"taken {request_id}\n".encode())
        if number % 50 == 0:
            counters.sweep()
        counters.settle([(TOKENS, CHARGE), (PLACE, 0), (HOLD, CHARGE)], verdict)
        os.write(1, f"settled {request_id}\n".encode())


def stop(path: Path, worker: int) -> None:
    """Stop with the lock held; free it once continued."""
    counters = HostCounters.attach(path, worker)
    lock = counters._file_lock
    assert lock.take()
    print("stopping", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    lock.free()
    print("freed", flush=True)
    sys.stdin.readline()


def die_everywhere(path: Path, worker: int) -> None:
    """Be killed at each line of an acquire and of a settle, and look at what is left each time."""
    for operation in ("acquire", "settle"):
        for line in count(1):
            supervisor = HostCounters.create(path, 2, Clock(steady_ns, 0), slots=64, grants=8)
            survivor = HostCounters.attach(path, 1)
            kept = survivor.acquire([PLACE, HOLD], "kept")
            pid = os.fork()
            if not pid:
                _die(path, operation, line)
            killed = os.waitpid(pid, 0)[1] != 0
            _look(supervisor, survivor, kept, operation, killed)
            supervisor.close()
            survivor.close()
            path.unlink()
            if not killed:
                print(f"{operation} {line - 1}")
                break


def _die(path: Path, operation: str, line: int) -> None:
    counters = HostCounters.attach(path, 0)
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal left
        if "/llmgw/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    if operation == "acquire":
        sys.settrace(trace)
    verdict = counters.acquire([REQUESTS, TOKENS, PLACE, HOLD], "died")
    sys.settrace(trace)
    if operation == "acquire":
        sys.settrace(None)
        os._exit(0)
    counters.settle([(TOKENS, CHARGE), (PLACE, 0), (HOLD, CHARGE)], verdict)
    sys.settrace(None)
    os._exit(0)


def _look(
    supervisor: HostCounters, survivor: HostCounters, kept: Verdict, operation: str, killed: bool
) -> None:
    abandoned = supervisor.abandoned(0)
    there = len(abandoned)
    assert there <= 1
    for lost in abandoned:
        assert lost.request_id == "died"
        assert lost.claims == ((PLACE.key, 1, CONCURRENCY), (HOLD.key, 10, BALANCE))
    assert supervisor.balance(HOLD.key)[1] == 10 + 10 * there
    assert used(supervisor, PLACE) == 1 + there
    for lost in abandoned:
        supervisor.release(0, lost.request_id, {HOLD.key: CHARGE})
    assert used(supervisor, PLACE) == 1
    spent, held = supervisor.balance(HOLD.key)
    assert held == 10
    if operation == "acquire":
        assert spent == CHARGE * there
        assert there or killed
        assert not there or (used(supervisor, REQUESTS), used(supervisor, TOKENS)) == (1, 10)
    else:
        assert spent in ((CHARGE, 2 * CHARGE) if killed else (CHARGE,))
        assert used(supervisor, REQUESTS) == 1
        assert used(supervisor, TOKENS) in ((10, CHARGE) if killed else (CHARGE,))
    survivor.settle([(PLACE, 0), (HOLD, 0)], kept)
    assert not survivor.degraded
    assert used(supervisor, PLACE) == 0
    assert supervisor.balance(HOLD.key) == (spent, 0)


def used(counters: HostCounters, asked: Claim) -> int:
    """How much of a counter is taken."""
    return asked.rule.limit - counters.peek([Claim(asked.rule, asked.key, 0, asked.until)])[0][1]


COMMANDS: dict[str, Callable[..., None]] = {
    "burst": lambda path, worker, algorithm, times: burst(path, worker, algorithm, int(times)),
    "work": work,
    "stop": stop,
    "die_everywhere": die_everywhere,
}

if __name__ == "__main__":
    # A machine that runs other tests beside may keep a process waiting for long.
    host_lock._RUNNING_NS = 20_000_000_000
    COMMANDS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
