"""`llmgw db copy`: from an embedded installation to PostgreSQL."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmgw.cli.database import engine
from llmgw.cli.problems import CliError
from llmgw.stores.urls import is_postgres, shown

if TYPE_CHECKING:
    from llmgw.config.document import Document


def copy_database(document: Document, to: str, *, dry_run: bool) -> None:
    """Copy what the document's database holds. Raises CliError, DatabaseProblem, Unavailable."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from llmgw.stores.copying import Copying
    from llmgw.stores.migrate import migrate, refuse_unusable
    from llmgw.stores.schema_version import SchemaState

    source = document.storage.database
    target = _target(to)
    if is_postgres(source):
        raise CliError("storage.url names PostgreSQL already; copy between two with pg_dump and pg_restore")
    with engine(document):
        _load_journals(document)
        copying = Copying(source, target)
        state = refuse_unusable(target)
        if state is not SchemaState.FRESH:
            copying.refuse_filled()
        counts = copying.counts()
        found = f"{counts.keys} keys, {counts.records} records and {counts.alerts} told alerts"
        if dry_run:
            typer.echo(f"would copy {found} to {shown(target)}; nothing was changed")
            return
        migrate(target)
        columns = (TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task("records", total=counts.records)
            counts = copying.run(lambda rows: progress.advance(bar, rows))
    typer.echo(
        f"copied {counts.keys} keys, {counts.records} records and {counts.alerts} told alerts to "
        f"{shown(target)}; counts and sums are the same on both sides. "
        f"Now set storage.url to it and start the gateway"
    )


def _target(to: str) -> str:
    from llmgw.config.database_url import DatabaseUrl
    from llmgw.ports.secrets import SecretUnavailable
    from llmgw.secrets.env import EnvSource
    from llmgw.secrets.file import FileSource

    sources = {source.scheme: source for source in (EnvSource(os.environ), FileSource(Path.cwd()))}
    try:
        url = DatabaseUrl.checked(to, None)
        values = {ref: sources[ref.scheme].read(ref.locator).value for ref in url.references}
        target = url.resolved(values).get_secret_value()
    except (ValueError, SecretUnavailable) as error:
        raise CliError(f"--to {error}") from error
    if not is_postgres(target):
        raise CliError("--to must look like postgresql://user:password@host/database")
    return target


def _load_journals(document: Document) -> None:
    """Load what is left in journals, which no gateway may be writing. Raises CliError."""
    from llmgw.stores.drain import Drainer

    drainer = Drainer(document.storage.data_dir / "journal", document.storage.database)
    try:
        if not drainer.drain():
            raise CliError(
                f"a gateway runs on {document.storage.data_dir}; stop it first, so that nothing is missing"
            )
    finally:
        drainer.release()
