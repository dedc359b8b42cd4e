"""What stands between the load and the provider: nginx, and the gateway under test.

Both are asked for in the same way and get the same upstream, so a scenario cannot treat one
better. The gateway runs as a person would run it, with its default features on: key check,
journal, usage record, metrics, and a log line per request, written to a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from tests.bench.exchange import KEY, MODEL, UPSTREAM_KEY
from tests.bench.nginx import free_port, open_proxy
from tests.bench.processes import Process, wait_until

RAISED = {
    "global": {"requests": 1_000_000_000, "window": "1m", "algorithm": "token_bucket"},
    "per_tenant": {"requests": 1_000_000_000, "window": "1h", "algorithm": "fixed_window"},
    "per_user": {"requests": 1_000_000_000, "window": "1m", "algorithm": "sliding_window", "segments": 6},
    "per_ip": {"requests": 1_000_000_000, "window": "1m", "algorithm": "fixed_window", "exempt": []},
    "concurrency": {"in_flight": 20_000},
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """The provider of a scenario. ca: who signed its certificate, None without TLS."""

    port: int
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy and where it listens."""

    name: str
    process: Process
    port: int


class Subject(Protocol):
    """Something that can be put in front of an upstream."""

    @property
    def name(self) -> str: ...

    def open(self, work: Path, upstream: Upstream, *, cpu: int, buffering: bool = True) -> Proxy: ...


@dataclass(frozen=True, slots=True)
class Nginx:
    """`nginx proxy_pass`, the reference; under another name, a subject to try the bench with."""

    name: str = "nginx"

    def open(self, work: Path, upstream: Upstream, *, cpu: int, buffering: bool = True) -> Proxy:
        process, port = open_proxy(
            work, name=self.name, cpu=cpu, upstream=upstream.port, buffering=buffering, ca=upstream.ca
        )
        return Proxy(self.name, process, port)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A command that serves a configuration file.

    command: with `{config}` where the file goes. migrate: run before the first start, if any.
    limits: write raised limits into the file (a gateway older than limits refuses the key).
    root: the directory to run in.
    """

    command: str
    root: Path
    migrate: str | None = None
    limits: bool = False
    name: str = "llmgw"

    def open(self, work: Path, upstream: Upstream, *, cpu: int, buffering: bool = True) -> Proxy:
        process, port, admin = self.launch(work, upstream, cpu=cpu)
        try:
            wait_until(lambda: is_ready(admin), process, what=self.name)
        except BaseException:
            process.stop()
            raise
        return Proxy(self.name, process, port)

    def launch(self, work: Path, upstream: Upstream, *, cpu: int) -> tuple[Process, int, int]:
        """Started, perhaps not ready; with its data port and its admin port."""
        home = work / self.name
        home.mkdir(parents=True, exist_ok=True)
        port, admin = free_port(), free_port()
        config = home / "bench.yaml"
        config.write_text(yaml.safe_dump(self.document(port, admin, upstream), sort_keys=False))
        if self.migrate:
            subprocess.run(self._words(self.migrate, config), cwd=self.root, check=True, capture_output=True)
        process = Process(self._words(self.command, config), cpu=cpu, log=home / "log", cwd=self.root)
        return process, port, admin

    def document(self, port: int, admin: int, upstream: Upstream) -> dict[str, object]:
        """The configuration, with the names of `config.example.yaml`."""
        scheme = "https" if upstream.ca else "http"
        provider: dict[str, object] = {
            "kind": "openai_compatible",
            "base_url": f"{scheme}://127.0.0.1:{upstream.port}/v1",
            "api_key": UPSTREAM_KEY,
            "allow_private": True,
        }
        if upstream.ca:
            provider["ca"] = str(upstream.ca)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        document: dict[str, object] = {
            "version": 1,
            "server": {
                "listen": f"127.0.0.1:{port}",
                "admin_listen": f"127.0.0.1:{admin}",
                "front_door": {"connections_per_ip": 20_000},
                "lame_duck": "0s",
                "drain_timeout": "2s",
            },
            "storage": {"url": "sqlite:///bench.db", "data_dir": "data"},
            "providers": {"up": provider},
            "models": {MODEL: {"targets": [{"provider": "up", "model": MODEL}]}},
            "tenants": {"acme": {"keys": [{"id": "bench", "hash": f"sha256:{digest}"}]}},
        }
        if self.limits:
            document["limits"] = RAISED
        return document

    def _words(self, command: str, config: Path) -> list[str]:
        return [word.replace("{config}", str(config)) for word in shlex.split(command)]


def is_ready(admin_port: int) -> bool:
    """Whether `/readyz` on the admin listener says so."""
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=1.0)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def knows_limits(python: str, root: Path) -> bool:
    """Whether this tree's configuration has a `limits` section yet."""
    told = subprocess.run(
        [python, "-m", "llmgw", "config", "schema"], cwd=root, capture_output=True, check=False, timeout=30
    )
    try:
        return "limits" in json.loads(told.stdout)["properties"]
    except (ValueError, KeyError):
        return False
