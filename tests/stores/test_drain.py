from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from llmgw.core.record import Opened, Progress, Settled
from llmgw.stores.drain import Drainer, other_database
from llmgw.stores.frames import Seal, frame
from llmgw.stores.journal import FileJournal
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import SqliteSink
from llmgw.stores.sqlite import connect
from tests.contracts.records import PRICE, Told, opened, settled, turns


@pytest.fixture
def database(tmp_path: Path) -> Path:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    return tmp_path / "u.db"


@pytest.fixture
async def drainer(tmp_path: Path, database: Path) -> AsyncIterator[Drainer]:
    made = Drainer(tmp_path / "journal", f"sqlite:///{database}", interval_s=0.01)
    yield made
    await made.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[FileJournal]:
    made = begin(tmp_path)
    yield made
    await made.close()


def begin(tmp_path: Path, **settings: Any) -> FileJournal:
    settings = {"reserve_bytes": 0} | settings
    return FileJournal(tmp_path / "journal", loop=asyncio.get_running_loop(), **settings)


def dead(tmp_path: Path, *entries: Any, name: str = "1-aa-000001") -> Path:
    """A segment whose writer is gone."""
    path = tmp_path / "journal" / f"journal-{name}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(map(frame, entries)))
    return path


def rows(database: Path, columns: str = "request_id, outcome") -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(f"SELECT {columns} FROM usage ORDER BY request_id").fetchall()
    finally:
        connection.close()


def segments(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "journal").glob("journal-*.log"))


async def test_a_settled_request_is_one_whole_row(
    drainer: Drainer, journal: FileJournal, database: Path
) -> None:
    journal.open(opened(1), Told())
    journal.settle(settled(1, upstream_id="x", first_byte_us=None, streamed=True))
    await turns()
    await drainer.drain_now()

    wanted = settled(1, upstream_id="x", first_byte_us=None, streamed=True)
    columns = ", ".join(f'"{name}"' for name in Settled.__struct_fields__)
    assert Settled(*rows(database, columns)[0]) == wanted
    assert (drainer.loaded, drainer.lost, drainer.lag_bytes) == (1, 0, 0)


async def test_what_is_open_is_no_row_while_its_writer_lives(
    drainer: Drainer, journal: FileJournal, database: Path, tmp_path: Path
) -> None:
    journal.open(opened(1), Told())
    await turns()
    await drainer.drain_now()
    assert rows(database) == []

    journal.settle(settled(1))
    await turns()
    await drainer.drain_now()

    assert rows(database) == [("req_000000000001", "ok")]
    assert len(segments(tmp_path)) == 1


async def test_many_rows_of_every_batch_size(drainer: Drainer, journal: FileJournal, database: Path) -> None:
    for count in (1, 7, 8, 63, 64, 65, 700):
        for number in range(count):
            journal.settle(settled(count * 1000 + number))
        await turns()
        await drainer.drain_now()

    assert len(rows(database)) == drainer.loaded == 908


async def test_g08_a_dead_writers_open_request_is_lost_and_priced(
    drainer: Drainer, database: Path, tmp_path: Path
) -> None:
    """It becomes a row of its estimates: input as opened, output as of the last progress."""
    path = dead(
        tmp_path, opened(1), opened(2), settled(2), Progress("req_000000000001", 3),
        Progress("req_000000000001", 40), opened(3, price=None),
    )  # fmt: skip
    await drainer.drain_now()

    found = rows(database, "request_id, outcome, usage_source, input_tokens, output_tokens, cost_nano_usd")
    assert found == [
        ("req_000000000001", "lost", "estimated", 200, 40, 200 * 150 + 40 * 600),
        ("req_000000000002", "ok", "reported", 250, 100, 97_500),
        ("req_000000000003", "lost", "estimated", 200, 0, None),
    ]
    assert rows(database, "price")[0] == (PRICE,)
    assert not path.exists()
    assert drainer.lost == 2


async def test_a_settlement_corrects_a_lost_row_and_never_the_other_way(
    drainer: Drainer, database: Path, tmp_path: Path
) -> None:
    dead(tmp_path, opened(1))
    await drainer.drain_now()
    dead(tmp_path, settled(1), name="1-aa-000002")
    await drainer.drain_now()
    assert rows(database) == [("req_000000000001", "ok")]

    dead(tmp_path, opened(1), name="1-aa-000003")
    await drainer.drain_now()

    assert rows(database) == [("req_000000000001", "ok")]


