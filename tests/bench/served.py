"""A gateway on its built-in provider, for figures about the gateway alone."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmgw.config.load import document_from_text
from llmgw.server.control import ask
from tests.bench.nginx import free_port
from tests.bench.processes import Process, wait_until
from tests.bench.subject import is_ready
from tests.bench.traffic import KEY, MODEL

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Served:
    """A running gateway and its file. first_token_ms: how long its provider thinks."""

    home: Path
    workers: int
    first_token_ms: int
    port: int
    admin: int
    process: Process | None = None

    @property
    def file(self) -> Path:
        return self.home / "llmgw.yaml"

    def text(self, number: int) -> str:
        """The configuration with this number: its own target, limit and tenant."""
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        return f"""version: 1
server:
  listen: 127.0.0.1:{self.port}
  admin_listen: 127.0.0.1:{self.admin}
  workers: {self.workers}
  lame_duck: 500ms
  drain_timeout: 30s
  front_door: {{connections_per_ip: 20000}}
storage: {{url: "sqlite:///bench.db", data_dir: data}}
providers:
  demo: {{kind: echo, first_token: {self.first_token_ms}ms, tokens_per_second: 50}}
models:
  {MODEL}: {{targets: [{{provider: demo, model: generation-{number}}}]}}
limits:
  per_tenant: {{requests: {10_000_000 + number}, window: 1h}}
  global: off
  per_user: off
  concurrency: {{in_flight: 20000}}
tenants:
  acme: {{keys: [{{id: bench, hash: "sha256:{digest}"}}]}}
  tenant-{number % 7}: {{}}
"""

    def generation(self, number: int) -> str:
        """What `x-llmgw-config` says of that configuration."""
        return document_from_text(self.text(number), path=self.file).generation

    def write(self, number: int) -> None:
        """In place or by a rename, in turns, as editors and deployments do."""
        if number % 2:
            self.file.write_text(self.text(number))
            return
        beside = self.home / "llmgw.yaml.new"
        beside.write_text(self.text(number))
        beside.replace(self.file)

    def ask(self, command: str, **arguments: object) -> Any:  # Any: what the command gives
        return ask(self.home / "data", command, **arguments)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        samples = [line.rpartition(" ") for line in lines if line.startswith(name)]
        return sum(float(value) for sample, _, value in samples if sample.partition("{")[0] == name)

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process


@contextlib.contextmanager
def serving(work: Path, workers: int, *, first_token_ms: int, cpu: int) -> Iterator[Served]:
    """A gateway in a directory of its own, ended with the block."""
    home = work / f"{workers}-workers"
    home.mkdir(parents=True)
    served = Served(home, workers, first_token_ms, free_port(), free_port())
    served.write(0)
    command = [sys.executable, "-m", "llmgw", "serve", "-c", str(served.file)]
    with Process(command, cpu=cpu, log=home / "log", cwd=ROOT) as process:
        served.process = process
        wait_until(lambda: is_ready(served.admin), process, what="llmgw")
        wait_until(lambda: _up(served), process, what="llmgw's workers", within_s=60)
        yield served


def _up(served: Served) -> bool:
    states = [worker["state"] for worker in served.ask("workers")["workers"]]
    return states == ["serving"] * served.workers
