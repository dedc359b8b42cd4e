from __future__ import annotations

import os
import resource
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from llmgw.stores.backup import backup
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from llmgw.stores.sqlite import DatabaseProblem
from tests.contracts.records import settled


@pytest.fixture
def url(tmp_path: Path) -> str:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    return f"sqlite:///{tmp_path}/u.db"


def test_m15_a_copy_under_load_is_of_one_moment(url: str, tmp_path: Path) -> None:
    """Batches of ten records are there whole or not at all."""
    stop = threading.Event()

    def load() -> None:
        sink = open_sink(url, durable=False)
        at = 0
        while not stop.is_set():
            sink.load([settled(number) for number in range(at, at + 10)])
            at += 10
        sink.close()

    loader = threading.Thread(target=load)
    loader.start()
    try:
        for number in range(5):
            backup(url, tmp_path / f"copy{number}.db")
    finally:
        stop.set()
        loader.join()

    for number in range(5):
        copy = tmp_path / f"copy{number}.db"
        connection = sqlite3.connect(copy)
        assert connection.execute("SELECT count(*) % 10 FROM usage").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_nothing_is_left_of_a_copy_that_had_no_room(url: str, tmp_path: Path) -> None:
    sink = open_sink(url, durable=False)
    sink.load([settled(number) for number in range(20_000)])
    sink.close()
    (tmp_path / "copies").mkdir()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - another process
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        refused = False
        try:
            backup(url, tmp_path / "copies" / "copy.db")
        except DatabaseProblem:
            refused = True
        os._exit(0 if refused else 1)

    assert os.waitpid(pid, 0)[1] == 0
    assert list((tmp_path / "copies").iterdir()) == []


def test_what_exists_is_not_overwritten(url: str, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")

    with pytest.raises(DatabaseProblem, match="exists already"):
        backup(url, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_place_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseProblem, match="cannot be written: No such file"):
        backup(url, tmp_path / "nowhere" / "copy.db")
