"""How a module of ours is run as a program of its own.

Python puts the working directory before its own library for `-m`. A file there that is named like
a module, such as `secrets.py`, would be imported instead of it.
"""

from __future__ import annotations

import os
import sys


def python(module: str) -> list[str]:
    """The command that runs it, which finds what this process finds and nothing else.

    Only a process that has the working directory on its path itself passes it on.
    """
    return [sys.executable, *(() if _finds_here() else ("-P",)), "-m", module]


def _finds_here() -> bool:
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return False
    return "" in sys.path or here in sys.path
