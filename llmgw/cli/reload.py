"""`llmgw reload`: have the running gateway read its configuration now."""

from __future__ import annotations

from pathlib import Path

import typer

from llmgw.cli.gateway import ask
from llmgw.cli.session import CliError, ConfigOption, load_unresolved


def reload(config: ConfigOption = Path("llmgw.yaml")) -> None:
    """Have the running gateway read its configuration now, and say what came of it.

    It follows the file by itself within a second; this is for rotated secrets, and for whoever
    wants the answer. Exit code 1 means that it refused, or that none runs; the old one serves on.
    """
    document = load_unresolved(config)
    answer = ask(document, "reload")
    if answer is None:
        raise CliError(f"no gateway runs on {document.storage.data_dir}")
    if answer["problems"]:
        problems = "\n  ".join(answer["problems"])
        raise CliError(f"refused; generation {answer['generation']} serves on:\n  {problems}")
    typer.echo(f"generation {answer['generation']} {'is in effect' if answer['changed'] else 'already was'}")
