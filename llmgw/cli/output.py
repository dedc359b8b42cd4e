"""What commands print: tables for people, JSON and CSV for machines, on stdout only."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]

Row = Mapping[str, Any]

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def emit(
    rows: Sequence[Row],
    columns: Sequence[str],
    format: Format,
    *,
    title: str | None = None,
    goes_on: bool = False,
) -> None:
    """Print rows. JSON has every member of a row; a table and CSV have `columns`.

    goes_on: the rows follow others that were printed; CSV does not name its columns again.
    """
    if format is Format.JSON:
        print_json(list(rows))
    elif format is Format.CSV:
        _csv(rows, columns, goes_on)
    else:
        _table(rows, columns, title)


def print_json(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _csv(rows: Sequence[Row], columns: Sequence[str], goes_on: bool) -> None:
    # Ended by CRLF, so that the writer quotes both; the file has LF, as every other output.
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    lines = ([_cell(row.get(column)) for column in columns] for row in rows)
    for values in lines if goes_on else chain([columns], lines):
        writer.writerow(values)
        sys.stdout.write(text.getvalue().removesuffix("\r\n") + "\n")
        text.seek(0)
        text.truncate()


def _table(rows: Sequence[Row], columns: Sequence[str], title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from llmgw.telemetry.console import printable

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_shown(row.get(column)))) for column in columns))
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _cell(value: object) -> object:
    """A value for CSV. Names come from callers: one that a spreadsheet would compute gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={inner}" for name, inner in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value)
