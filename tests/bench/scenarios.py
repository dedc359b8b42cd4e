"""The comparisons, each one function: open both proxies, alternate, compare.

CPU per request is the proxy's process tree over the load and the quiet after it, divided by the
requests completed; CPU per event is over a window in which every stream is open.
"""

from __future__ import annotations

import contextlib
import http.client
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.exchange import KEY, PATH, chat_body, chat_request
from tests.bench.figures import Bound, Compare, Figure, compared, percentile
from tests.bench.paced import Times, run_paced
from tests.bench.processes import Process, wait_until
from tests.bench.stage import Bench, alternate, opened, provider, stream_provider
from tests.bench.streams import Tally, run_streams
from tests.bench.subject import Gateway, Nginx, Proxy, Subject, Upstream
from tests.bench.wrk import Load, run_wrk

KIB = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One proxy's half of one round of a closed loop. late_us: the part spent after the load."""

    cpu_us: float
    late_us: float
    load: Load


def chat(bench: Bench) -> list[Figure]:
    """Non-streaming, 1 KB in and out, 64 connections."""
    with provider(bench, "chat") as upstream:
        return closed_loop(bench, "chat", upstream, chat_body(KIB), 64, Bound(at_least=0.40))


def bodies(bench: Bench) -> list[Figure]:
    """Request bodies of 100 KB and 1 MB."""
    figures = []
    for name, size, connections in (("100 KB", 100 * KIB, 32), ("1 MB", KIB * KIB, 8)):
        scenario = f"bodies {name}"
        with provider(bench, scenario, large=True) as upstream:
            figures += closed_loop(
                bench, scenario, upstream, chat_body(size), connections, Bound(at_least=0.5)
            )
    return figures


def tls(bench: Bench) -> list[Figure]:
    """As `chat`, over a kept and verified TLS connection to the provider."""
    with provider(bench, "tls", encrypted=True) as upstream:
        return closed_loop(bench, "tls", upstream, chat_body(KIB), 64, Bound(at_least=0.33))


def rate(bench: Bench) -> list[Figure]:
    """1,000 requests a second, each at its own moment."""
    with provider(bench, "rate") as upstream:

        def run(proxy: Proxy, seconds: float) -> tuple[Times, float]:
            request = chat_request(f"127.0.0.1:{proxy.port}", chat_body(KIB))
            before = proxy.process.cpu_ns()
            times = run_paced(
                port=proxy.port, request=request, per_second=1000, seconds=seconds, connections=32
            )
            proxy.process.quiet()
            if times.failed:
                raise RuntimeError(f"{proxy.name}: {times.failed} paced requests failed")
            return times, (proxy.process.cpu_ns() - before) / 1e3 / len(times.total_ns)

        reference, subject = alternate(bench, "rate", upstream, run)

    def at(share: float, samples: Sequence[tuple[Times, float]]) -> list[float]:
        return [percentile(times.total_ns, share) / 1e6 for times, _ in samples]

    late = [percentile(times.late_ns, 0.99) / 1e6 for times, _ in reference + subject]
    difference = Compare.DIFFERENCE
    return [
        compared("rate", "p50", "ms", difference, at(0.5, reference), at(0.5, subject), Bound(at_most=0.15)),
        compared("rate", "p99", "ms", difference, at(0.99, reference), at(0.99, subject)),
        compared(
            "rate",
            "CPU per request",
            "us",
            Compare.RATIO,
            [cpu for _, cpu in reference],
            [cpu for _, cpu in subject],
        ),
        compared("rate", "load generator late, p99", "ms", Compare.ALONE, (), late),
    ]


def streams(bench: Bench) -> list[Figure]:
    """Paced streams: one 340-byte event each 20 ms."""
    figures = []
    for count in bench.streams:
        figures += paced_streams(bench, count)
    return figures


