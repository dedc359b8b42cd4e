"""The processes a measurement starts: pinned, measured as a tree, ended by their own id.

CPU time is that of `llmgw bench --pid`: each process's own clock, in nanoseconds.

Promise: whatever was started is gone when its `with` block is left, however it is left.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from llmgw.cli.bench_cpu import read_stat, tree, tree_cpu_ns

SESSION = 3


class Process:
    """A started command and everything it started in turn."""

    def __init__(
        self, command: Sequence[str], *, cpu: int, log: Path, cwd: Path, env: Mapping[str, str] | None = None
    ) -> None:
        def settle_in() -> None:
            os.sched_setaffinity(0, {cpu})
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        self.command = list(command)
        self.log = log
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=cwd,
                env=None if env is None else dict(env),
                preexec_fn=settle_in,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_running(self) -> bool:
        return self._child.poll() is None

    def cpu_ns(self) -> int:
        """CPU time of the whole tree since it started."""
        return tree_cpu_ns(self.pid)

    def rss_bytes(self) -> int:
        """Resident memory of the whole tree."""
        return sum(_rss_bytes(pid) for pid in tree(self.pid))

    def quiet(self, within_s: float = 5.0) -> None:
        """Return once the work that the load left behind is done.

        What a process puts off until the load is over belongs to the requests that caused it.
        """
        deadline = time.monotonic() + within_s
        before = self.cpu_ns()
        while time.monotonic() < deadline:
            time.sleep(0.25)
            after = self.cpu_ns()
            if after - before < 5_000_000:
                return
            before = after

    def stop(self, within_s: float = 12.0) -> None:
        pids = tree(self.pid)
        if self.is_running():
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(within_s)
        if self.is_running():
            self._child.kill()
            self._child.wait()
        for pid in pids[1:]:
            if _session(pid) == self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until(ready: Callable[[], bool], process: Process, *, what: str, within_s: float = 20.0) -> None:
    """Return once `ready()`; raises RuntimeError with the end of the log when it never is."""
    deadline = time.monotonic() + within_s
    while not ready():
        if not process.is_running() or time.monotonic() > deadline:
            state = "still not ready" if process.is_running() else "has ended"
            text = process.log.read_text(errors="replace")[-2000:] if process.log.exists() else ""
            raise RuntimeError(f"{what}: {state}: {' '.join(process.command)}\n{text}")
        time.sleep(0.005)


def _session(pid: int) -> int | None:
    try:
        return int(read_stat(pid)[SESSION])
    except OSError:
        return None


def _rss_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()
