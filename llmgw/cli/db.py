"""`llmgw db`: the database's schema, a copy of it, and the way from SQLite to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from llmgw.cli.output import Format, FormatOption, emit
from llmgw.cli.problems import CliError
from llmgw.cli.session import ConfigOption, load_stored
from llmgw.stores.urls import is_postgres, shown

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Migrate the database, show its state, back it up, and move it to PostgreSQL.",
)

_CONFIG = Path("llmgw.yaml")
_NEXT = {
    "fresh": "`llmgw serve` or `llmgw db migrate` makes it",
    "current": "",
    "behind": "run `llmgw db migrate`",
    "newer": "a newer llmgw migrated it; this one can use it too",
    "ahead": "it was written by a newer llmgw; run that one",
    "foreign": "it holds tables that are not llmgw's; name another database in storage.url",
}


@contextmanager
def _problems() -> Iterator[None]:
    """What is raised inside, as one line. Raises CliError."""
    from llmgw.core.errors import Unavailable
    from llmgw.stores.sqlite import DatabaseProblem

    try:
        yield
    except DatabaseProblem as error:
        raise CliError(str(error)) from error
    except Unavailable as error:
        raise CliError(f"{error.message}: {error.detail}") from error


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try it and take it all back.")] = False,
    config: ConfigOption = _CONFIG,
) -> None:
    """Bring the schema to this version's. Makes the database's tables when there are none.

    Everything happens in one transaction. With SQLite, stop the gateway first; with PostgreSQL,
    run it from the new version while the old one serves, then replace the hosts.
    """
    from llmgw.stores.migrate import migrate as run
    from llmgw.stores.migrate import pending
    from llmgw.stores.schema_version import HEAD

    url = load_stored(config).storage.database
    with _problems():
        missing = pending(url)
        run(url, dry_run=dry_run)
    if dry_run:
        steps = f"would get {', '.join(missing)}" if missing else "needs nothing"
        typer.echo(f"{shown(url)} {steps}; nothing was changed")
    else:
        typer.echo(f"{shown(url)} has schema {HEAD}")


@app.command()
def status(config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """Show which schema the database has, and what to do about it."""
    from llmgw.stores.schema_version import HEAD, check_database, schema_revision, schema_state

    url = load_stored(config).storage.database
    with _problems():
        check_database(url)
        state = schema_state(url)
        revision = schema_revision(url)
    row = {
        "database": shown(url),
        "state": state.value,
        "revision": revision,
        "head": HEAD,
        "next": _NEXT[state.value],
    }
    emit([row], tuple(row), format)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; must not exist.")],
    config: ConfigOption = _CONFIG,
) -> None:
    """Copy a SQLite database while the gateway runs; the copy is as of one moment.

    Example:  llmgw db backup /backups/llmgw-monday.db
    """
    from llmgw.cli.database import drain, engine
    from llmgw.stores.backup import backup as run

    document = load_stored(config)
    url = document.storage.database
    if is_postgres(url):
        raise CliError(
            f"PostgreSQL has its own backups; run: pg_dump --format=custom --file={file} '{shown(url)}' "
            "(the password from PGPASSWORD or ~/.pgpass)"
        )
    with engine(document):
        drain(document)
        with _problems():
            run(url, file)
    typer.echo(f"copied {shown(url)} to {file}")


@app.command()
def copy(
    to: Annotated[str, typer.Option(metavar="URL", help="postgresql://user:password@host/database")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and look, change nothing.")] = False,
    config: ConfigOption = _CONFIG,
) -> None:
    """Copy an embedded installation into an empty PostgreSQL database, all of it or nothing.

    Keys, records and told alerts; the counts are compared before anything is kept. Stop the gateway,
    copy, write the URL into `storage.url`, start again. ${env:NAME} in the URL stands for a variable.

    Example:  llmgw db copy --to 'postgresql://llmgw:${env:PGPASSWORD}@db/llmgw'
    """
    from llmgw.cli.database_copy import copy_database

    with _problems():
        copy_database(load_stored(config), to, dry_run=dry_run)
