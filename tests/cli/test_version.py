"""`llmgw version`."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any

from llmgw import __version__


def test_for_people(llmgw: Callable[..., Any]) -> None:
    assert llmgw("version").out == f"llmgw {__version__} (Python {platform.python_version()})\n"


def test_for_machines(llmgw: Callable[..., Any]) -> None:
    row = {"version": __version__, "python": platform.python_version()}

    assert json.loads(llmgw("version", "--format", "json").out) == [row]
    assert llmgw("version", "--format", "csv").out.splitlines() == [",".join(row), ",".join(row.values())]