async def test_g09_reading_again_changes_nothing(drainer: Drainer, database: Path, tmp_path: Path) -> None:
    for turn in range(3):
        dead(tmp_path, opened(1), settled(1), opened(2), name=f"1-aa-00000{turn}")
        await drainer.drain_now()

    assert rows(database) == [("req_000000000001", "ok"), ("req_000000000002", "lost")]


async def test_g09_killed_between_commit_and_delete(database: Path, tmp_path: Path) -> None:
    """The segment is still there, and reading it again makes no second row."""

    def killed(_: Path) -> None:
        raise RuntimeError("killed here")

    dead(tmp_path, opened(1), settled(1), opened(2))
    url = f"sqlite:///{database}"
    first = Drainer(tmp_path / "journal", url, deleting=killed)
    with pytest.raises(RuntimeError):
        first.drain()
    first.release()
    assert len(rows(database)) == 2
    assert len(segments(tmp_path)) == 1

    second = Drainer(tmp_path / "journal", url)
    assert second.drain()
    second.release()

    assert rows(database) == [("req_000000000001", "ok"), ("req_000000000002", "lost")]
    assert segments(tmp_path) == []


async def test_a_rotated_segment_is_removed_and_its_open_requests_are_not_lost(
    drainer: Drainer, database: Path, tmp_path: Path
) -> None:
    journal = begin(tmp_path, segment_bytes=300)
    for number in range(10):
        journal.open(opened(number), Told())
        await turns()
    await drainer.drain_now()
    assert rows(database) == []
    assert len(segments(tmp_path)) == 1

    for number in range(10):
        journal.settle(settled(number))
    await turns()
    await journal.close()
    await drainer.drain_now()

    assert {outcome for _, outcome in rows(database)} == {"ok"}
    assert len(rows(database)) == 10
    assert segments(tmp_path) == []


async def test_what_a_failed_write_took_back_is_not_lost(
    drainer: Drainer, database: Path, tmp_path: Path
) -> None:
    """An entry seen before it was truncated away was never dispatched, so it leaves no row."""
    path = tmp_path / "journal" / "journal-1-aa-000001.log"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(frame(opened(1)))
        await drainer.drain_now()
        os.ftruncate(file.fileno(), 0)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        file.write(frame(opened(2)) + frame(Seal(carried=False, clean=False)))
    await drainer.drain_now()

    assert rows(database) == [("req_000000000002", "lost")]


async def test_a_damaged_segment_is_kept_aside(drainer: Drainer, database: Path, tmp_path: Path) -> None:
    path = dead(tmp_path, settled(1), settled(2), settled(3))
    data = bytearray(path.read_bytes())
    data[len(frame(settled(1))) + 40] ^= 1
    path.write_bytes(data)
    await drainer.drain_now()

    assert [request_id for request_id, _ in rows(database)] == ["req_000000000001", "req_000000000003"]
    assert drainer.damaged == 1
    assert not path.exists()
    assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("hole_bytes", [70_000, 131_072, 300_000])
async def test_a_hole_of_any_size_costs_what_was_in_it(
    drainer: Drainer, database: Path, tmp_path: Path, hole_bytes: int
) -> None:
    """Blocks that never reached the disk before a power failure read as zeros; what is behind them counts."""
    path = dead(tmp_path, *[settled(number) for number in range(3000)], opened(5000))
    data = bytearray(path.read_bytes())
    data[50_000 : 50_000 + hole_bytes] = bytes(hole_bytes)
    path.write_bytes(data)
    intact = [frame(settled(number)) for number in range(3000)]
    ends = list(accumulate(map(len, intact)))
    wanted = {
        settled(number).request_id
        for number, end in enumerate(ends)
        if end <= 50_000 or end - len(intact[number]) >= 50_000 + hole_bytes
    }

    await drainer.drain_now()

    found = dict(rows(database))
    assert {name for name, outcome in found.items() if outcome == "ok"} == wanted
    assert found[opened(5000).request_id] == "lost"
    assert drainer.damaged
    assert path.with_suffix(".damaged").exists()


async def test_zeros_at_the_end_are_a_torn_tail(drainer: Drainer, database: Path, tmp_path: Path) -> None:
    path = dead(tmp_path, settled(1))
    path.write_bytes(path.read_bytes() + bytes(1 << 20))

    await drainer.drain_now()

    assert rows(database) == [(settled(1).request_id, "ok")]
    assert drainer.damaged == 0
    assert not any(tmp_path.glob("journal/journal-*"))


