"""`llmgw init`: a commented configuration for a person's own providers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmgw.cli.problems import CliError

_HEAD = """\
# llmgw configuration. Check it with `llmgw config check`, run it with `llmgw serve`.
# Secrets stay outside: ${env:NAME} reads the environment, ${file:PATH} a file.
version: 1

server:
  listen: 127.0.0.1:8080          # where applications connect; their base URL is http://HOST:PORT/v1
  admin_listen: 127.0.0.1:8081    # /healthz /readyz /metrics

storage:
  url: sqlite:///llmgw.db         # keys and usage
  data_dir: .llmgw                # usage journals

# Accounts that you pay.
providers:
"""
_MODELS = """
# Public names that clients ask for, and where they go. {hint}
models:
"""
_TAIL = """
# Tenants have their own keys, usage, and if they like providers and models. Without this section
# there is one, `default`.
# tenants:
#   acme:
#     allow_models: ["gpt-*"]
"""
_OPENAI_MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")


def init(
    provider: Annotated[
        list[str] | None,
        typer.Option(help="openai, echo, or a vendor such as groq, deepseek, openrouter, vllm; repeatable."),
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="File to write.", show_default=True)
    ] = Path("llmgw.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration for your own providers.

    Example:  llmgw init --provider openai --provider groq
    """
    from llmgw.config.vendors import VENDORS

    names = list(dict.fromkeys(provider or ["openai"]))
    unknown = [name for name in names if name not in ("openai", "echo", *VENDORS)]
    if unknown:
        raise CliError(
            f'no provider is known as "{unknown[0]}"; known are openai, echo, {", ".join(VENDORS)}. '
            f"Write any other into the file by its base_url"
        )
    if config.exists() and not force:
        raise CliError(f"{config} exists already; name another file with -c, or overwrite it with --force")
    config.write_text(_text(names))
    missing = [variable for name in names if (variable := _key_variable(name))]
    typer.echo(f"wrote {config}\n\nNext:")
    for variable in missing:
        typer.echo(f"  export {variable}=...")
    option = "" if config == Path("llmgw.yaml") else f" -c {config}"
    for command in ("config check", "serve", "keys create --user you"):
        typer.echo(f"  llmgw {command}{option}")


def _key_variable(name: str) -> str | None:
    from llmgw.config.vendors import VENDORS

    if name == "openai":
        return "OPENAI_API_KEY"
    return VENDORS[name].key_env if name in VENDORS else None


def _text(names: list[str]) -> str:
    providers = "".join(f"  {name}: {_provider(name)}\n" for name in names)
    rows = "".join(_model_rows(name) for name in names)
    comment = "" if rows and len(names) > 1 else "# "
    hint = (
        "Without this section, every\n# name is passed to the only provider."
        if len(names) == 1
        else "A name that is not here\n# is refused."
    )
    models = _MODELS.format(hint=hint) + rows
    if comment:
        body = models.lstrip("\n").splitlines()
        models = "\n" + "\n".join(line if line.startswith("#") else f"# {line}" for line in body) + "\n"
    return _HEAD + providers + models + _TAIL


def _provider(name: str) -> str:
    variable = _key_variable(name)
    key = f', api_key: "${{env:{variable}}}"' if variable else ""
    if name == "openai":
        return f"{{kind: openai{key}}}"
    if name == "echo":
        return "{kind: echo}            # built in: answers with the request's own words"
    return f"{{kind: openai_compatible, vendor: {name}{key}}}"


def _model_rows(name: str) -> str:
    if name == "openai":
        return "".join(
            f"  {model}: {{targets: [{{provider: openai, model: {model}}}]}}\n" for model in _OPENAI_MODELS
        )
    if name == "echo":
        return "  echo: {targets: [{provider: echo, model: echo}]}\n"
    return f"  {name}-model: {{targets: [{{provider: {name}, model: the-name-that-{name}-uses}}]}}\n"
