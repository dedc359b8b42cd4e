"""`llmgw limits`: which rate limits hold for a caller, and how they stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmgw.cli.gateway import ask
from llmgw.cli.output import Format, FormatOption, emit
from llmgw.cli.session import CliError, ConfigOption, load_unresolved

if TYPE_CHECKING:
    from llmgw.config.document import Document
    from llmgw.runtime.standing import Row

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Show which rate limits hold for a caller, and how they stand.",
)

_CONFIG = Path("llmgw.yaml")
_COLUMNS = ("policy", "unit", "limit", "window_s", "algorithm", "used", "remaining", "resets_at", "mode")


@app.callback()
def limits() -> None:
    """Show which rate limits hold for a caller, and how they stand."""


@app.command()
def show(
    tenant: Annotated[str | None, typer.Option(help="Whose limits; the only tenant when absent.")] = None,
    user: Annotated[str | None, typer.Option(help="One of its users.")] = None,
    key: Annotated[str | None, typer.Option(help="The id of one of its keys.")] = None,
    model: Annotated[str | None, typer.Option(help="With the limits of this model.")] = None,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show the limits of a caller, every override applied.

    Asks the running gateway how they stand; when none runs, nothing is used. Limits that count
    addresses are in the configuration: `llmgw config show`.

    Example:  llmgw limits show --tenant acme --user alice@acme.test
    """
    document = load_unresolved(config)
    names = list(document.tenants)
    if tenant is None and len(names) > 1:
        raise CliError(f"whose limits? Name one with --tenant: {', '.join(names)}")
    tenant = tenant or names[0]
    if tenant not in document.tenants:
        raise CliError(f"there is no tenant {tenant!r}; there are {', '.join(names)}")
    rows: list[Row] | None = ask(document, "limits", tenant=tenant, user=user, key=key, model=model)
    if rows is None:
        rows = _unused(document, tenant, user, key, model)
    emit(rows, _COLUMNS, format)


def _unused(
    document: Document, tenant: str, user: str | None, key: str | None, model: str | None
) -> list[Row]:
    from llmgw.core.clock import system_clock
    from llmgw.ports.alerts import NullAlerter
    from llmgw.runtime.limits import Limits
    from llmgw.runtime.standing import limit_rows
    from llmgw.stores.counters import MemoryCounters

    clock = system_clock()
    counters = MemoryCounters(clock.steady_ns)
    limits = Limits(document, counters, clock, NullAlerter())
    return limit_rows(document, counters, clock, limits, (tenant, user, key), model)