async def test_integers_beyond_the_database_do_not_block_the_rest(
    drainer: Drainer, database: Path, tmp_path: Path
) -> None:
    dead(tmp_path, settled(1), settled(2, input_tokens=2**63 + 5), settled(3))
    await drainer.drain_now()

    assert rows(database, "input_tokens") == [(250,), (2**63 - 1,), (250,)]


async def test_g11_the_batch_waits_while_the_database_is_locked(database: Path, tmp_path: Path) -> None:
    """Failures are counted and tried again; nothing is lost and nothing doubled."""
    journal = begin(tmp_path)
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{database}", interval_s=0.01)
    for number in range(100):
        journal.settle(settled(number))
    await turns()
    other = connect(database, checkpoints=False)
    other.execute("BEGIN IMMEDIATE")
    drainer._sink = SqliteSink(database, durable=False)
    direct = drainer._sink._connected()
    direct.execute("PRAGMA busy_timeout=10")

    assert not drainer.attempt()
    assert drainer.errors == 1
    assert drainer.lag_entries > 10
    assert isinstance(drainer.last_error, sqlite3.OperationalError)

    other.execute("COMMIT")
    other.close()
    drainer.start()
    await journal.close()
    await drainer.close()
    assert len(rows(database)) == 100
    assert drainer.last_error is None
    assert segments(tmp_path) == []


async def test_g11_the_database_is_full(database: Path, tmp_path: Path) -> None:
    """SQLite's own refusal at a size limit: rolled back, kept, loaded when there is room."""
    dead(tmp_path, *[settled(number) for number in range(2000)])
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{database}")
    drainer._sink = SqliteSink(database, durable=False)
    direct = drainer._sink._connected()
    pages = direct.execute("PRAGMA page_count").fetchone()[0]
    direct.execute(f"PRAGMA max_page_count={pages + 5}")
    assert not drainer.attempt()
    assert rows(database) == []
    assert "full" in str(drainer.last_error)

    assert drainer.attempt()
    drainer.release()

    assert len(rows(database)) == 2000
    assert segments(tmp_path) == []


async def test_g11_no_database_is_an_error_and_not_a_new_file(tmp_path: Path) -> None:
    dead(tmp_path, settled(1))
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{tmp_path}/missing.db")
    await drainer.close()

    assert isinstance(drainer.last_error, FileNotFoundError)
    assert not (tmp_path / "missing.db").exists()
    assert len(segments(tmp_path)) == 1


async def test_one_process_drains(drainer: Drainer, database: Path, tmp_path: Path) -> None:
    """A second one waits for the lock, and takes over when the first lets it go."""
    second = Drainer(tmp_path / "journal", f"sqlite:///{database}")
    assert drainer.drain()
    dead(tmp_path, settled(1))

    assert not second.drain()
    drainer.release()
    assert second.drain()
    second.release()

    assert len(rows(database)) == 1


async def test_who_drains_says_into_which_database(database: Path, tmp_path: Path) -> None:
    """So that a second gateway with the same journals and another database can tell."""
    directory, url = tmp_path / "journal", f"sqlite:///{database}"
    assert other_database(directory, "sqlite:////b.db") is None
    drainer = Drainer(directory, url)
    drainer.drain()

    assert other_database(directory, url) is None
    assert other_database(directory, "sqlite:////b.db") == str(database)

    drainer.release()
    assert other_database(directory, "sqlite:////b.db") is None


async def test_close_waits_for_the_other_to_finish(database: Path, tmp_path: Path) -> None:
    """A worker that ends while another holds the lock still leaves nothing behind."""
    first = Drainer(tmp_path / "journal", f"sqlite:///{database}")
    second = Drainer(tmp_path / "journal", f"sqlite:///{database}")
    first.drain()
    dead(tmp_path, settled(1))
    closing = asyncio.create_task(second.close())
    await asyncio.sleep(0.05)
    assert rows(database) == []
    first.release()
    await closing

    assert len(rows(database)) == 1


async def test_a_report_beside_a_gateway_sees_everything(
    drainer: Drainer, journal: FileJournal, database: Path, tmp_path: Path
) -> None:
    """Without the lock, settlements are loaded; nothing is declared lost or removed."""
    drainer.drain()
    dead(tmp_path, opened(3))
    journal.open(opened(1), Told())
    journal.settle(settled(2))
    await turns()
    report = Drainer(tmp_path / "journal", f"sqlite:///{database}")
    report.catch_up()
    report.release()

    assert rows(database) == [("req_000000000002", "ok")]
    assert len(segments(tmp_path)) == 2