def paced_streams(bench: Bench, count: int) -> list[Figure]:
    name = f"streams {count}"
    ramp_s, interval_s = 1.0, 0.020
    events = int((ramp_s + 0.5 + bench.seconds) / interval_s)
    with stream_provider(bench, name, interval_s, events) as upstream:

        def run(proxy: Proxy, seconds: float) -> tuple[float, Tally]:
            window = Window(proxy.process)
            tally = run_streams(
                port=proxy.port,
                request=chat_request(f"127.0.0.1:{proxy.port}", chat_body(KIB, stream=True)),
                streams=count,
                ramp_s=ramp_s,
                window_s=seconds,
                most_s=ramp_s + events * interval_s + 10,
                on_window=lambda _: window.begin(),
                off_window=lambda _: window.end(),
            )
            proxy.process.quiet()
            check_complete(proxy, tally, count, events)
            return window.cpu_ns / 1e3 / len(tally.added_ns), tally

        reference, subject = alternate(bench, name, upstream, run, buffering=False)

    def at(share: float, samples: Sequence[tuple[float, Tally]]) -> list[float]:
        return [percentile(tally.added_ns, share) / 1e6 for _, tally in samples]

    def first(samples: Sequence[tuple[float, Tally]]) -> list[float]:
        return [percentile(tally.first_ns, 0.5) / 1e6 for _, tally in samples]

    difference = Compare.DIFFERENCE
    return [
        compared(
            name,
            "CPU per event",
            "us",
            Compare.RATIO,
            [cpu for cpu, _ in reference],
            [cpu for cpu, _ in subject],
            Bound(at_least=0.65),
        ),
        compared(
            name, "first event, p50", "ms", difference, first(reference), first(subject), Bound(at_most=0.2)
        ),
        compared(name, "event under way, p50", "ms", difference, at(0.5, reference), at(0.5, subject)),
        compared(
            name,
            "event under way, p99",
            "ms",
            difference,
            at(0.99, reference),
            at(0.99, subject),
            Bound(at_most=2.0),
        ),
    ]


def hold(bench: Bench) -> list[Figure]:
    """Thousands of slow streams held at once: none dropped, and what each takes in memory."""
    interval_s, events, count = 5.0, 4, bench.held
    ramp_s = max(1.0, count / 1000)
    with stream_provider(bench, "hold", interval_s, events) as upstream:

        def run(proxy: Proxy) -> tuple[float, Tally]:
            request = chat_request(f"127.0.0.1:{proxy.port}", chat_body(KIB, stream=True))
            before = proxy.process.rss_bytes()
            held: list[float] = []

            def weigh(tally: Tally) -> None:
                # By what is held, not by what was asked for: a refused stream weighs nothing.
                held.append((proxy.process.rss_bytes() - before) / KIB / max(1, tally.open))

            tally = run_streams(
                port=proxy.port,
                request=request,
                streams=count,
                ramp_s=ramp_s,
                window_s=interval_s,
                most_s=ramp_s + events * interval_s + 20,
                on_window=lambda _: None,
                off_window=weigh,
            )
            if tally.reason:
                bench.say(f"hold: {proxy.name}: {tally.failed} streams failed; first: {tally.reason}")
            return held[0], tally

        pairs = []
        openers: tuple[Subject, ...] = (Nginx(), bench.subject)
        for opener in openers:
            bench.say(f"hold: {opener.name}, {count} streams")
            with opened(bench, "hold", opener, upstream, buffering=False) as proxy:
                pairs.append(run(proxy))
    (reference, _), (subject, tally) = pairs
    dropped = count - tally.completed
    lost = count * events - tally.events
    alone = Compare.ALONE
    return [
        compared("hold", f"dropped of {count} streams", "", alone, (), [dropped], Bound(at_most=0)),
        compared("hold", "events lost", "", alone, (), [lost], Bound(at_most=0)),
        compared("hold", "memory per stream", "KiB", alone, [reference], [subject], Bound(at_most=24)),
    ]


