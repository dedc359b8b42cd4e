"""`llmgw config`: check, show and describe the configuration."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmgw.cli.output import print_json
from llmgw.cli.session import ConfigOption, load, load_unresolved

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Check and show the configuration.",
)


class ShowFormat(StrEnum):
    YAML = "yaml"
    JSON = "json"


@app.command()
def check(config: ConfigOption = Path("llmgw.yaml")) -> None:
    """Read and validate the configuration as `serve` does, secrets included.

    Every problem is reported at once, as `file:line path: reason`. Exit code 0 means that the
    gateway would start with it.
    """
    document = load(config)
    for warning in document.warnings:
        typer.echo(f"warning: {warning}", err=True)
    models = len(document.models)
    typer.echo(
        f"{config} is valid: {len(document.providers)} shared providers, "
        f"{models if models else 'all'} shared models, {len(document.tenants)} tenants, "
        f"generation {document.generation}"
    )


@app.command()
def show(
    config: ConfigOption = Path("llmgw.yaml"),
    format: Annotated[ShowFormat, typer.Option("--format", help="How to print it.")] = ShowFormat.YAML,
) -> None:
    """Print the configuration in effect: defaults filled in, secrets masked."""
    document = load_unresolved(config)
    plain = document.model_dump(mode="json")
    if format is ShowFormat.JSON:
        print_json(plain)
        return
    import yaml

    typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def schema() -> None:
    """Print a JSON Schema of the configuration, for editors.

    Example:  llmgw config schema > llmgw.schema.json
    """
    from llmgw.config.schema import json_schema

    print_json(json_schema())
