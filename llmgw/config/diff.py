"""What changes in meaning between two configurations, and for whom.

Compares documents as they are shown: defaults filled in, secrets masked, so that another order,
comment or file makes no difference, and a secret's value none either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from llmgw.config.problems import Path, render_path

_NAMED_BY = {"keys": "id"}
"""Lists whose members have a name of their own, which no change of order touches."""
_SOURCES = ("include",)
"""Where things are written, not what they mean."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. path: dotted. before, after: plain values; None for what is not there.

    affects: whose requests it concerns.
    """

    kind: Literal["added", "removed", "changed"]
    path: str
    before: Any  # Any: whatever a document holds
    after: Any
    affects: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every difference between two documents, in the order of the second; removed things last."""
    old = {name: value for name, value in before.items() if name not in _SOURCES}
    new = {name: value for name, value in after.items() if name not in _SOURCES}
    return list(_compare(old, new, ()))


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], path: Path) -> Iterator[Change]:
    for name, value in after.items():
        here = (*path, name)
        if before.get(name) is None:
            if value is not None:
                yield _change("added", here, None, value)
        elif value is None:
            yield _change("removed", here, before[name], None)
        else:
            yield from _values(before[name], value, here)
    for name, value in before.items():
        if name not in after and value is not None:
            yield _change("removed", (*path, name), value, None)


def _values(before: Any, after: Any, path: Path) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        if before.get("kind") == after.get("kind"):
            yield from _compare(before, after, path)
            return
    elif isinstance(before, list) and isinstance(after, list):
        name = _NAMED_BY.get(str(path[-1]))
        if name is not None:
            yield from _compare(_by(before, name), _by(after, name), path)
            return
        if len(before) == len(after):
            for index, (old, new) in enumerate(zip(before, after, strict=True)):
                yield from _values(old, new, (*path, index))
            return
    yield _change("changed", path, before, after)


def _by(members: list[Any], name: str) -> dict[str, Any]:
    return {str(member[name]): member for member in members}


def _change(kind: Literal["added", "removed", "changed"], path: Path, before: Any, after: Any) -> Change:
    return Change(kind, render_path(path), before, after, _affects(path))


def _affects(path: Path) -> str:
    """Whose requests a path concerns, as far as the path tells."""
    steps = dict(pairwise(path))
    who = ""
    if path[0] == "tenants" and len(path) > 1:
        who = f"tenant {path[1]}"
        inner = path[2:4]
        if len(inner) == 2 and inner[0] in ("users", "keys"):
            who += f", {str(inner[0])[:-1]} {inner[1]}"
    for kind in ("models", "providers"):
        if kind in steps and (path[0] == kind or path[2:3] == (kind,)):
            who += f"{', ' if who else ''}{kind[:-1]} {steps[kind]}"
    return who or "everybody"