async def test_half_made_files_are_swept(database: Path, tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    directory.mkdir()
    old, young = directory / "journal-1.new", directory / "journal-2.new"
    old.touch()
    young.touch()
    os.utime(old, (1, 1))
    drainer = Drainer(directory, f"sqlite:///{database}")
    drainer.drain()
    drainer.release()

    assert (old.exists(), young.exists()) == (False, True)


async def test_g10_close_drains_everything(database: Path, tmp_path: Path) -> None:
    journal = begin(tmp_path)
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{database}", interval_s=60)
    drainer.start()
    await asyncio.sleep(0.05)
    for number in range(3000):
        journal.open(opened(number), Told())
        journal.settle(settled(number))
    await journal.close()
    await drainer.close()

    assert len(rows(database)) == 3000
    assert segments(tmp_path) == []


async def test_recover_is_asked_for_what_was_lost(database: Path, tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def recover(entry: Opened, output_tokens: int) -> Settled:
        asked.append((entry.request_id, output_tokens))
        return settled(1, outcome="lost", cost_nano_usd=1)

    dead(tmp_path, opened(1), Progress("req_000000000001", 12))
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{database}", recover=recover, durability="full")
    drainer.drain()
    drainer.release()

    assert asked == [("req_000000000001", 12)]
    assert rows(database, "cost_nano_usd") == [(1,)]


WRITER = """
import asyncio, sys
from pathlib import Path
from llmgw.stores.journal import FileJournal
from tests.contracts.records import opened, settled

async def main(directory, first):
    journal = FileJournal(
        Path(directory), loop=asyncio.get_running_loop(), segment_bytes=20_000, reserve_bytes=0)
    number = first
    while True:
        for _ in range(5):
            def written(error, number=number):
                assert error is None
                sys.stdout.write(f"{number}\\n")
                journal.settle(settled(number)) if number % 10 else None
            journal.open(opened(number), written)
            number += 1
        await asyncio.sleep(0)
        sys.stdout.flush()
        await asyncio.sleep(0.0005)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def write_until_killed(directory: Path, first: int, after_s: float) -> set[str]:
    """A writer killed with SIGKILL some time after its first entry; the ids it said were written."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(first)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    said = child.stdout.readline()
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    lines = (said + rest).rpartition(b"\n")[0].split()
    return {f"req_{int(line):012x}" for line in lines}


async def test_g08_killed_at_any_moment_every_request_has_one_row(database: Path, tmp_path: Path) -> None:
    """SIGKILL at random points, with a drainer running beside: each opened request, exactly once."""
    dice = random.Random(8)
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{database}", interval_s=0.005)
    drainer.start()
    told: set[str] = set()
    for turn in range(20):
        told |= await asyncio.to_thread(
            write_until_killed, tmp_path / "journal", turn * 1_000_000 + 1, dice.uniform(0, 0.03)
        )
    await drainer.close()

    found = rows(database)
    ids = [request_id for request_id, _ in found]
    assert len(ids) == len(set(ids))
    assert told <= set(ids)
    # What was written but not yet told may be there too, at most one turn of each writer.
    assert len(set(ids) - told) <= 20 * 5 * 2
    outcomes = dict(found)
    for request_id in told:
        if int(request_id[4:], 16) % 10 == 0:
            assert outcomes[request_id] == "lost"
    assert segments(tmp_path) == []


async def test_m01_eight_writers_and_readers_are_never_refused(database: Path, tmp_path: Path) -> None:
    """A drainer, commands that write and reports that read: nobody hears `database is locked`."""
    journal = begin(tmp_path)
    drainer = Drainer(tmp_path / "journal", f"sqlite:///{database}", interval_s=0.002)
    drainer.start()
    until = time.monotonic() + 1.0

    def command(name: str) -> int:
        done = 0
        while time.monotonic() < until:
            connection = connect(database, checkpoints=False)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE meta SET value = value + 1")
            connection.execute("COMMIT")
            connection.execute("SELECT count(*), sum(input_tokens) FROM usage").fetchone()
            connection.close()
            done += 1
            time.sleep(0.002)
        return done

    commands = [asyncio.create_task(asyncio.to_thread(command, str(number))) for number in range(8)]
    number = 0
    while not all(task.done() for task in commands):
        number += 1
        journal.settle(settled(number))
        await asyncio.sleep(0.001)
    changes = sum([await task for task in commands])
    await journal.close()
    await drainer.close()

    assert drainer.errors == 0
    assert len(rows(database)) == number
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT value FROM meta").fetchone()[0] == changes
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()
