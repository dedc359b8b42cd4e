"""Limits raced by several hosts: `python -m tests.bench.hosts [workers] [requests] [exact | lease]`.

Two hosts with so many workers each, one PostgreSQL, one Redis, all on this machine. Says how many
of the requests were let on, of a limit of a tenth of them, and how fast. With `storage.redis_mode:
lease`, 2 % may be left of a limit, and nothing may be of a quota.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.hosts import CONFIG, two_hosts


def main(workers: int, requests: int, mode: str, say: Callable[[str], None]) -> int:
    config = CONFIG.replace('redis: "{redis}"', f'redis: "{{redis}}", redis_mode: {mode}')
    limit = requests // 10
    wrong = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        two_hosts(Path(directory), workers=workers, limit=limit, config=config, wired=False) as hosts,
    ):
        for tenant, what in (("rated", "fixed window"), ("sliding", "sliding window"), ("bought", "quota")):
            begun = time.perf_counter()
            found = asyncio.run(hosts.race(tenant, requests, connections=16))
            took = time.perf_counter() - begun
            say(
                f"{what}: {found[200]} let on of {limit}, {found[429]} refused, "
                f"{requests - found[200] - found[429]} others; {requests / took:.0f} requests/s"
            )
            left = limit // 50 if mode == "lease" and tenant != "bought" else 0
            wrong += not limit - left <= found[200] <= limit
    return wrong


if __name__ == "__main__":
    words = [*sys.argv[1:], *["4", "5000", "exact"][len(sys.argv) - 1 :]]
    sys.exit(main(int(words[0]), int(words[1]), words[2], print))
