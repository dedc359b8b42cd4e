"""`llmgw serve`: run the gateway, or try it with `--demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from llmgw.cli.demo import Demo, prepare_demo
from llmgw.cli.session import CliError, ConfigOption, load


def serve(
    config: ConfigOption = Path("llmgw.yaml"),
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Run on a built-in provider: no account, no network, no configuration."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that serve side by side.", show_default="server.workers"),
    ] = None,
) -> None:
    """Run the gateway.

    Reads ./llmgw.yaml unless `-c` names another file. `--demo` needs no file: it keeps its own in
    ./llmgw-demo/, prints a key, and answers with your own words.

    Follows the file while it runs: a valid change is in effect within a second, an invalid one is
    refused and told. SIGHUP reads it again at once.

    Stop it with Ctrl-C or SIGTERM; requests under way are finished first.
    """
    from llmgw.server.listeners import ListenError
    from llmgw.server.outlets import attached_to_terminal, outlets_for
    from llmgw.server.plane import StartProblem
    from llmgw.server.serve import Bound, run
    from llmgw.stores.sqlite import DatabaseProblem

    if workers is not None:
        # As if the caller had exported it, so that it is checked and shown like any override.
        os.environ["LLMGW_SERVER__WORKERS"] = str(workers)
    trial: Demo | None = prepare_demo(Path("llmgw-demo")) if demo else None
    document = load(trial.config if trial is not None else config)
    terminal = attached_to_terminal()
    outlets = outlets_for(document.logging.level)

    def announce(bound: Bound) -> None:
        if trial is not None:
            trial.announce(bound.data, bound.admin)
        elif terminal:
            typer.echo(
                f"llmgw serves on http://{bound.data}, health and metrics on http://{bound.admin}", err=True
            )

    try:
        run(document, announce, outlets)
    except (ListenError, StartProblem, DatabaseProblem) as error:
        raise CliError(str(error)) from error
    finally:
        outlets.close()
