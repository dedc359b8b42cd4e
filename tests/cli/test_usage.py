from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmgw.cli.problems import CliError
from llmgw.cli.usage import app
from llmgw.stores.drain import Drainer
from llmgw.stores.journal import FileJournal
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from tests.contracts.records import Told, opened, settled, turns

CONFIG = "version: 1\nproviders: {demo: {kind: echo}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "llmgw.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def database(tmp_path: Path) -> str:
    create_schema(f"sqlite:///{tmp_path}/llmgw.db")
    return f"sqlite:///{tmp_path}/llmgw.db"


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "-c", str(config)])


def rows(config: Path, *arguments: str) -> Any:
    result = run(config, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def leave_journal(tmp_path: Path, *, unsettled: int = 0, count: int = 3) -> FileJournal:
    journal = FileJournal(tmp_path / ".llmgw" / "journal", loop=asyncio.get_running_loop(), reserve_bytes=0)
    for number in range(count):
        journal.open(opened(number), Told())
        if number >= unsettled:
            journal.settle(settled(number, tenant="acme" if number else "other"))
    await turns()
    return journal


async def test_a_report_with_the_gateway_down_sees_the_journals(
    config: Path, database: str, tmp_path: Path
) -> None:
    """What a stopped gateway left behind is loaded first, requests it lost included."""
    journal = await leave_journal(tmp_path, unsettled=1)
    await journal.close()

    assert rows(config, "report", "--by", "outcome") == [
        {"outcome": "lost", "requests": 1, "input_tokens": 200, "cached_tokens": 0, "cache_write_tokens": 0,
         "output_tokens": 0, "reasoning_tokens": 0, "cost_nano_usd": 30_000, "cost_usd": "0.000030000",
         "unpriced_requests": 0, "errors": 1},
        {"outcome": "ok", "requests": 2, "input_tokens": 500, "cached_tokens": 100, "cache_write_tokens": 0,
         "output_tokens": 200, "reasoning_tokens": 20, "cost_nano_usd": 195_000, "cost_usd": "0.000195000",
         "unpriced_requests": 0, "errors": 0},
    ]  # fmt: skip


async def test_a_report_beside_a_gateway_sees_what_is_settled(
    config: Path, database: str, tmp_path: Path
) -> None:
    """To the unit, at once, even when nothing was drained yet; nothing is declared lost."""
    journal = await leave_journal(tmp_path, unsettled=1)
    gateway = Drainer(tmp_path / ".llmgw" / "journal", database)
    gateway._acquire()

    (row,) = rows(config, "report", "--by", "")

    assert (row["requests"], row["input_tokens"]) == (2, 500)
    gateway.release()
    await journal.close()


async def test_every_form_of_a_report(config: Path, database: str, tmp_path: Path) -> None:
    await (await leave_journal(tmp_path)).close()
    table = run(config, "report", "--by", "tenant,model").stdout
    assert "acme" in table
    assert "gpt-4o" in table

    text = run(config, "report", "--by", "tenant,user", "--format", "csv").stdout

    first, second = csv.DictReader(io.StringIO(text))
    assert (first["tenant"], first["user"], first["requests"], first["input_tokens"]) == (
        "acme", "alice", "2", "500",
    )  # fmt: skip
    assert second["cost_nano_usd"] == "97500"


async def test_a_span(config: Path, database: str, tmp_path: Path) -> None:
    await (await leave_journal(tmp_path)).close()

    assert rows(config, "report", "--since", "2026-09-21", "--until", "2026-09-22")[0]["requests"] == 2
    assert rows(config, "report", "--since", "2026-09-22T00:00:00Z") == []


async def test_a_followed_tail_is_one_csv(
    config: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of names, before the first record and after none, and each line in the pipe at once."""
    first = await leave_journal(tmp_path, count=1)
    await first.close()
    assert len(rows(config, "tail")) == 1
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 2:
            raise KeyboardInterrupt
        sink = open_sink(database, durable=False)
        sink.load([settled(100 + len(pauses))])
        sink.close()

    monkeypatch.setattr("llmgw.cli.usage.time.sleep", pause)

    result = run(config, "tail", "--follow", "--format", "csv")

    names, *lines = csv.reader(io.StringIO(result.stdout))
    assert names == list(rows(config, "tail")[0])
    assert [line[names.index("request_id")] for line in lines] == [
        settled(number).request_id for number in (0, 101, 102)
    ]


async def test_tail_of_nothing_names_the_same_columns(config: Path, database: str, tmp_path: Path) -> None:
    nothing = run(config, "tail", "--format", "csv").stdout
    await (await leave_journal(tmp_path, count=1)).close()

    assert run(config, "tail", "--format", "csv").stdout.startswith(nothing)


async def test_tail(config: Path, database: str, tmp_path: Path) -> None:
    await (await leave_journal(tmp_path)).close()

    found = rows(config, "tail", "-n", "2")

    assert [row["request_id"] for row in found] == ["req_000000000001", "req_000000000002"]
    assert "req_" in run(config, "tail", "--format", "csv").stdout
    assert "openai" in run(config, "tail").stdout


def test_nothing_yet_is_an_empty_list(config: Path, database: str) -> None:
    assert rows(config, "report") == []
    assert rows(config, "tail") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "--by", "tenant,team"), 'by "team"'),
        (("report", "--by", "tenant;DROP TABLE usage"), "cannot be summed"),
        (("report", "--since", "yesterday"), "is not a span"),
        (("report", "--since", "2026-02-01", "--until", "2026-01-01"), "ends before"),
    ],
)
def test_refusals_say_what_to_do(config: Path, database: str, arguments: tuple[str, ...], words: str) -> None:
    result = run(config, *arguments)

    assert isinstance(result.exception, CliError)
    assert words in str(result.exception)


def test_no_database_says_which_command_makes_one(config: Path, tmp_path: Path) -> None:
    result = run(config, "report")

    assert isinstance(result.exception, CliError)
    assert f"no database at {tmp_path}/llmgw.db" in str(result.exception)
    assert "llmgw db migrate" in str(result.exception)
    assert not (tmp_path / "llmgw.db").exists()


def test_help_teaches_with_an_example() -> None:
    assert "Example:" in CliRunner().invoke(app, ["report", "--help"]).stdout
