"""Lines to a file descriptor, written by a thread so that nobody on the road waits.

`put` is one append. The thread gathers what came in `interval_s` and writes it at once; it
sleeps without waking while there is nothing. A full pipe blocks only the thread; what exceeds
`max_lines` meanwhile, and what a closed pipe or a full disk refuses, is dropped and counted.

Several processes may write to one pipe: a `write` of at most PIPE_BUF bytes is never mixed with
another's there, so a pipe gets pieces that small. A longer line may be cut by another while the
pipe is full.

Nothing is written twice and lines keep their order. A line is lost by kill -9 when younger
than the interval: the journal, not the log, is the record.
"""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
from collections import deque

MAX_LINES = 20_000
INTERVAL_S = 0.05
CLOSE_WITHIN_S = 2.0
_BATCH_BYTES = 1 << 18


class LineWriter:
    """Writes whole lines to `fd`, which stays the caller's to close.

    dropped: lines that will never be written.
    """

    def __init__(self, fd: int, *, interval_s: float = INTERVAL_S, max_lines: int = MAX_LINES) -> None:
        self.dropped = 0
        self._fd = fd
        self._interval_s = interval_s
        self._max_lines = max_lines
        self._cut = False
        self._lines: deque[bytes | bytearray] = deque()
        self._awake = False
        self._closing = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, line: bytes | bytearray) -> None:
        """Have `line`, which ends with LF, written soon. Never blocks, never raises."""
        lines = self._lines
        if len(lines) >= self._max_lines:
            self.dropped += 1
            return
        lines.append(line)
        if not self._awake:
            self._awake = True
            self._wake_writer()

    def close(self, within_s: float = CLOSE_WITHIN_S) -> None:
        """Write what is left, giving up after `within_s`. Idempotent; a later `put` starts again."""
        thread = self._thread
        if thread is None:
            return
        self._closing = True
        self._hurry.set()
        self._wake.set()
        thread.join(within_s)
        if not thread.is_alive():
            self._thread = None
            self._awake = False
        atexit.unregister(self.close)

    def _wake_writer(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._closing = False
                    self._hurry.clear()
                    self._thread = threading.Thread(target=self._run, name="llmgw-lines", daemon=True)
                    self._thread.start()
                    atexit.register(self.close)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                self._hurry.wait(self._interval_s)
            # Cleared before the draining, so that a line put after it wakes us again.
            self._awake = False
            self._drain()
            if self._closing:
                return

    def _drain(self) -> None:
        lines = self._lines
        most = select.PIPE_BUF if _is_pipe(self._fd) else _BATCH_BYTES
        while lines:
            batch = [lines.popleft()]
            size = len(batch[0])
            while lines and (size := size + len(lines[0])) <= most:
                batch.append(lines.popleft())
            data = b"".join(batch)
            if self._cut:
                # What is left of the last line must not take this one with it.
                data = b"\n" + data
            left = memoryview(data)
            try:
                while left:
                    left = left[_write_some(self._fd, left) :]
            except OSError:
                # A closed pipe or a full disk: the requests go on, the counter says what is missing.
                if written := data[: len(data) - len(left)]:
                    self.dropped -= written.count(b"\n") - self._cut
                    self._cut = not written.endswith(b"\n")
                self.dropped += len(batch)
            else:
                self._cut = False


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def _write_some(fd: int, data: memoryview) -> int:
    """How much was written, waiting as long as nothing is taken. Raises OSError."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        # Whoever made the pipe, or shares it, does not want to wait. We do.
        room = select.poll()
        room.register(fd, select.POLLOUT)
        room.poll()
        return 0
