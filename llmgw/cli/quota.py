"""`llmgw quota`: what quotas allow, and what is left of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmgw.cli.gateway import ask
from llmgw.cli.output import Format, FormatOption, Row, emit
from llmgw.cli.session import CliError, ConfigOption, load_stored

if TYPE_CHECKING:
    from llmgw.config.document import Document

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Show what quotas allow, and what is left of them.",
)

_CONFIG = Path("llmgw.yaml")
_COLUMNS = (
    "per",
    "tenant",
    "user",
    "key",
    "model",
    "unit",
    "window",
    "limit",
    "used",
    "held",
    "remaining",
    "resets_at",
    "mode",
)
_KINDS = ("tenant", "user", "key")


@app.callback()
def quotas() -> None:
    """Show what quotas allow, and what is left of them."""


@app.command()
def show(
    whose: Annotated[
        str | None,
        typer.Argument(help="A tenant, user or key; or one of these three words for all of a kind."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    key: Annotated[str | None, typer.Option(help="Only of the key with this id.")] = None,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show limit, used, held, remaining and reset of every quota.

    Asks the running gateway; when none runs, adds up the records and nothing is held. Amounts of
    money are in USD in tables and in nano-USD in JSON and CSV.

    Example:  llmgw quota show acme
    """
    document = load_stored(config)
    rows: list[dict[str, str | int | None]] | None = ask(document, "quotas")
    if rows is None:
        rows = _from_records(document)
    if not document.all_quota_rules():
        raise CliError("the configuration has no quotas; add some under `quotas:`")
    wanted = {"tenant": tenant, "user": user, "key": key}
    found = [
        row
        for row in rows
        if all(value is None or row[name] == value for name, value in wanted.items())
        and (whose is None or whose in (row["tenant"], row["user"], row["key"], row["per"]))
    ]
    if not found:
        raise CliError("no quota concerns whom you asked for")
    found.sort(key=lambda row: (row["tenant"] or "", _KINDS.index(str(row["per"])), row["user"] or ""))
    emit([_for_people(row) for row in found] if format is Format.TABLE else found, _COLUMNS, format)


def _from_records(document: Document) -> list[dict[str, str | int | None]]:
    from llmgw.cli.database import drain, engine
    from llmgw.core.clock import system_clock
    from llmgw.runtime.balances import ledger_balances, recorded_callers
    from llmgw.runtime.standing import declared_callers, quota_rows
    from llmgw.stores.ledger import Ledger

    clock = system_clock()
    ledger = Ledger(document.storage.database, document.storage.data_dir / "journal")
    with engine(document):
        drain(document)
        spent = ledger_balances(document, clock, ledger.sums)
        callers = [*declared_callers(document), *recorded_callers(document, clock, ledger.callers)]
    return quota_rows(document, clock, lambda key: (spent.get(key, (0, 0))[0], 0), callers)


def _for_people(row: Row) -> Row:
    if row["unit"] != "cost_nano_usd":
        return row
    from llmgw.config.quantities import render_usd

    shown = {name: f"${render_usd(row[name])}" for name in ("limit", "used", "held", "remaining")}
    return {**row, **shown, "unit": "cost"}
