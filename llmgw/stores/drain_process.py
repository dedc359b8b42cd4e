"""Drains in a process of its own, so that loading never takes the interpreter from the road.

In a thread it did: every statement gave the interpreter's lock up and waited to get it back,
which cost the road a quarter of its speed and its slowest requests 17 ms.

`python -m llmgw.stores.drain_process DIRECTORY DURABILITY` reads the database's URL from its
standard input, because everybody can read a command line, and drains until that input ends. That
is when the gateway closes it, or when the gateway dies: then what is left is loaded, requests
that were under way become `lost`, and the process ends. Meanwhile a line there says how many
seconds records are kept, `-` for ever. Signals meant for the gateway's whole group are left to
the gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from llmgw.core.errors import GatewayError
from llmgw.core.program import python
from llmgw.stores.drain import INTERVAL_S, Drainer, other_database
from llmgw.stores.expire import Expiry
from llmgw.stores.journal import SUFFIX

_LAST_ATTEMPTS_S = 10.0
_LOOK_AGAIN_S = 0.02
_RESTART_AFTER_S = 1.0
_NICENESS = 10


class DrainProcess:
    """The gateway's side.

    trouble: told each time the process had to be started again.
    """

    def __init__(self, directory: Path, url: str, durability: str, trouble: Callable[[int], None]) -> None:
        self._directory = directory
        self._command = [*python(__name__), str(directory), durability]
        self._url = url
        self._trouble = trouble
        self._process: subprocess.Popen[bytes] | None = None
        self._kept_s: float | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start it. Raises OSError, also where a gateway with another database has the journals."""
        if self._process is None and (problem := _taken_elsewhere(self._directory, self._url)) is not None:
            raise OSError(problem)
        if self._process is not None and self._process.stdin is not None:
            # Of one that has died, which did not read all.
            with suppress(OSError):
                self._process.stdin.close()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._url}\n".encode())
        self._process.stdin.flush()
        self.keep(self._kept_s)

    def keep(self, seconds: float | None) -> None:
        """Have records removed that are older, from now on; none with None."""
        self._kept_s = seconds
        process = self._process
        if process is None or process.stdin is None:
            return
        # One that has just died hears of it when it is started again.
        with suppress(OSError, ValueError):
            process.stdin.write(b"-\n" if seconds is None else f"{seconds:g}\n".encode())
            process.stdin.flush()

    async def watch(self) -> None:
        """Start it again whenever it has ended."""
        while True:
            await asyncio.sleep(_RESTART_AFTER_S)
            code = self._process.poll() if self._process is not None else None
            if code is not None:
                self.restarts += 1
                self._trouble(code)
                self.start()

    async def adopted(self, writer: int, within_s: float) -> bool:
        """Whether all that a dead process wrote is in the database, waiting for it so long.

        writer: its process id.
        """
        try:
            async with asyncio.timeout(within_s):
                while any(self._directory.glob(f"journal-{writer}-*{SUFFIX}")):
                    await asyncio.sleep(_LOOK_AGAIN_S)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Have everything that is left loaded, and wait for the end."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_LAST_ATTEMPTS_S + 2):
                while process.poll() is None:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            # The journals are kept; the next start loads them.
            process.kill()
            process.wait()


def run(directory: Path, url: str, durability: str) -> None:
    """Drain until standard input ends, then once more."""
    drainer = Drainer(directory, url, durability=durability)
    told: str | None = None
    orders = _Orders(drainer.expiry)
    while not orders.ended(INTERVAL_S * 2 ** min(drainer.failures, 4)):
        alone = drainer.attempt() or drainer.last_error is not None
        problem = _problem(drainer.last_error) if alone else _taken_elsewhere(directory, url)
        if problem != told:
            told = problem
            sys.stderr.write(_line(problem, for_people=sys.stderr.isatty()))
    end = time.monotonic() + _LAST_ATTEMPTS_S
    while not drainer.attempt() and time.monotonic() < end:
        time.sleep(INTERVAL_S)
    drainer.release()


def _problem(error: Exception | None) -> str | None:
    """What is the matter, in one line; None while nothing is."""
    if isinstance(error, GatewayError) and error.detail:
        return f"{error.message}: {error.detail}"
    return None if error is None else str(error)


def _line(problem: str | None, *, for_people: bool) -> str:
    """What is told of a problem, or of its end. Standard error is the gateway's log, a JSON event a line."""
    if for_people:
        return f"drain: {problem or 'the database answers again'}\n"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"event": "drain_answers_again", "level": "info", "ts": now}
    if problem is not None:
        told = {"event": "drain_failing", "level": "error", "ts": now, "error": problem}
    return json.dumps(told, separators=(",", ":")) + "\n"


def _taken_elsewhere(directory: Path, url: str) -> str | None:
    """What to do where a gateway with another database has the journals; None where none has."""
    other = other_database(directory, url)
    if other is None:
        return None
    return (
        f"the journals in {directory} are loaded into another database, {other}; "
        "give each gateway its own storage.data_dir, or wait until the other has stopped"
    )


def _url() -> str:
    """The first line of standard input, and no byte more: `_Orders` waits for what follows."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


class _Orders:
    """What the gateway says over standard input after the URL."""

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry
        self._said = b""

    def ended(self, within_s: float) -> bool:
        """Wait so long, or until there is more of standard input. Whether it has ended."""
        ready, _, _ = select.select([0], [], [], within_s)
        if not ready:
            return False
        data = os.read(0, 4096)
        *lines, self._said = (self._said + data).split(b"\n")
        if lines:
            self._expiry.kept_s = None if lines[-1] == b"-" else float(lines[-1])
        return not data


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # On a busy core the road goes first: journals can wait.
    os.nice(_NICENESS)
    run(Path(sys.argv[1]), _url(), sys.argv[2])
