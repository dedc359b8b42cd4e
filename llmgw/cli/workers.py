"""`llmgw workers`: the processes that serve, and replacing them one by one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from llmgw.cli.gateway import ask
from llmgw.cli.output import Format, FormatOption, emit
from llmgw.cli.session import CliError, ConfigOption, load_unresolved

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List the processes that serve, and replace them one by one.",
)

_CONFIG = Path("llmgw.yaml")
_COLUMNS = ("place", "pid", "state", "age", "in_flight", "generation")
_LOOK_S = 0.2
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


@app.command("list")
def list_workers(config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """List the processes of the running gateway that serve requests.

    `silent` is one that has said nothing for two seconds: it is replaced after five. `leaving` is
    one that takes no new request and finishes what it has.
    """
    answer = _asked(config, "workers")
    rows = [
        {**one, "place": one.pop("index"), "age": _age(int(one["age_s"]))}
        if format is not Format.JSON
        else one
        for one in answer["workers"]
    ]
    for row in rows:
        if format is Format.TABLE:
            # A process id is a name, which has no thousands.
            row["pid"] = str(row["pid"])
    emit(rows, _COLUMNS, format)


@app.command()
def restart(
    config: ConfigOption = _CONFIG,
    wait: Annotated[bool, typer.Option(help="Wait until all are replaced, and say so.")] = True,
) -> None:
    """Replace every worker by a new process, one after the other, without a failed request.

    The new one accepts before the old one leaves, and the old one finishes its streams, for at most
    `server.drain_timeout`. The configuration in effect stays: a changed `server` or `storage` and a
    new version of llmgw need a restart of the gateway itself. SIGUSR2 to the gateway does the same.
    """
    count = _asked(config, "restart_workers")["workers"]
    if not wait:
        typer.echo(f"replacing {count} workers; `llmgw workers list` shows how far it is")
        return
    told = 0
    while True:
        time.sleep(_LOOK_S)
        rolling = _asked(config, "workers")["rolling"]
        if rolling["replaced"] > told:
            told = rolling["replaced"]
            typer.echo(f"{told} of {rolling['workers']} replaced")
        if rolling["done"]:
            break
    if rolling["failure"] is not None:
        raise CliError(f"{told} of {rolling['workers']} replaced, the others serve on: {rolling['failure']}")


def _asked(config: Path, command: str) -> Any:  # Any: what the command gives
    document = load_unresolved(config)
    answer = ask(document, command)
    if answer is None:
        raise CliError(f"no gateway runs on {document.storage.data_dir}; `llmgw serve` starts one")
    return answer


def _age(seconds: int) -> str:
    """The two largest units, as `2h 5m`."""
    parts: list[str] = []
    for size, unit in _UNITS:
        amount, seconds = divmod(seconds, size)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])
