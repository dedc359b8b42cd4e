"""The write-ahead journal of one process: what was dispatched, on disk before it was.

One `write` a turn of the event loop carries every entry of that turn; the kernel keeps what a
`write` took even when the process is killed the next instant. `fsync` follows about once a
second, or before `written` is called with durability `full`.

Entries live in segments, `journal-<writer>-<number>.log`, each held by a lock that the kernel
frees when the writer dies, so a reader can tell a dead writer from a quiet one. A segment that
is full hands what is still open to the next one and ends with a seal.

Promise: an entry whose `written` heard None can be read back; one that heard an error is not
in the journal (or in a segment marked as unclean, which is read again before it is believed);
a settlement is never dropped while the process lives.

When the disk is full the reserve file is given up. Half of it serves new requests, the other
half the settlements of those already under way.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
from collections.abc import Callable
from itertools import count
from pathlib import Path

from llmgw.core.errors import Unavailable
from llmgw.core.record import Opened, Progress, Settled
from llmgw.stores.frames import Seal, frame
from llmgw.stores.reserve import Reserve

SEGMENT_BYTES = 16 << 20
CAP_BYTES = 1 << 30
RESERVE_BYTES = 64 << 20
SUFFIX = ".log"
_HOUSEKEEPING_S = 1.0
_RETRY_S = 0.25
_FULL = (errno.ENOSPC, errno.EDQUOT)

Written = Callable[[Exception | None], None]


def journal_bytes(directory: Path) -> int:
    """The size of every segment that is not drained yet."""
    total = 0
    with os.scandir(directory) as found:
        for item in found:
            if item.name.endswith(SUFFIX):
                try:
                    total += item.stat().st_size
                except FileNotFoundError:  # drained since
                    continue
    return total


class FileJournal:
    """Implements `ports.stores.Journal`. Used from one event loop's thread only.

    directory: made when missing, mode 0700.
    cap_bytes: of all segments of the host that wait to be drained; beyond it `open` is refused.
    write: `os.write`, or something that fails like a disk does.
    dropped_progress, failed_writes: counts, for whoever watches.
    """

    def __init__(
        self,
        directory: Path,
        *,
        loop: asyncio.AbstractEventLoop,
        durability: str = "normal",
        segment_bytes: int = SEGMENT_BYTES,
        cap_bytes: int = CAP_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._loop = loop
        self._full = durability == "full"
        self._segment_bytes = segment_bytes
        self._cap_bytes = cap_bytes
        self._write = write
        self._reserve = Reserve(directory, reserve_bytes)

        self._opening: dict[str, bytes] = {}
        self._waiting: list[Written] = []
        self._progress: dict[str, bytes] = {}
        self._settling: dict[str, bytes] = {}
        self._scheduled = False

        self._open: dict[str, bytes] = {}
        self._open_progress: dict[str, bytes] = {}

        self._writer = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._numbers = count(1)
        self._fd = -1
        self._size = 0
        self._clean = True
        self._torn = False
        self._total = journal_bytes(directory)
        self._begin_segment()

        self._unsynced: list[Written] = []
        self._syncing: asyncio.Future[None] | None = None
        self._sealing: set[asyncio.Future[None]] = set()
        self._keeping: asyncio.TimerHandle | None = None
        self._kept: asyncio.Future[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False
        self.dropped_progress = 0
        self.failed_writes = 0
        if reserve_bytes:
            self._keep_soon()

    # -- the road ---------------------------------------------------------------------------

    def open(self, entry: Opened, written: Written) -> None:
        """See `ports.stores.Journal.open`."""
        self._opening[entry.request_id] = frame(entry)
        self._waiting.append(written)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def progress(self, entry: Progress) -> None:
        """See `ports.stores.Journal.progress`."""
        self._progress[entry.request_id] = frame(entry)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def settle(self, entry: Settled) -> None:
        """See `ports.stores.Journal.settle`."""
        self._settling[entry.request_id] = frame(entry)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        opening = self._opening
        waiting = self._waiting
        if opening:
            self._opening = {}
            self._waiting = []
            if self._total >= self._cap_bytes or self._reserve.spent:
                self._refuse(waiting, Unavailable("the usage journal is full"))
                opening, waiting = {}, []
        progress = self._progress
        settling = self._settling
        data = b"".join([*opening.values(), *progress.values(), *settling.values()])
        if not data:
            return
        if self._size >= self._segment_bytes:
            self._rotate()
        error = self._append(data)
        if error is not None:
            self._failed(error, waiting)
            return
        opened = self._open
        if opening:
            opened.update(opening)
        if progress:
            self._open_progress.update(progress)
            progress.clear()
        if settling:
            for request_id in settling:
                opened.pop(request_id, None)
            if self._open_progress:
                for request_id in settling:
                    self._open_progress.pop(request_id, None)
            settling.clear()
        if self._keeping is None:
            self._keep_soon()
        if self._full:
            self._unsynced += waiting
            self._sync()
        else:
            self._tell(waiting, None)

    def _tell(self, waiting: list[Written], error: Exception | None) -> None:
        for written in waiting:
            try:
                written(error)
            except Exception as problem:
                # One request's trouble must not keep the others of this turn waiting.
                self._loop.call_exception_handler(
                    {"message": "a request could not go on after its journal entry", "exception": problem}
                )

    # -- when the disk refuses --------------------------------------------------------------

    def _refuse(self, waiting: list[Written], error: Exception) -> None:
        self._keep_soon()
        self._tell(waiting, error)

    def _failed(self, error: OSError, waiting: list[Written]) -> None:
        """Refuse what was to be opened, drop progress, keep settlements and try again."""
        self.dropped_progress += len(self._progress)
        self._progress.clear()
        if self._settling and self._retry is None and not self._closed:
            self._retry = self._loop.call_later(_RETRY_S, self._try_again)
        refusal = Unavailable("the usage journal cannot be written", detail=str(error))
        refusal.__cause__ = error
        self._refuse(waiting, refusal)

    def _try_again(self) -> None:
        self._retry = None
        if not self._scheduled:
            self._flush()

    def _append(self, data: bytes) -> OSError | None:
        """Write whole frames, or leave the segment as it was and say why."""
        error = self._append_once(data)
        if error is None:
            return None
        if error.errno in _FULL:
            if not self._reserve.release():
                return error
        elif not self._rotate():
            return error
        return self._append_once(data)

    def _append_once(self, data: bytes) -> OSError | None:
        if self._fd < 0:
            return OSError(errno.EBADF, "the journal is closed")
        if self._torn and not self._rotate():
            return OSError(errno.EIO, "the segment ends in a torn frame and no other can be begun")
        try:
            taken = self._write(self._fd, data)
        except OSError as error:
            problem = error
        else:
            if taken == len(data):
                self._size += taken
                self._total += taken
                self._reserve.use(taken)
                return None
            problem = OSError(errno.ENOSPC, "only a part was written")
        self.failed_writes += 1
        self._clean = False
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            # The torn frame stays, so nothing may follow it in this segment.
            self._torn = True
        return problem

    # -- segments ---------------------------------------------------------------------------

    def _begin_segment(self) -> None:
        """Open the next segment, with what is still open at its start. Raises OSError.

        The file gets its name only once it is locked: a reader takes an unlocked segment for
        a dead writer's.
        """
        name = f"journal-{self._writer}-{next(self._numbers):06d}"
        hidden = self._directory / f"{name}.new"
        path = self._directory / f"{name}{SUFFIX}"
        fd = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            carried = b"".join([*self._open.values(), *self._open_progress.values()])
            if carried and self._write(fd, carried) != len(carried):
                raise OSError(errno.ENOSPC, "only a part was written")
            os.rename(hidden, path)
            if self._full:
                _sync_and_close(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY))
        except OSError:
            os.close(fd)
            hidden.unlink(missing_ok=True)
            raise
        self._fd = fd
        self._size = len(carried)
        self._total += self._size
        self._clean, self._torn = True, False

    def _rotate(self) -> bool:
        """Go on in a new segment. False when the disk has no room for one."""
        old, clean, torn = self._fd, self._clean, self._torn
        if old < 0:
            return False
        try:
            self._begin_segment()
        except OSError:
            self.failed_writes += 1
            return False
        self._seal(old, Seal(carried=True, clean=clean), torn)
        return True

    def _seal(self, fd: int, seal: Seal, torn: bool) -> None:
        try:
            if not torn:
                self._write(fd, frame(seal))
            if self._full:
                os.fdatasync(fd)
        except OSError:
            # Read as a dead writer's then: what the next segment settles corrects it.
            self.failed_writes += 1
        sealing = self._loop.run_in_executor(None, _sync_and_close, fd)
        self._sealing.add(sealing)
        sealing.add_done_callback(self._sealed)

    def _sealed(self, done: asyncio.Future[None]) -> None:
        self._sealing.discard(done)
        if done.exception() is not None:
            self.failed_writes += 1

    # -- beside the road --------------------------------------------------------------------

    def _sync(self) -> None:
        """fsync, then tell who waits for it; entries that come meanwhile share the next one."""
        if self._syncing is not None or not self._unsynced:
            return
        waiting, self._unsynced = self._unsynced, []
        self._syncing = self._loop.run_in_executor(None, _sync_and_close, os.dup(self._fd))

        def synced(done: asyncio.Future[None]) -> None:
            self._syncing = None
            error = done.exception()
            if error is None:
                self._tell(waiting, None)
            else:
                refusal = Unavailable("the usage journal cannot be synced", detail=str(error))
                self._tell(waiting, refusal)
            self._sync()

        self._syncing.add_done_callback(synced)

    def _keep_soon(self) -> None:
        if self._keeping is None and not self._closed:
            self._keeping = self._loop.call_later(_HOUSEKEEPING_S, self._keep)

    def _keep(self) -> None:
        self._keeping = None
        if self._kept is not None:
            self._keep_soon()
            return
        fd = os.dup(self._fd)
        measured: list[int] = []

        def work() -> None:
            _sync_and_close(fd)
            measured.append(journal_bytes(self._directory))
            self._reserve.refill()

        def done(future: asyncio.Future[None]) -> None:
            self._kept = None
            if future.exception() is not None:
                self.failed_writes += 1
                self._keep_soon()
            if measured:
                self._total = measured[0]
                if self._total >= self._cap_bytes:
                    self._keep_soon()
            if self._reserve.given_up:
                self._keep_soon()

        self._kept = self._loop.run_in_executor(None, work)
        self._kept.add_done_callback(done)

    async def close(self) -> None:
        """Write what is left, sync, seal. What is still open will be read as lost."""
        self._closed = True
        for timer in (self._keeping, self._retry):
            if timer is not None:
                timer.cancel()
        self._flush()
        while self._syncing is not None:
            await asyncio.wait([self._syncing])
            await asyncio.sleep(0)
        if self._kept is not None:
            await asyncio.wait([self._kept])
        last, self._fd = self._fd, -1
        self._seal(last, Seal(carried=False, clean=self._clean), self._torn)
        while self._sealing:
            await asyncio.wait(self._sealing)


def _sync_and_close(fd: int) -> None:
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
