"""`llmgw version`."""

from __future__ import annotations

import platform

from llmgw import __version__
from llmgw.cli.output import Format, FormatOption, emit


def version(format: FormatOption = Format.TABLE) -> None:
    """Print the version of llmgw and of the Python it runs on."""
    if format is Format.TABLE:
        print(f"llmgw {__version__} (Python {platform.python_version()})")
        return
    row = {"version": __version__, "python": platform.python_version()}
    emit([row], list(row), format)
