"""Loads the journals of a host into the database.

One process per host drains: whoever holds the lock on `drain.lock`, which the kernel frees when
it dies. It works in a thread of its own, a few times a second, in transactions small enough
that nobody waits for them.

Promise: every settled request becomes exactly one row, however often it is read. A segment is
removed only after the commit of its last row was synced. An opened request whose writer died
becomes a row with outcome `lost`, which a settlement found later replaces. While the database
refuses, journals wait.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import DecodeError, Struct
from msgspec.msgpack import Decoder

from llmgw.core.record import Opened, Progress, Settled
from llmgw.stores.expire import Expiry
from llmgw.stores.frames import CHUNK_BYTES, LONGEST_FRAME, Seal, split
from llmgw.stores.journal import SUFFIX
from llmgw.stores.recover import recover as recover_lost
from llmgw.stores.sink import open_sink
from llmgw.stores.urls import shown

INTERVAL_S = 0.25
_TRANSACTION_BYTES = 1 << 20
_LONGEST_BACKOFF_S = 5.0
_WAIT_FOR_LOCK_S = 3.0
_HALF_MADE_S = 300.0
_LOCK = "drain.lock"
"""Held by whoever drains. Says into which database."""


class _OpenedHead(Struct, frozen=True, array_like=True, gc=False, tag=1):
    """As much of an `Opened` as is needed unless its writer dies."""

    request_id: str


_decode = Decoder(_OpenedHead | Progress | Settled | Seal).decode
_decode_opened = Decoder(Opened).decode


@dataclass(slots=True)
class _Reading:
    """How far a segment has been read, and what is open there.

    skipping: the last chunk held no frame at all; damage if there is one behind it.
    """

    path: Path
    offset: int = 0
    opened: dict[str, bytes] = field(default_factory=dict)
    progress: dict[str, int] = field(default_factory=dict)
    seal: Seal | None = None
    damaged: int = 0
    skipping: bool = False

    def take(self, *, final: bool) -> list[Settled]:
        """The settlements of the next chunk; the offset moves behind it."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            data = file.read(CHUNK_BYTES)
        payloads, used, damaged = split(data, final=final and len(data) < CHUNK_BYTES)
        if used == 0 and len(data) == CHUNK_BYTES:
            # A frame that began here would have ended: this is a hole, and what follows it counts.
            used = CHUNK_BYTES - LONGEST_FRAME + 1
            self.skipping = True
        elif payloads and self.skipping:
            damaged = max(1, damaged)
            self.skipping = False
        self.offset += used
        self.damaged += damaged
        settled: list[Settled] = []
        opened, progress = self.opened, self.progress
        for payload in payloads:
            try:
                entry = _decode(payload)
            except DecodeError:
                self.damaged += 1
                continue
            if type(entry) is Settled:
                settled.append(entry)
                opened.pop(entry.request_id, None)
                progress.pop(entry.request_id, None)
            elif type(entry) is _OpenedHead:
                opened[entry.request_id] = payload
            elif type(entry) is Progress:
                progress[entry.request_id] = entry.output_tokens_estimate
            elif type(entry) is Seal:
                self.seal = entry
        return settled


