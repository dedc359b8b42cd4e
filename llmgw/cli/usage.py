"""`llmgw usage`: what was used, by whom and for how much."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmgw.cli.database import drain, engine
from llmgw.cli.output import Format, FormatOption, Row, emit
from llmgw.cli.session import CliError, ConfigOption, load_stored

if TYPE_CHECKING:
    from llmgw.config.document import Document
    from llmgw.stores.sql import SqlRecordStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Report what was used, by whom and for how much.",
)

_CONFIG = Path("llmgw.yaml")
_SUMS = (
    "requests",
    "errors",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "cost_usd",
    "unpriced_requests",
)
_IN_TABLES = tuple(name for name in _SUMS if name not in ("cost_nano_usd", "cache_write_tokens"))
_TAIL = (
    "at",
    "tenant",
    "user",
    "key",
    "model",
    "provider",
    "status",
    "outcome",
    "input_tokens",
    "output_tokens",
    "usage_source",
    "cost_usd",
    "total_us",
)
_POLL_S = 0.5


@app.command()
def report(
    by: Annotated[
        str,
        typer.Option(help="Groups, by commas: tenant, user, key, model, provider, endpoint, day, outcome."),
    ] = "tenant",
    since: Annotated[str | None, typer.Option(help="7d, 2026-01-31 or an ISO time; UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Likewise; not part of the span itself.")] = None,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Sum usage by group. Sums are exact; a cost that is not known is counted apart, not as 0.

    Example:  llmgw usage report --by tenant,model --since 7d
    """
    from llmgw.admin.usage import parse_moment
    from llmgw.admin.usage import report as usage_report

    groups = tuple(name.strip() for name in by.split(",") if name.strip())
    now = datetime.now(UTC)
    with _records(load_stored(config)) as records:
        rows = usage_report(
            records,
            groups,
            parse_moment(since, now) if since is not None else None,
            parse_moment(until, now) if until is not None else None,
        )
    emit(rows, (*groups, *(_IN_TABLES if format is Format.TABLE else _SUMS)), format)


@app.command()
def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="How many records.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as records come. Ctrl-C ends.")
    ] = False,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show the newest usage records."""
    from llmgw.admin.usage import follow as follow_usage
    from llmgw.admin.usage import tail as usage_tail

    document = load_stored(config)
    with _records(document) as records:
        rows, place = usage_tail(records, lines)
        _print(rows, format)
        try:
            while follow:
                time.sleep(_POLL_S)
                drain(document)
                rows, place = follow_usage(records, place)
                if rows:
                    _print(rows, format, goes_on=True)
        except KeyboardInterrupt:
            return


@app.command()
def verify(config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """Check that every balance of the running gateway is the sum of its records, to the unit.

    Exits with 1 and lists the balances that are not. Requests may go on meanwhile.
    """
    from llmgw.cli.gateway import ask

    document = load_stored(config)
    found = ask(document, "verify")
    if found is None:
        raise CliError(
            "no gateway runs on this data_dir; its balances are made from the records when it starts"
        )
    wrong = found["differences"]
    if format is Format.TABLE and not wrong:
        print(f"{found['balances']} balances equal the sum of their records")
    else:
        emit(wrong, ("balance", "counter", "records", "difference"), format)
    if wrong:
        raise typer.Exit(1)


def _print(rows: list[dict[str, object]], format: Format, *, goes_on: bool = False) -> None:
    shown: list[Row] = list(rows)
    emit(shown, _TAIL if format is Format.TABLE else _record_names(), format, goes_on=goes_on)
    # Whoever follows through a pipe gets what there is.
    sys.stdout.flush()


def _record_names() -> tuple[str, ...]:
    """The columns of a record, in the order of `admin.usage.row`."""
    from llmgw.core.record import Settled

    names = ["at"]
    for name in Settled.__struct_fields__:
        if name != "at_ns":
            names.append("key" if name == "key_id" else name)
        if name == "cost_nano_usd":
            names.append("cost_usd")
    return tuple(names)


@contextmanager
def _records(document: Document) -> Iterator[SqlRecordStore]:
    from llmgw.stores.sql import SqlRecordStore

    with engine(document) as opened:
        drain(document)
        yield SqlRecordStore(opened)
