"""`python -m tests.bench restarts`: every worker replaced again and again, under load.

`llmgw workers restart` over the control socket, one after the other, while answers and streams
that are longer than `lame_duck` go on. Nothing may fail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Bound
from tests.bench.findings import Finding
from tests.bench.served import Served, serving
from tests.bench.traffic import Traffic

WORKERS = 2
PER_SECOND = 100.0
STREAM_WORDS = 150
"""Three seconds."""
ROLL_WITHIN_S = 90.0


def measure(work: Path, rolls: int, cpu: int, say: Callable[[str], None]) -> list[Finding]:
    with serving(work, WORKERS, first_token_ms=20, cpu=cpu) as served:
        return _restarts(served, rolls, say)


def _restarts(served: Served, rolls: int, say: Callable[[str], None]) -> list[Finding]:
    done = threading.Event()
    took_s: list[float] = []
    problems: list[str] = []
    pids: set[int] = set()

    def roll() -> None:
        try:
            for number in range(rolls):
                say(f"restarts: {number + 1} of {rolls}")
                took_s.append(_roll(served, pids))
        except Exception as error:
            # Told with the figures, after the traffic has ended.
            problems.append(repr(error))
        finally:
            done.set()

    traffic = Traffic(served.port, PER_SECOND, STREAM_WORDS, drain_s=20.0)
    roller = threading.Thread(target=roll)
    roller.start()
    traffic.run(done.is_set)
    roller.join()
    for failure in [*problems, *sorted(set(traffic.failures))[:5]]:
        say(f"[red]{failure}[/]")
    name = "restarts"
    streams = [one for one in traffic.outcomes if one.streamed]
    cut = sum(one.failure is not None for one in streams)
    return [
        Finding(name, f"rolling restarts of {WORKERS} workers", len(took_s), "", Bound(at_least=rolls)),
        Finding(name, "worker processes that served", len(pids)),
        Finding(
            name,
            f"failed, of {len(traffic.outcomes):,} requests",
            len(traffic.failures),
            "",
            Bound(at_most=0),
            f"{len(streams):,} of them streams of 3 s, {cut} failed",
        ),
        Finding(name, "longest restart", max(took_s, default=0.0), "s"),
    ]


def _roll(served: Served, pids: set[int]) -> float:
    """Replace every worker, and wait until that is done. Seconds."""
    began = time.monotonic()
    served.ask("restart_workers")
    while time.monotonic() - began < ROLL_WITHIN_S:
        time.sleep(0.2)
        answer = served.ask("workers")
        pids.update(worker["pid"] for worker in answer["workers"])
        if answer["rolling"]["done"]:
            if answer["rolling"]["failure"] is not None:
                raise RuntimeError(answer["rolling"]["failure"])
            return time.monotonic() - began
    raise RuntimeError(f"not replaced within {ROLL_WITHIN_S:g} s")
