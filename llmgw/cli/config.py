"""`llmgw config`: check, show, compare and describe the configuration."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmgw.cli.output import Format, FormatOption, emit, print_json
from llmgw.cli.session import CliError, ConfigOption, load, load_unresolved

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
def diff(config: ConfigOption = Path("llmgw.yaml"), format: FormatOption = Format.TABLE) -> None:
    """Print what the file would change in the running gateway, and for whom.

    Compares meanings: order, comments, defaults and files make no difference, and neither does
    what the gateway's environment or options decide. When no gateway runs, the file is compared
    with the last configuration that was in effect.

    Example:  llmgw config diff -c staged.yaml
    """
    from llmgw.cli.config_changes import print_changes
    from llmgw.cli.gateway import ask
    from llmgw.config.diff import changes
    from llmgw.runtime.lastgood import LastGood

    document = load_unresolved(config)
    running = ask(document, "document")
    if running is None:
        kept = LastGood(document.storage.data_dir).read()
        if kept is None:
            raise CliError(
                f"no gateway runs on {document.storage.data_dir}, and none has; `llmgw config check` "
                f"tells whether one would start"
            )
        running = {"generation": kept.generation, "document": kept.document, "overridden": []}
    found = [
        change
        for change in changes(running["document"], document.model_dump(mode="json"))
        if not any(f"{change.path}.".startswith(f"{path}.") for path in running["overridden"])
    ]
    if format is Format.TABLE:
        print_changes(running["generation"], document.generation, found)
        return
    emit(
        [
            {
                "change": change.kind,
                "path": change.path,
                "before": _flat(change.before, format),
                "after": _flat(change.after, format),
                "affects": change.affects,
            }
            for change in found
        ],
        ("change", "path", "before", "after", "affects"),
        format,
    )


def _flat(value: object, format: Format) -> object:
    """A value as it is in JSON; as one line of text in CSV."""
    if format is Format.JSON or value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


@app.command()
def schema() -> None:
    """Print a JSON Schema of the configuration, for editors.

    Example:  llmgw config schema > llmgw.schema.json
    """
    from llmgw.config.plugins import PluginError
    from llmgw.config.schema import json_schema

    try:
        print_json(json_schema())
    except PluginError as error:
        raise CliError(f"{error}; mend or uninstall it") from error