class Drainer:
    """Call `start` once the schema is there, `close` after the journal's own `close`.

    recover: the record of a request whose process died, from its `Opened` and the output tokens
        of its last progress.
    deleting: called with each segment that is about to be removed, after the commit.
    failures: in a row. loaded, lost, errors, damaged: counts. lag_bytes: journal not yet in the database.
    lag_entries: about as many settled requests. last_error: why, while it is failing.
    expiry: says how long records stay; for ever at first.
    """

    def __init__(
        self,
        directory: Path,
        url: str,
        *,
        durability: str = "normal",
        recover: Callable[[Opened, int], Settled] = recover_lost,
        interval_s: float = INTERVAL_S,
        deleting: Callable[[Path], None] | None = None,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._database = shown(url)
        self._sink = open_sink(url, durable=durability == "full")
        self._recover = recover
        self._interval_s = interval_s
        self._deleting = deleting
        self.expiry = Expiry(self._sink.expire)
        self._lock: int | None = None
        self._readings: dict[str, _Reading] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmgw-drain")
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.failures = 0
        self._entry_bytes = 512.0
        self.loaded = self.lost = self.errors = self.damaged = 0
        self.lag_bytes = 0
        self.last_error: Exception | None = None

    @property
    def lag_entries(self) -> int:
        return round(self.lag_bytes / self._entry_bytes)

    # -- on the event loop ------------------------------------------------------------------

    def start(self) -> None:
        """Drain from now on, as long as this process holds the host's lock."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            await loop.run_in_executor(self._thread, self.attempt)
            pause = min(self._interval_s * 2**self.failures, max(_LONGEST_BACKOFF_S, self._interval_s))
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def drain_now(self) -> None:
        """Load everything the journals hold. Raises what the database raises."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.drain)

    async def close(self) -> None:
        """Load everything that is left and let the lock go.

        Another process that holds the lock is given a moment to finish, then drains instead.
        Failing leaves the journals for the next start, with the reason in `last_error`.
        """
        self._stopping.set()
        if self._task is not None:
            await self._task
        loop = asyncio.get_running_loop()
        until = loop.time() + _WAIT_FOR_LOCK_S
        while not await loop.run_in_executor(self._thread, self.attempt) and loop.time() < until:
            if self.last_error is not None or not self._segments():
                break
            await asyncio.sleep(0.05)
        await loop.run_in_executor(self._thread, self.release)
        self._thread.shutdown()

    # -- in the thread ----------------------------------------------------------------------

    def attempt(self) -> bool:
        """One round; a failure is counted and tried again later. True when all is loaded."""
        try:
            done = self.drain()
            if done:
                self.expiry.turn()
        except Exception as error:
            # Whatever it is, the journals are kept and the next round tries again.
            self.errors += 1
            self.failures = min(self.failures + 1, 8)
            self.last_error = error
            self._sink.close()
            # A server that came back may have lost what it had acknowledged; reading twice is harmless.
            self._readings.clear()
            self._measure()
            return False
        self.failures = 0
        self.last_error = None
        return done

    def drain(self) -> bool:
        """Load what is there, in this thread. False when another process holds the lock."""
        if not self._acquire():
            return False
        for path in self._segments():
            reading = self._readings.setdefault(path.name, _Reading(path))
            try:
                self._drain_segment(reading)
            except BaseException:
                # What the failed transaction had read is read again from the start.
                self._readings.pop(path.name, None)
                raise
        self._measure()
        return True

    def catch_up(self) -> None:
        """Load every settlement without the host's lock, removing nothing.

        For a report beside a running gateway: what it loads first, the gateway loads once more.
        """
        for path in self._segments():
            reading = _Reading(path)
            try:
                self._load(reading, final=False)
            except FileNotFoundError:  # drained since
                continue

    def release(self) -> None:
        """Close the connection and give up the lock."""
        self._sink.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _acquire(self) -> bool:
        if self._lock is None:
            fd = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            self._lock = fd
            with suppress(OSError):  # on a full disk the journals are loaded all the same
                os.ftruncate(fd, 0)
                os.pwrite(fd, self._database.encode(), 0)
            self._sink.alone = True
            self._sweep()
        return True

    def _sweep(self) -> None:
        """Remove what writers that died while beginning a file left half made."""
        for path in self._directory.glob("*.new"):
            if time.time() - path.stat().st_mtime > _HALF_MADE_S:
                path.unlink(missing_ok=True)

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob(f"journal-*{SUFFIX}"))

    def _drain_segment(self, reading: _Reading) -> None:
        self._load(reading, final=False)
        if reading.seal is None:
            if not _writer_died(reading.path):
                return
        elif reading.seal.clean:
            self._finish(reading, carried=reading.seal.carried)
            return
        # Read again from the start: what was read before may have been taken back.
        again = self._readings[reading.path.name] = _Reading(reading.path)
        self._load(again, final=True)
        self._finish(again, carried=again.seal is not None and again.seal.carried)

    def _load(self, reading: _Reading, *, final: bool) -> None:
        """Everything a segment holds by now, a bounded piece in each transaction."""
        while True:
            start = reading.offset
            if reading.path.stat().st_size <= start:
                return
            found: list[Settled] = []
            while reading.offset - start < _TRANSACTION_BYTES:
                before = reading.offset
                settled = reading.take(final=final)
                if settled:
                    found += settled
                    self._entry_bytes += ((reading.offset - before) / len(settled) - self._entry_bytes) / 8
                ended = reading.offset == before
                if ended:
                    break
            if found:
                self._sink.load(found)
                self.loaded += len(found)
            if ended:
                return

    def _finish(self, reading: _Reading, *, carried: bool) -> None:
        """Account for what was left open, make sure of the commit, remove the segment."""
        lost: list[Settled] = []
        if not carried:
            for request_id, payload in reading.opened.items():
                try:
                    opened = _decode_opened(payload)
                except DecodeError:
                    reading.damaged += 1
                else:
                    lost.append(self._recover(opened, reading.progress.get(request_id, 0)))
        self._sink.load(lost, synced=True)
        self.lost += len(lost)
        self.damaged += reading.damaged
        if self._deleting is not None:
            self._deleting(reading.path)
        if reading.damaged:
            # Kept for whoever wants to know what the damage cost.
            reading.path.rename(reading.path.with_suffix(".damaged"))
        else:
            reading.path.unlink()
        self._readings.pop(reading.path.name, None)

    def _measure(self) -> None:
        lag = 0
        for path in self._segments():
            reading = self._readings.get(path.name)
            try:
                lag += path.stat().st_size - (reading.offset if reading is not None else 0)
            except FileNotFoundError:  # removed by another process
                continue
        self.lag_bytes = max(0, lag)


def other_database(directory: Path, url: str) -> str | None:
    """The database that another process loads these journals into, when it is not this one."""
    try:
        with (directory / _LOCK).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                other = file.read().decode(errors="replace")
                return other if other and other != shown(url) else None
    except OSError:
        # Not there yet, or not to be read: whoever opens it to drain says what is wrong.
        return None
    return None


def _writer_died(path: Path) -> bool:
    """Whether nobody holds the segment. The kernel frees a dead process's lock."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
