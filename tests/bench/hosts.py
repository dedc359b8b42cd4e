"""Limits raced by several hosts: `python -m tests.bench.hosts [workers] [requests]`.

Two hosts with so many workers each, one PostgreSQL, one Redis, all on this machine. Says how many
of the requests were let on, of a limit of a tenth of them, and how fast.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.hosts import two_hosts


def main(workers: int, requests: int, say: Callable[[str], None]) -> int:
    limit = requests // 10
    wrong = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        two_hosts(Path(directory), workers=workers, limit=limit) as hosts,
    ):
        for tenant, what in (("rated", "fixed window"), ("sliding", "sliding window"), ("bought", "quota")):
            begun = time.perf_counter()
            found = asyncio.run(hosts.race(tenant, requests, connections=16))
            took = time.perf_counter() - begun
            say(
                f"{what}: {found[200]} let on of {limit}, {found[429]} refused, "
                f"{requests - found[200] - found[429]} others; {requests / took:.0f} requests/s"
            )
            wrong += found[200] != limit
    return wrong


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [4, 5_000][len(arguments) :]), print))
