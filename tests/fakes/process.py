"""llmgw as its users run it: a process, with its files in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

START_S = 20.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def llmgw(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "llmgw", *args],
        cwd=cwd,
        env=_environment(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows(*args: str, cwd: Path) -> Any:
    """What a command prints with `--format json`. Fails the test when the command does."""
    done = llmgw(*args, "--format", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def key_for(tenant: str, place: Path) -> str:
    """A key of `tenant`, issued in `place`."""
    return str(rows("keys", "create", "--tenant", tenant, cwd=place)["key"])


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it came true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class GatewayProcess:
    """`with GatewayProcess(directory, "-c", "llmgw.yaml") as gateway:` runs `llmgw serve` there.

    host: the address of loopback that it listens on.
    """

    def __init__(
        self, directory: Path, *args: str, env: Mapping[str, str] | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = free_port()
        self.admin_port = free_port()
        self._args = args
        self._env = {
            **(env or {}),
            "LLMGW_SERVER__LISTEN": f"{host}:{self.port}",
            "LLMGW_SERVER__ADMIN_LISTEN": f"{host}:{self.admin_port}",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.out = directory / "serve.out"
        self.err = directory / "serve.err"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "llmgw", "serve", *self._args],
                cwd=self.directory,
                env=_environment(self._env),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )
        end = time.monotonic() + START_S
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(
                    f"llmgw serve did not start: {self.err.read_text()}{self.out.read_text()}"
                )
            time.sleep(0.02)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False

    def admin(self, path: str) -> str:
        """What the admin listener says."""
        with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def events(self, name: str) -> list[dict[str, object]]:
        """Those of its log lines so far that tell of `name`."""
        found = [json.loads(line) for line in self.err.read_text().splitlines() if line.startswith("{")]
        return [event for event in found if event.get("event") == name]

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, within_s: float = 20) -> int:
        """SIGTERM, and the exit code."""
        self.signal()
        return self.wait(within_s)

    def wait(self, within_s: float = 20) -> int:
        assert self._process is not None
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLMGW_", "OPENAI_"))}
    return {**clean, "PYTHONPATH": str(Path(__file__).parents[2]), **(env or {})}
