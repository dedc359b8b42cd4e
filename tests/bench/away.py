"""`python -m tests.bench.away`: PostgreSQL goes away for a minute while requests go on.

Says how requests fared meanwhile, how long the journals took to drain on its return, and whether each
request has its record. Exits with 1 when one was refused, is missing or is there twice, or when
the drain took longer than 60 s.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.kills import CONFIG
from tests.fakes.postgres import postgres_server
from tests.fakes.process import GatewayProcess, llmgw, rows
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.wire import Wire

CONNECTIONS = 8
DRAINED_S = 60.0


async def load(port: int, key: str, seconds: float, rate: float) -> list[tuple[int, float]]:
    """Status and seconds of each request, so many a second, on a few connections."""
    done: list[tuple[int, float]] = []
    body = request(chat("some words to say again", model="echo"), key=key)
    end = time.monotonic() + seconds

    async def one() -> None:
        client = await RawClient.connect(port)
        while time.monotonic() < end:
            began = time.monotonic()
            await client.send(body)
            status = (await client.read_answer()).status
            done.append((status, time.monotonic() - began))
            await asyncio.sleep(max(0.0, CONNECTIONS / rate - (time.monotonic() - began)))
        await client.vanish()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return done


def describe(name: str, done: list[tuple[int, float]]) -> str:
    times = sorted(seconds for _, seconds in done)
    good = sum(status == 200 for status, _ in done)
    return (
        f"{name}: {len(done)} requests, {good} answered 200, p50 {times[len(times) // 2] * 1000:.1f} ms, "
        f"p99 {times[len(times) * 99 // 100] * 1000:.1f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.away", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    options = parser.parse_args()
    server = postgres_server()
    with (
        server.llmgw() as url,
        Wire(server.port) as wire,
        tempfile.TemporaryDirectory(prefix="llmgw-away-") as directory,
    ):
        place, name = Path(directory), url.rpartition("/")[2]
        (place / "llmgw.yaml").write_text(CONFIG.format(url=server.url(name, wire.port)))
        key = str(rows("keys", "create", cwd=place)["key"])
        with GatewayProcess(place) as gateway:
            before = asyncio.run(load(gateway.port, key, min(10, options.seconds), options.rate))
            print(describe("PostgreSQL there", before))
            wire.close()
            during = asyncio.run(load(gateway.port, key, options.seconds, options.rate))
            print(describe(f"PostgreSQL away for {options.seconds:g} s", during))
            wanted = len(before) + len(during)
            wire.open()
            began = time.monotonic()
            while (
                found := server.fetch(name, "SELECT count(*), count(DISTINCT request_id) FROM usage")[0]
            ) != (wanted, wanted) and time.monotonic() - began < 2 * DRAINED_S:
                time.sleep(0.1)
            drained = time.monotonic() - began
            verified = llmgw("usage", "verify", cwd=place)
        print(
            f"drained {drained:.1f} s after its return: {found[0]} records of {wanted}, {found[1]} different"
        )
        print(verified.stdout.strip() or verified.stderr.strip())
    good = all(status == 200 for status, _ in (*before, *during))
    return 0 if good and found == (wanted, wanted) and drained <= DRAINED_S and not verified.returncode else 1


if __name__ == "__main__":
    sys.exit(main())
