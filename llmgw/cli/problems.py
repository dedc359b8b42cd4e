"""Errors of commands: one clear line on stderr, and exit code 1."""

from __future__ import annotations

import sys


class CliError(Exception):
    """A command cannot do what it was asked. The message says why and what to do."""


def report(error: CliError) -> None:
    """Print it for a person."""
    print(f"error: {error}", file=sys.stderr)
