"""What commands share: the configuration they work with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmgw.cli.problems import CliError

if TYPE_CHECKING:
    from llmgw.config.document import Document

__all__ = ["CliError", "ConfigOption", "load", "load_stored", "load_unresolved"]

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration file.", show_default=True)
]


def load_unresolved(path: Path) -> Document:
    """The document in `path`, its secrets still references. Raises CliError."""
    from llmgw.config.load import load_document
    from llmgw.config.problems import ConfigError

    try:
        return load_document(path, os.environ)
    except FileNotFoundError:
        raise CliError(
            f"no configuration at {path}; run `llmgw init` to write one, or name it with -c"
        ) from None
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror or error}") from error
    except ConfigError as error:
        raise _refused(path, error) from None


def load(path: Path) -> Document:
    """The document in `path`, with its secrets. Raises CliError."""
    return _resolved(path, None)


def load_stored(path: Path) -> Document:
    """The document in `path`, with the secrets of `storage` alone. Raises CliError."""
    return _resolved(path, "storage")


def _resolved(path: Path, section: str | None) -> Document:
    from llmgw.config.problems import ConfigError
    from llmgw.config.resolve import resolve_secrets
    from llmgw.secrets.env import EnvSource
    from llmgw.secrets.file import FileSource

    document = load_unresolved(path)
    try:
        return resolve_secrets(document, [EnvSource(os.environ), FileSource(document.path.parent)], section)
    except ConfigError as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> CliError:
    problems = str(error).splitlines()
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return CliError("\n  ".join([f"{path} has {count}:", *problems]))
