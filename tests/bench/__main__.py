"""`python -m tests.bench`: llmgw against `nginx proxy_pass`, on this machine, in turns.

Everything runs on loopback, for a bounded time, from a directory that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.bench import dialects, door, estimates, outage, reloads, restarts, soak
from tests.bench.figures import Figure, render_object, render_table
from tests.bench.findings import render_findings
from tests.bench.machine import describe, is_in_memory
from tests.bench.scenarios import SCENARIOS
from tests.bench.stage import Bench
from tests.bench.subject import Gateway, Nginx, Subject, knows_limits

ROOT = Path(__file__).resolve().parents[2]
ESTIMATES = "estimates"
DIALECTS = "dialects"
RELOADS = "reloads"
RESTARTS = "restarts"
DOOR = "door"
OUTAGE = "outage"
SOAK = "soak"
DOOR_S = 25.0
"""Of traffic, without and with those who hold sockets: longer than a socket is let live."""
ALONE = ([ESTIMATES], [DIALECTS], [RELOADS], [RESTARTS], [DOOR], [OUTAGE], [SOAK])


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="scenario",
        help=f"of {', '.join(SCENARIOS)} (all); or one of {', '.join(one for (one,) in ALONE)}, alone",
    )
    parser.add_argument("--subject", choices=("llmgw", "nginx"), default="llmgw", help="nginx: try the bench")
    parser.add_argument(
        "--gateway-command",
        default=f"{sys.executable} -m llmgw serve -c {{config}}",
        help="how to serve a configuration file, with {config} in its place",
    )
    parser.add_argument("--migrate-command", help="run once before each start, with {config} in its place")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load, for each proxy in each round")
    parser.add_argument("--streams", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--tick-ms", type=float, default=0.0, help="send events in bursts of a shared tick")
    parser.add_argument("--held", type=int, default=5000)
    parser.add_argument("--edits", type=int, default=500, help="of the configuration, one each 0.6 s")
    parser.add_argument("--rolls", type=int, default=50, help="rolling restarts")
    parser.add_argument("--soak", type=float, default=600.0, help="seconds of the soak")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds that the upstream fails for")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 4], help="of the gateway, for reloads and outage"
    )
    parser.add_argument("--proxy-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="where to keep files meanwhile; a disk, not a tmpfs")
    parser.add_argument("--keep", action="store_true", help="leave the files, logs among them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    for name in options.scenarios if options.scenarios not in ALONE else ():
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    if not 1 <= options.rounds <= 50 or not 1 <= options.seconds <= 60:
        parser.error("--rounds is 1 to 50, --seconds 1 to 60")
    if max(options.streams) > 1000 or not 1 <= options.held <= 8000:
        parser.error("--streams is up to 1000, --held up to 8000")
    if not 1 <= options.edits <= 1000 or not 1 <= options.rolls <= 100:
        parser.error("--edits is 1 to 1000, --rolls 1 to 100")
    if not 10 <= options.soak <= 7200:
        parser.error("--soak is 10 to 7200")
    if not {options.proxy_cpu, options.load_cpu} <= os.sched_getaffinity(0):
        parser.error("--proxy-cpu and --load-cpu name cores this process may not use")
    return options


def main() -> int:
    options = parse_options()
    if options.scenarios == [ESTIMATES]:
        return compare_estimates()
    if options.scenarios == [DIALECTS]:
        return measure_dialects()
    if options.scenarios in ([RELOADS], [RESTARTS], [DOOR], [OUTAGE], [SOAK]):
        return measure_changes(options)
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.sched_setaffinity(0, {options.load_cpu})
    subject: Subject = Nginx("subject")
    if options.subject == "llmgw":
        limits = knows_limits(sys.executable, ROOT)
        subject = Gateway(options.gateway_command, ROOT, options.migrate_command, limits)
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {text}")

    figures: list[Figure] = []
    failures: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="llmgw-bench-", dir=options.dir, ignore_cleanup_errors=True)
        if not options.keep
        else _Kept(options.dir) as work
    ):
        if is_in_memory(Path(work)):
            say(f"[yellow]{work} is in memory: the journal would cost less than on a disk; see --dir[/]")
        bench = Bench(
            work=Path(work),
            root=ROOT,
            subject=subject,
            proxy_cpu=options.proxy_cpu,
            load_cpu=options.load_cpu,
            rounds=options.rounds,
            seconds=options.seconds,
            tick_ms=options.tick_ms,
            streams=options.streams,
            held=options.held,
            say=say,
        )
        for name in options.scenarios or SCENARIOS:
            try:
                figures += SCENARIOS[name](bench)
            except RuntimeError as error:
                # One scenario that cannot be measured must not cost the others; it fails the run.
                failures[name] = str(error)
                say(f"[red]{name} failed:[/] {error}")
    wide = Console() if sys.stdout.isatty() else Console(width=132)
    wide.print(render_table(figures, "subject" if options.subject == "nginx" else options.subject))
    machine = describe()
    console.print(", ".join(f"{key}: {value}" for key, value in machine.items()), style="dim")
    if options.json:
        document = {
            "machine": machine,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "subject": options.subject,
            "figures": [render_object(figure) for figure in figures],
            "failures": failures,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    missed = any(figure.met is False for figure in figures)
    return 1 if failures or missed else 0


def compare_estimates() -> int:
    """Print the guesses of tokens beside the counts; needs no proxy and no load."""
    results = estimates.measure()
    wide = Console() if sys.stdout.isatty() else Console(width=132)
    wide.print(estimates.render(results))
    return 0 if estimates.passed(results) else 1


def measure_dialects() -> int:
    """Print what translating takes; needs no proxy and no load."""
    results = dialects.measure()
    wide = Console() if sys.stdout.isatty() else Console(width=132)
    wide.print(dialects.render(results, dialects.passed_on_us()))
    return 0 if dialects.passed(results) else 1


def measure_changes(options: argparse.Namespace) -> int:
    """Print what reloads, restarts or an attack do to traffic; needs no nginx and no wrk."""
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.sched_setaffinity(0, {options.load_cpu})

    def say(text: str) -> None:
        console.print(text)

    with tempfile.TemporaryDirectory(prefix="llmgw-bench-", dir=options.dir) as work:
        if options.scenarios == [RELOADS]:
            found = reloads.measure(Path(work), options.edits, options.workers, options.proxy_cpu, say)
        elif options.scenarios == [DOOR]:
            found = door.measure(Path(work), DOOR_S, options.proxy_cpu, options.load_cpu, say)
        elif options.scenarios == [OUTAGE]:
            found = outage.measure(Path(work), options.outage, options.workers, options.proxy_cpu, say)
        elif options.scenarios == [SOAK]:
            found = soak.measure(Path(work), options.soak, options.proxy_cpu, say)
        else:
            found = restarts.measure(Path(work), options.rolls, options.proxy_cpu, say)
    wide = Console() if sys.stdout.isatty() else Console(width=160)
    wide.print(render_findings(found))
    return 1 if any(one.met is False for one in found) else 0


class _Kept:
    """A fresh directory that stays."""

    def __init__(self, parent: Path | None) -> None:
        self._path = tempfile.mkdtemp(prefix="llmgw-bench-", dir=parent)

    def __enter__(self) -> str:
        return self._path

    def __exit__(self, *_: object) -> None:
        print(f"kept: {self._path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
