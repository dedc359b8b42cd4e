from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite as dialect
from sqlalchemy.dialects.sqlite import insert

from llmgw.core.record import Settled
from llmgw.stores.schema import usage
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from llmgw.stores.sqlite import (
    DatabaseProblem,
    check_file,
    connect,
    database_path,
    library_warning,
    upsert_usage,
)
from tests.contracts.records import settled


@pytest.fixture
def database(tmp_path: Path) -> Path:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    path = tmp_path / "u.db"
    connection = connect(path, checkpoints=True)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


def test_the_path_of_a_url() -> None:
    assert database_path("sqlite:///a/b.db") == Path("a/b.db")
    assert database_path("sqlite:////var/lib/a%20b.db") == Path("/var/lib/a%20b.db")


@pytest.mark.parametrize("url", ["postgresql://h/d", "sqlite://", "sqlite:///", "", "/var/lib/x.db"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(DatabaseProblem, match=r"storage\.url"):
        database_path(url)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(DatabaseProblem) as caught:
        database_path("postgresql://user:hunter2@db/llmgw")

    assert "hunter2" not in str(caught.value)


def test_m04_only_the_drainer_checkpoints(database: Path) -> None:
    """Every other connection leaves checkpoints alone; all wait 5 s for a lock."""
    for checkpoints, pages in ((True, 1000), (False, 0)):
        connection = connect(database, checkpoints=checkpoints)
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == pages
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1
        connection.close()


def test_full_durability_syncs_each_commit(database: Path) -> None:
    connection = connect(database, checkpoints=True, durable=True)
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    connection.close()


@pytest.mark.parametrize(
    ("version", "warns"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False),
    ],
)  # fmt: skip
def test_m04_the_library_is_probed(version: tuple[int, int, int], warns: bool) -> None:
    warning = library_warning(version)

    assert (warning is not None) is warns
    if warning is not None:
        assert ".".join(map(str, version)) in warning


def test_the_upsert_is_that_of_the_table() -> None:
    """SQLAlchemy, which the road does not load, would write the same statement."""
    statement = insert(usage)
    names = Settled.__struct_fields__
    statement = statement.on_conflict_do_update(
        index_elements=["request_id"],
        set_={name: statement.excluded[name] for name in names if name != "request_id"},
        where=usage.c.outcome == "lost",
    )
    compiled = str(
        statement.compile(
            dialect=dialect.dialect(paramstyle="qmark"),
            column_keys=list(names),
        )
    )

    def plain(text: str) -> list[str]:
        return text.replace('"', "").replace("'lost'", "?").replace("(", " ( ").replace(")", " ) ").split()

    assert plain(upsert_usage(1)) == plain(compiled)
    assert list(names) == [column.name for column in usage.columns if column.name != "seq"]


def test_a_sound_file_passes(database: Path) -> None:
    check_file(f"sqlite:///{database}")


def test_no_file_and_an_empty_file_pass(tmp_path: Path) -> None:
    check_file(f"sqlite:///{tmp_path}/none.db")
    (tmp_path / "empty.db").touch()
    check_file(f"sqlite:///{tmp_path}/empty.db")


def test_m03_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.db"
    path.write_bytes(b"version: 1\n" * 400)

    with pytest.raises(DatabaseProblem, match=r"damaged or no SQLite file.*llmgw db migrate"):
        check_file(f"sqlite:///{path}")


def test_m03_a_truncated_file_is_refused(database: Path) -> None:
    os.truncate(database, database.stat().st_size - 4096)

    with pytest.raises(DatabaseProblem, match="damaged"):
        check_file(f"sqlite:///{database}")


@pytest.fixture
def half_checkpointed(tmp_path: Path) -> Path:
    """A database whose disk was full in the middle of a checkpoint, and whose process then died."""
    path = tmp_path / "full.db"
    create_schema(f"sqlite:///{path}")
    pid = os.fork()
    if pid == 0:  # pragma: no cover - killed
        writer = connect(path, checkpoints=False)
        for number in range(300):
            writer.execute("INSERT INTO meta VALUES (?, 1)", (f"{number}" + "x" * 4000,))
        most = path.stat().st_size + 40_960
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        with suppress(sqlite3.Error):
            writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    return path


def test_m02_a_file_whose_checkpoint_was_cut_is_whole(half_checkpointed: Path) -> None:
    """Its header counts the pages that are still in the log."""
    header = half_checkpointed.read_bytes()[:100]
    assert int.from_bytes(header[28:32], "big") * 4096 > half_checkpointed.stat().st_size

    check_file(f"sqlite:///{half_checkpointed}")

    with closing(connect(half_checkpointed, checkpoints=False)) as connection:
        assert connection.execute("SELECT count(*) FROM meta").fetchone()[0] > 300


def test_m03_without_its_log_it_is_refused(half_checkpointed: Path) -> None:
    half_checkpointed.with_name("full.db-wal").unlink()

    with pytest.raises(DatabaseProblem, match="damaged"):
        check_file(f"sqlite:///{half_checkpointed}")


def test_m03_flipped_bytes_are_refused(database: Path) -> None:
    data = bytearray(database.read_bytes())
    page = 4096
    for start in range(page, len(data), page):
        data[start : start + 64] = os.urandom(64)
    database.write_bytes(data)

    with pytest.raises(DatabaseProblem, match="damaged"):
        check_file(f"sqlite:///{database}")


def test_m03_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseProblem, match="cannot be read"):
        check_file(f"sqlite:///{tmp_path}")


def test_m03_a_read_only_file_is_refused(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(DatabaseProblem, match="read-only"):
        check_file(f"sqlite:///{database}")


def test_a_busy_database_is_not_called_damaged(tmp_path: Path) -> None:
    problem = DatabaseProblem.of(tmp_path / "u.db", sqlite3.OperationalError("database is locked"))

    assert "did not answer" in str(problem)
    assert "migrate" not in str(problem)


def test_m05_whatever_part_of_the_log_a_power_failure_takes(tmp_path: Path) -> None:
    """The file is whole, and has what was loaded up to some moment: journals fill in the rest."""
    create_schema(f"sqlite:///{tmp_path}/u.db")
    sink = open_sink(f"sqlite:///{tmp_path}/u.db", durable=False)
    sink.alone = True
    for batch in range(40):
        sink.load([settled(batch * 10 + number) for number in range(10)])
    copies = {name: (tmp_path / name).read_bytes() for name in ("u.db", "u.db-wal")}
    sink.close()
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    counts = set()
    for number in range(40):
        place = tmp_path / f"after-{number}"
        place.mkdir()
        (place / "u.db").write_bytes(copies["u.db"])
        kept = dice.randrange(len(copies["u.db-wal"]) + 1)
        torn = bytes(dice.randrange(256) for _ in range(dice.randrange(3) * 100))
        (place / "u.db-wal").write_bytes(copies["u.db-wal"][:kept] + torn)
        with closing(connect(place / "u.db", checkpoints=True)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (count,) = connection.execute("SELECT count(*) FROM usage").fetchone()
            (last,) = connection.execute("SELECT max(request_id) FROM usage").fetchone()
        assert count % 10 == 0
        assert last == (f"req_{count - 1:012x}" if count else None)
        counts.add(count)

    assert len(counts) > 5
