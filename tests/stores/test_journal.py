from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from llmgw.core.errors import Unavailable
from llmgw.core.record import Entry, Progress
from llmgw.stores.frames import Seal, State, read_segment
from llmgw.stores.journal import FileJournal, journal_bytes
from tests.contracts.records import JournalContract, Told, opened, settled, turns


class Disk:
    """`os.write` on a disk that can be full, slow to take everything, or broken."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.error = errno.ENOSPC
        self.writes = 0

    def __call__(self, fd: int, data: bytes) -> int:
        self.writes += 1
        if self.room is None:
            return os.write(fd, data)
        if self.room == 0:
            raise OSError(self.error, os.strerror(self.error))
        taken = os.write(fd, data[: self.room])
        self.room -= taken
        return taken


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def begin(tmp_path: Path, disk: Disk) -> AsyncIterator[Callable[..., FileJournal]]:
    begun: list[FileJournal] = []

    def make(**settings: Any) -> FileJournal:
        settings = {"reserve_bytes": 0, "write": disk} | settings
        begun.append(FileJournal(tmp_path, loop=asyncio.get_running_loop(), **settings))
        return begun[-1]

    yield make
    for journal in begun:
        await journal.close()


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("journal-*.log"))


def written(directory: Path) -> list[Entry]:
    """Every entry on disk, seals left out; no segment may be damaged."""
    found: list[Entry] = []
    for path in segments(directory):
        segment = read_segment(path)
        assert segment.state is not State.TORN
        assert segment.damaged == 0
        found += [entry for entry in segment.entries if not isinstance(entry, Seal)]
    return found


def held(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class TestFileJournal(JournalContract):
    @pytest.fixture
    async def journal(self, begin: Callable[..., FileJournal]) -> FileJournal:
        return begin()

    @pytest.fixture
    def entries(self, tmp_path: Path) -> Callable[[], list[Entry]]:
        return lambda: written(tmp_path)


class TestDurableJournal(JournalContract):
    """Durability `full`: the answer comes once the bytes are synced."""

    @pytest.fixture
    async def journal(self, begin: Callable[..., FileJournal]) -> FileJournal:
        journal = begin(durability="full")
        journal._loop.run_in_executor = _at_once(journal._loop)  # type: ignore[method-assign]
        return journal

    @pytest.fixture
    def entries(self, tmp_path: Path) -> Callable[[], list[Entry]]:
        return lambda: written(tmp_path)


def _at_once(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """An executor that needs no thread, so that turns can be counted."""

    def run(_: object, work: Callable[..., object], *args: object) -> asyncio.Future[object]:
        future: asyncio.Future[object] = loop.create_future()
        future.set_result(work(*args))
        return future

    return run


async def test_full_durability_waits_for_the_sync(begin: Callable[..., FileJournal]) -> None:
    journal = begin(durability="full")
    told = Told()
    journal.open(opened(1), told)
    await asyncio.sleep(0)
    journal.open(opened(2), told)
    await journal.close()

    assert told.answers == [None, None]


async def test_one_write_a_turn(begin: Callable[..., FileJournal], disk: Disk) -> None:
    journal = begin()
    for number in range(20):
        journal.open(opened(number), Told())
        journal.settle(settled(number))
    await turns()

    assert disk.writes == 1


async def test_a_callback_that_fails_does_not_stop_the_others(begin: Callable[..., FileJournal]) -> None:
    journal = begin()
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    told = Told()

    def broken(_: Exception | None) -> None:
        raise RuntimeError("no")

    journal.open(opened(1), broken)
    journal.open(opened(2), told)
    await turns()

    assert told.answers == [None]
    assert isinstance(problems[0]["exception"], RuntimeError)


async def test_a_segment_is_private_and_held(begin: Callable[..., FileJournal], tmp_path: Path) -> None:
    journal = begin()
    (path,) = segments(tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert held(path)
    await journal.close()
    assert not held(path)
    assert read_segment(path).entries == [Seal(carried=False, clean=True)]


async def test_a_full_segment_hands_over_what_is_open(
    begin: Callable[..., FileJournal], tmp_path: Path
) -> None:
    """The next segment starts with the open requests and their progress; the old one is sealed."""
    journal = begin(segment_bytes=300)
    journal.open(opened(1), Told())
    journal.open(opened(2), Told())
    journal.progress(Progress("req_000000000002", 9))
    await turns()
    journal.settle(settled(1))
    await turns()

    first, second = segments(tmp_path)

    assert read_segment(first).entries[-1] == Seal(carried=True, clean=True)
    assert not held(first) or await _soon(lambda: not held(first))
    assert held(second)
    assert read_segment(second).entries == [
        opened(1), opened(2), Progress("req_000000000002", 9), settled(1)
    ]  # fmt: skip


async def _soon(question: Callable[[], bool]) -> bool:
    async with asyncio.timeout(5):
        while not question():
            await asyncio.sleep(0.01)
    return True


async def test_settled_requests_are_not_carried(begin: Callable[..., FileJournal], tmp_path: Path) -> None:
    journal = begin(segment_bytes=300)
    for number in range(10):
        journal.open(opened(number), Told())
        await turns()
        journal.settle(settled(number))
        await turns()

    carried = [entry for entry in written(tmp_path) if type(entry) is type(opened(0))]
    assert len(segments(tmp_path)) > 3
    assert len(carried) <= 20
    assert journal._open == {}


@pytest.mark.parametrize("room", [0, 1, 50, 250])
async def test_m02_a_full_disk_refuses_requests_and_tears_nothing(
    begin: Callable[..., FileJournal], disk: Disk, tmp_path: Path, room: int
) -> None:
    """A write that fails or stops halfway leaves whole frames only, and everybody hears of it."""
    journal = begin()
    journal.open(opened(1), Told())
    await turns()
    told = Told()
    disk.room = room

    journal.open(opened(2), told)
    journal.open(opened(3), told)
    journal.progress(Progress("req_000000000001", 1))
    await turns()

    assert len(told.answers) == 2
    assert all(isinstance(answer, Unavailable) for answer in told.answers)
    assert told.answers[0].code == "store_unavailable"  # type: ignore[union-attr]
    assert written(tmp_path) == [opened(1)]
    assert journal.dropped_progress == 1


async def test_m02_settlements_wait_in_memory_and_are_written_later(
    begin: Callable[..., FileJournal], disk: Disk, tmp_path: Path
) -> None:
    journal = begin()
    journal.open(opened(1), Told())
    await turns()
    disk.room = 10
    journal.settle(settled(1))
    await turns()
    assert written(tmp_path) == [opened(1)]

    disk.room = None

    assert await _soon(lambda: written(tmp_path) == [opened(1), settled(1)])
    told = Told()
    journal.open(opened(2), told)
    await turns()
    assert told.answers == [None]


async def test_a_segment_that_failed_once_says_so(
    begin: Callable[..., FileJournal], disk: Disk, tmp_path: Path
) -> None:
    journal = begin()
    disk.room = 10
    journal.open(opened(1), Told())
    await turns()
    disk.room = None
    await journal.close()

    assert read_segment(segments(tmp_path)[0]).entries == [Seal(carried=False, clean=False)]


async def test_m02_the_reserve_keeps_requests_going(
    begin: Callable[..., FileJournal], disk: Disk, tmp_path: Path
) -> None:
    """On a full disk the reserve is given up: half for new requests, the rest for settlements."""
    reserve = tmp_path / "reserve"

    class SmallDisk(Disk):
        def __call__(self, fd: int, data: bytes) -> int:
            self.room = None if self.room is None else (100_000 if not reserve.exists() else 0)
            return super().__call__(fd, data)

    small = SmallDisk()
    journal = begin(reserve_bytes=4000, write=small)
    journal._reserve.refill()
    assert reserve.stat().st_size == 4000
    small.room = 0
    answers = Told()
    for number in range(20):
        journal.open(opened(number), answers)
        await turns()

    served = answers.answers.count(None)
    assert 5 < served < 20
    assert not reserve.exists()
    for number in range(served):
        journal.settle(settled(number))
    await turns()
    assert len(written(tmp_path)) == 2 * served

    small.room = None
    journal._reserve.refill()
    journal.open(opened(50), answers)
    await turns()
    assert answers.answers[-1] is None
    assert reserve.exists()


@pytest.mark.parametrize("error", [errno.EIO, errno.EFBIG])
async def test_a_broken_segment_is_left_for_a_new_one(
    begin: Callable[..., FileJournal], tmp_path: Path, error: int
) -> None:
    """An error that is not about room moves the writer to another file."""
    failing = {"left": 0}

    def write(fd: int, data: bytes) -> int:
        if failing["left"]:
            failing["left"] -= 1
            raise OSError(error, os.strerror(error))
        return os.write(fd, data)

    journal = begin(write=write)
    journal.open(opened(1), Told())
    await turns()
    failing["left"] = 1
    told = Told()
    journal.open(opened(2), told)
    await turns()

    assert told.answers == [None]
    assert len(segments(tmp_path)) == 2
    assert read_segment(segments(tmp_path)[1]).entries == [opened(1), opened(2)]


async def test_m02_a_real_limit_on_the_file_size(begin: Callable[..., FileJournal], tmp_path: Path) -> None:
    """The kernel's own refusal in the middle of a write, not a pretended one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = begin(write=os.write)
    told = Told()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for number in range(30):
            journal.open(opened(number), told)
            await turns()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert len(told.answers) == 30
    kept = {entry.request_id for entry in written(tmp_path)}
    for number, answer in enumerate(told.answers):
        if answer is None:
            assert f"req_{number:012x}" in kept


