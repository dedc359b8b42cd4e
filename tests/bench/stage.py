"""What every comparison stands on: the provider behind, the proxies in front, and their turns.

The proxy runs on one core; the provider and the load on another. Both proxies stay open through a
comparison and are loaded one after the other, so each round meets the machine in one mood.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trustme

from tests.bench.nginx import accepts, free_port, open_provider
from tests.bench.processes import Process, wait_until
from tests.bench.subject import Nginx, Proxy, Subject, Upstream

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    """How to measure: where files go, which cores, how often and how long.

    say: told what is being done. streams: the counts of the paced scenario; held: of the slow one.
    tick_ms: 0 when each stream keeps its own phase, else the tick that all streams share.
    """

    work: Path
    root: Path
    subject: Subject
    proxy_cpu: int
    load_cpu: int
    rounds: int
    seconds: float
    tick_ms: float
    streams: Sequence[int]
    held: int
    say: Callable[[str], None]


def alternate(
    bench: Bench,
    name: str,
    upstream: Upstream,
    run: Callable[[Proxy, float], T],
    *,
    buffering: bool = True,
) -> tuple[list[T], list[T]]:
    """nginx, subject, nginx, subject ...: what `run` gives for each round, after a short warm-up."""
    results: tuple[list[T], list[T]] = ([], [])
    with (
        opened(bench, name, Nginx(), upstream, buffering=buffering) as reference,
        opened(bench, name, bench.subject, upstream, buffering=buffering) as subject,
    ):
        for proxy in (reference, subject):
            bench.say(f"{name}: warming {proxy.name} up")
            run(proxy, 1.0)
        for number in range(bench.rounds):
            for proxy, into in zip((reference, subject), results, strict=True):
                bench.say(f"{name}: round {number + 1} of {bench.rounds}, {proxy.name}")
                into.append(run(proxy, bench.seconds))
    return results


@contextlib.contextmanager
def opened(
    bench: Bench, name: str, subject: Subject, upstream: Upstream, *, buffering: bool
) -> Iterator[Proxy]:
    """A proxy in front of the upstream, for as long as the block."""
    work = bench.work / name.replace(" ", "-")
    proxy = subject.open(work, upstream, cpu=bench.proxy_cpu, buffering=buffering)
    with proxy.process:
        yield proxy


@contextlib.contextmanager
def provider(bench: Bench, name: str, *, large: bool = False, encrypted: bool = False) -> Iterator[Upstream]:
    """nginx with canned answers, for as long as the block."""
    work = bench.work / name.replace(" ", "-")
    work.mkdir(parents=True, exist_ok=True)
    ca = None
    certificate = None
    if encrypted:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        ca, chain, key = work / "ca.pem", work / "chain.pem", work / "key.pem"
        authority.cert_pem.write_to_path(str(ca))
        for part in issued.cert_chain_pems:
            part.write_to_path(str(chain), append=True)
        issued.private_key_pem.write_to_path(str(key))
        certificate = (chain, key)
    process, port = open_provider(work, cpu=bench.load_cpu, large=large, certificate=certificate)
    with process:
        yield Upstream(port, ca)


@contextlib.contextmanager
def stream_provider(bench: Bench, name: str, interval_s: float, events: int) -> Iterator[Upstream]:
    """The scripted provider of streams, for as long as the block."""
    work = bench.work / name.replace(" ", "-")
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.upstream", "--port", str(port)]
    command += ["--interval-ms", str(interval_s * 1e3), "--events", str(events)]
    command += ["--tick-ms", str(bench.tick_ms)]
    with Process(command, cpu=bench.load_cpu, log=work / "upstream.log", cwd=bench.root) as process:
        wait_until(lambda: accepts(port), process, what="upstream")
        yield Upstream(port)