def start(bench: Bench) -> list[Figure]:
    """From nothing to the first answer, what it takes in memory then, and `--help`."""
    gateway = bench.subject
    if not isinstance(gateway, Gateway):
        bench.say("start: only measured for the gateway")
        return []
    starts, idle = [], []
    with provider(bench, "start") as upstream:
        for number in range(bench.rounds):
            bench.say(f"start: round {number + 1}")
            work = bench.work / f"start-{number}"
            began = time.monotonic()
            process, port, _ = gateway.launch(work, upstream, cpu=bench.proxy_cpu)
            with process:
                wait_until(lambda port=port: is_served(port), process, what="first request")  # type: ignore[misc]
                starts.append(time.monotonic() - began)
                time.sleep(1.5)
                idle.append(process.rss_bytes() / 1e6)
    alone = Compare.ALONE
    figures = [
        compared("start", "cold start to first answer", "s", alone, (), starts, Bound(at_most=1.0)),
        compared("start", "memory when idle", "MB", alone, (), idle, Bound(at_most=110)),
    ]
    words = shlex.split(gateway.command)
    if "serve" in words:
        helps = []
        for _ in range(max(3, bench.rounds)):
            began = time.monotonic()
            command = [*words[: words.index("serve")], "--help"]
            subprocess.run(command, cwd=bench.root, check=True, capture_output=True, timeout=30)
            helps.append(time.monotonic() - began)
        figures.append(compared("start", "--help", "s", alone, (), helps, Bound(at_most=0.3)))
    return figures


SCENARIOS: dict[str, Callable[[Bench], list[Figure]]] = {
    "chat": chat,
    "rate": rate,
    "streams": streams,
    "hold": hold,
    "bodies": bodies,
    "tls": tls,
    "start": start,
}


@dataclass(slots=True)
class Window:
    """The CPU time of a process between two moments."""

    process: Process
    cpu_ns: int = 0

    def begin(self) -> None:
        self.cpu_ns = -self.process.cpu_ns()

    def end(self) -> None:
        self.cpu_ns += self.process.cpu_ns()


def closed_loop(
    bench: Bench, name: str, upstream: Upstream, body: bytes, connections: int, bound: Bound
) -> list[Figure]:
    """CPU per request, and for reading along: how many a second, how long each."""

    def run(proxy: Proxy, seconds: float) -> Sample:
        before = proxy.process.cpu_ns()
        load = run_wrk(
            bench.work,
            port=proxy.port,
            body=body,
            connections=connections,
            seconds=seconds,
            cpu=bench.load_cpu,
        )
        loaded = proxy.process.cpu_ns()
        proxy.process.quiet()
        after = proxy.process.cpu_ns()
        return Sample((after - before) / 1e3 / load.requests, (after - loaded) / 1e3 / load.requests, load)

    reference, subject = alternate(bench, name, upstream, run)

    def figure(what: str, unit: str, of: Callable[[Sample], float], bound: Bound | None = None) -> Figure:
        compare = Compare.RATIO if bound else Compare.ALONE
        return compared(name, what, unit, compare, [*map(of, reference)], [*map(of, subject)], bound)

    return [
        figure("CPU per request", "us", lambda sample: sample.cpu_us, bound),
        figure("of it after the load", "us", lambda sample: sample.late_us),
        figure("requests", "/s", lambda sample: sample.load.requests / sample.load.seconds),
        figure("p50", "ms", lambda sample: sample.load.p50_us / 1e3),
        figure("p99", "ms", lambda sample: sample.load.p99_us / 1e3),
    ]


def check_complete(proxy: Proxy, tally: Tally, streams: int, events: int) -> None:
    if tally.completed != streams or tally.events != streams * events:
        raise RuntimeError(
            f"{proxy.name}: {tally.completed} of {streams} streams complete, "
            f"{tally.events} of {streams * events} events; first failure: {tally.reason}"
        )


def is_served(port: int) -> bool:
    """Whether a chat request is answered 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with contextlib.closing(connection):
        try:
            connection.request("POST", PATH, chat_body(KIB), headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