async def test_g11_beyond_the_cap_nothing_is_opened(
    begin: Callable[..., FileJournal], tmp_path: Path
) -> None:
    """Requests are refused while too much waits to be drained, and served again afterwards."""
    journal = begin(cap_bytes=1000)
    told = Told()
    for number in range(10):
        journal.open(opened(number), told)
        await turns()

    refused = [answer for answer in told.answers if answer is not None]
    assert refused
    assert all(isinstance(answer, Unavailable) for answer in refused)
    journal.settle(settled(0))
    await turns()
    assert settled(0) in written(tmp_path)

    os.truncate(segments(tmp_path)[0], 0)
    journal._keep()
    assert await _soon(lambda: journal._kept is None)
    journal.open(opened(99), told)
    await turns()
    assert told.answers[-1] is None


async def test_after_close_requests_are_refused(begin: Callable[..., FileJournal]) -> None:
    journal = begin()
    await journal.close()
    told = Told()
    journal.open(opened(1), told)
    await turns()

    assert isinstance(told.answers[0], Unavailable)


async def test_housekeeping_syncs_and_makes_the_reserve(
    begin: Callable[..., FileJournal], tmp_path: Path
) -> None:
    journal = begin(reserve_bytes=8192)
    journal._keep()
    assert await _soon(lambda: (tmp_path / "reserve").exists())
    assert journal_bytes(tmp_path) == 0
