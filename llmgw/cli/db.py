"""`llmgw db`: the database's schema."""

from __future__ import annotations

from pathlib import Path

import typer

from llmgw.cli.output import Format, FormatOption, emit
from llmgw.cli.problems import CliError
from llmgw.cli.session import ConfigOption, load_unresolved

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Migrate the database and show its state.",
)

_CONFIG = Path("llmgw.yaml")
_NEXT = {
    "fresh": "`llmgw serve` or `llmgw db migrate` makes it",
    "current": "",
    "behind": "run `llmgw db migrate`",
    "ahead": "it was written by a newer llmgw; run that one",
    "foreign": "it holds tables that are not llmgw's; name another file in storage.url",
}


@app.command()
def migrate(config: ConfigOption = _CONFIG) -> None:
    """Bring the schema to this version's. Makes the database when there is none.

    Everything happens in one transaction; stop the gateway first.
    """
    from llmgw.stores.migrate import migrate as run
    from llmgw.stores.schema_version import HEAD
    from llmgw.stores.sqlite import DatabaseProblem

    document = load_unresolved(config)
    try:
        run(document.storage.url)
    except DatabaseProblem as error:
        raise CliError(str(error)) from error
    typer.echo(f"{document.storage.sqlite_path} has schema {HEAD}")


@app.command()
def status(config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """Show which schema the database has, and what to do about it."""
    from llmgw.stores.schema_version import HEAD, schema_revision, schema_state
    from llmgw.stores.sqlite import DatabaseProblem, check_file

    document = load_unresolved(config)
    url = document.storage.url
    try:
        check_file(url)
        state = schema_state(url)
        revision = schema_revision(url)
    except DatabaseProblem as error:
        raise CliError(str(error)) from error
    row = {
        "database": str(document.storage.sqlite_path),
        "state": state.value,
        "revision": revision,
        "head": HEAD,
        "next": _NEXT[state.value],
    }
    emit([row], tuple(row), format)
