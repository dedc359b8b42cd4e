from __future__ import annotations

import asyncio
import fcntl
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmgw.stores import drain_process
from llmgw.stores.drain import Drainer
from llmgw.stores.drain_process import DrainProcess
from llmgw.stores.frames import frame
from llmgw.stores.schema_version import create_schema
from tests.contracts.records import opened, settled


@pytest.fixture
def database(tmp_path: Path) -> Path:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    (tmp_path / "journal").mkdir()
    return tmp_path / "u.db"


@pytest.fixture
def troubles() -> list[int]:
    return []


@pytest.fixture
async def process(tmp_path: Path, database: Path, troubles: list[int]) -> AsyncIterator[DrainProcess]:
    made = DrainProcess(tmp_path / "journal", f"sqlite:///{database}", "normal", troubles.append)
    made.start()
    yield made
    await made.close()


def leave(tmp_path: Path, number: int) -> None:
    """A dead writer's segment with one settled request and one that was under way."""
    data = frame(settled(number)) + frame(opened(number + 1))
    hidden = tmp_path / "journal" / "made.tmp"
    hidden.write_bytes(data)
    hidden.rename(tmp_path / "journal" / f"journal-1-aa-{number:06d}.log")


def outcomes(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    try:
        return [row[0] for row in connection.execute("SELECT outcome FROM usage ORDER BY request_id")]
    finally:
        connection.close()


async def until_loaded(database: Path, count: int) -> None:
    async with asyncio.timeout(10):
        while len(outcomes(database)) < count:
            await asyncio.sleep(0.02)


async def test_it_loads_what_dead_writers_left(process: DrainProcess, database: Path, tmp_path: Path) -> None:
    leave(tmp_path, 1)
    await until_loaded(database, 2)

    assert outcomes(database) == ["ok", "lost"]
    assert list((tmp_path / "journal").glob("journal-*")) == []


async def test_what_it_tells_is_lines_of_the_log(
    tmp_path: Path, database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the gateway's standard error as JSON can read these."""
    away = database.rename(tmp_path / "away.db")
    made = DrainProcess(tmp_path / "journal", f"sqlite:///{database}", "normal", lambda code: None)
    made.start()
    told = ""
    leave(tmp_path, 1)
    try:
        async with asyncio.timeout(20):
            while "\n" not in told:
                told += capfd.readouterr().err
                await asyncio.sleep(0.02)
            away.rename(database)
            while told.count("\n") < 2:
                told += capfd.readouterr().err
                await asyncio.sleep(0.02)
    finally:
        await made.close()

    failing, again = map(json.loads, told.splitlines())
    assert (failing["event"], failing["level"]) == ("drain_failing", "error")
    assert "no database at" in failing["error"]
    assert again["event"] == "drain_answers_again"
    assert again["ts"].endswith("Z")


async def test_two_gateways_with_one_data_dir_and_two_databases(
    process: DrainProcess, database: Path, tmp_path: Path
) -> None:
    """The second is refused: its records would be in the first one's database."""
    leave(tmp_path, 1)
    await until_loaded(database, 2)
    other = DrainProcess(tmp_path / "journal", f"sqlite:///{tmp_path}/v.db", "normal", lambda code: None)
    same = DrainProcess(tmp_path / "journal", f"sqlite:///{database}", "normal", lambda code: None)

    with pytest.raises(OSError, match=rf"{database}; give each gateway its own storage\.data_dir"):
        other.start()
    same.start()

    await process.close()
    create_schema(f"sqlite:///{tmp_path}/v.db")
    await same.close()
    other.start()
    await other.close()


async def test_g10_close_loads_the_rest_and_ends_it(
    process: DrainProcess, database: Path, tmp_path: Path
) -> None:
    """When `close` returns everything is loaded and the host's lock is free."""
    leave(tmp_path, 1)
    await until_loaded(database, 2)
    leave(tmp_path, 11)
    await process.close()

    assert len(outcomes(database)) == 4
    next_one = Drainer(tmp_path / "journal", f"sqlite:///{database}")
    assert next_one.drain()
    next_one.release()


async def test_a_killed_one_is_started_again(
    process: DrainProcess,
    database: Path,
    tmp_path: Path,
    troubles: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is noticed and told, and the new one goes on where the kernel freed the lock."""
    monkeypatch.setattr(drain_process, "_RESTART_AFTER_S", 0.05)
    leave(tmp_path, 1)
    await until_loaded(database, 2)
    watching = asyncio.create_task(process.watch())
    first = process._process
    assert first is not None
    first.kill()
    leave(tmp_path, 11)
    await until_loaded(database, 4)
    watching.cancel()
    assert first.stdin is not None
    first.stdin.close()

    assert troubles == [-9]
    assert process.restarts == 1


async def test_a_dead_writers_journal_is_adopted(
    process: DrainProcess, database: Path, tmp_path: Path
) -> None:
    """It has been when nothing of it is left; one that lives never is."""
    leave(tmp_path, 1)
    with (tmp_path / "journal" / "journal-2-aa-000001.log").open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)

        assert await process.adopted(1, 10)
        assert outcomes(database) == ["ok", "lost"]
        assert not await process.adopted(2, 0.1)

    assert await process.adopted(2, 10)
    assert await process.adopted(3, 0)


async def test_old_records_are_removed_as_it_is_told(
    process: DrainProcess, tmp_path: Path, database: Path
) -> None:
    """From one moment to the next, and also by one that was started again."""
    now = time.time_ns()
    data = b"".join(frame(settled(age, at_ns=now - age * 86_400 * 10**9)) for age in (1, 5, 40, 400))
    hidden = tmp_path / "journal" / "made.tmp"
    hidden.write_bytes(data)
    hidden.rename(tmp_path / "journal" / "journal-1-aa-000001.log")
    await until_loaded(database, 4)

    async def until_left(count: int) -> None:
        async with asyncio.timeout(10):
            while len(outcomes(database)) != count:
                await asyncio.sleep(0.02)

    process.keep(100 * 86_400.0)
    await until_left(3)
    process.keep(10 * 86_400.0)
    await until_left(2)
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    process.keep(3 * 86_400.0)
    process.start()
    await until_left(1)
