"""The `llmgw` program: a table of commands, each imported only when it runs.

`llmgw --help` imports no command at all; its lines come from the table.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from llmgw.cli.problems import CliError, report


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: where it is, and its line in the help. group: it has commands of its own."""

    target: str
    help: str
    group: bool = False


CONTEXT = {"help_option_names": ["-h", "--help"]}

COMMANDS: dict[str, Entry] = {
    "serve": Entry("llmgw.cli.serve:serve", "Run the gateway, or try it with --demo."),
    "init": Entry("llmgw.cli.init:init", "Write a commented configuration for your own providers."),
    "reload": Entry("llmgw.cli.reload:reload", "Have the running gateway read its configuration now."),
    "workers": Entry(
        "llmgw.cli.workers:app", "List the serving processes, and replace them one by one.", group=True
    ),
    "config": Entry("llmgw.cli.config:app", "Check and show the configuration.", group=True),
    "providers": Entry(
        "llmgw.cli.providers:app", "List the configured providers, and call them.", group=True
    ),
    "route": Entry("llmgw.cli.route:app", "Explain where a request would go.", group=True),
    "keys": Entry("llmgw.cli.keys:app", "Issue, list, rotate and revoke API keys.", group=True),
    "usage": Entry("llmgw.cli.usage:app", "Report what was used, by whom and for how much.", group=True),
    "quota": Entry("llmgw.cli.quota:app", "Show what is left of quotas and budgets.", group=True),
    "limits": Entry("llmgw.cli.limits:app", "Show rate limits and how they stand.", group=True),
    "db": Entry("llmgw.cli.db:app", "Migrate the database and show its state.", group=True),
    "bench": Entry("llmgw.cli.bench:bench", "Measure a gateway's speed."),
    "version": Entry("llmgw.cli.version:version", "Print the version."),
}


class LazyGroup(TyperGroup):
    """Imports a command when it is asked for by name."""

    # Any: newer typers carry a click of their own, so neither click's types nor theirs fit both.

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=entry.help) if entry is not None else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)


def _load(name: str) -> Any:
    entry = COMMANDS[name]
    module, _, attribute = entry.target.partition(":")
    found = getattr(import_module(module), attribute)
    if not entry.group:
        single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
        single.command(name=name)(found)
        found = single
    command = get_command(found)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=CONTEXT,
)


@app.callback()
def root() -> None:
    """An LLM gateway: one program, one YAML file, exact usage.

    Try it without any preparation:  llmgw serve --demo
    """


def main() -> Any:
    """Run the program. Exit codes: 0 done, 1 failed or refused, 2 misuse."""
    try:
        return app(prog_name="llmgw", standalone_mode=True)
    except CliError as error:
        report(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        report(CliError(f"{where}{error.strerror or error}"))
    sys.exit(1)
