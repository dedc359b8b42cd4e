"""What changes in meaning between two configurations, and for whom.

Compares documents as they are shown: defaults filled in, secrets masked, so that another order,
comment or file makes no difference, and a secret's value none either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmgw.config.affected import Affected
from llmgw.config.problems import Path, render_path
from llmgw.config.quotas import UNITS

Kind = Literal["added", "removed", "changed", "moved"]

_SOURCES = ("include",)
"""Where things are written, not what they mean."""


def _quota(quota: Mapping[str, Any]) -> str:
    unit = next(name for name in UNITS if quota.get(name) is not None)
    parts = [quota["per"], unit.replace("_", "-"), quota["window"]]
    return "-".join(
        [*parts, *(str(quota[name]) for name in ("model", "tenant", "user", "key") if name in quota)]
    )


_NAMED_BY: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "keys": lambda key: str(key["id"]),
    "jwt": lambda issuer: str(issuer["issuer"]),
    "routes": lambda route: str(route["name"]),
    "targets": lambda target: f"{target['provider']}/{target['model']}",
    "fallbacks": lambda fallback: str(fallback["model"]),
    "quotas": _quota,
}
"""Lists whose members have a name, so that one that is added does not change those behind it."""
_ORDERED = ("routes", "targets", "fallbacks")
"""Those in which the order means something."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. path: dotted. before, after: plain values; None for what is not there.

    affects: whose requests it concerns. For what was moved, before and after are the names in
    their order.
    """

    kind: Kind
    path: str
    before: Any  # Any: whatever a document holds
    after: Any
    affects: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every difference between two documents, in the order of the second; removed things last."""
    old = {name: value for name, value in before.items() if name not in _SOURCES}
    new = {name: value for name, value in after.items() if name not in _SOURCES}
    affected = Affected(before, after)
    return [
        Change(kind, render_path(path), was, now, affected.of(path))
        for kind, path, was, now in _compare(old, new, ())
    ]


_Difference = tuple[Kind, Path, Any, Any]


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], path: Path) -> Iterator[_Difference]:
    for name, value in after.items():
        here = (*path, name)
        if before.get(name) is None:
            if value is not None:
                yield "added", here, None, value
        elif value is None:
            yield "removed", here, before[name], None
        else:
            yield from _values(before[name], value, here)
    for name, value in before.items():
        if name not in after and value is not None:
            yield "removed", (*path, name), value, None


def _values(before: Any, after: Any, path: Path) -> Iterator[_Difference]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        if before.get("kind") == after.get("kind"):
            yield from _compare(before, after, path)
            return
    elif isinstance(before, list) and isinstance(after, list):
        old, new = _by_name(before, path), _by_name(after, path)
        if old is not None and new is not None:
            yield from _compare(old, new, path)
            if path[-1] in _ORDERED and _common(old, new) != _common(new, old):
                yield "moved", path, list(old), list(new)
            return
        if str(path[-1]) not in _ORDERED and _sorted(before) == _sorted(after):
            return
        if len(before) == len(after) and all(isinstance(one, Mapping) for one in (*before, *after)):
            for index, (was, now) in enumerate(zip(before, after, strict=True)):
                yield from _values(was, now, (*path, index))
            return
    yield "changed", path, before, after


def _by_name(members: Sequence[Any], path: Path) -> dict[str, Any] | None:
    """None where members have no names of their own, or share one."""
    name = _NAMED_BY.get(str(path[-1]))
    if name is None or not all(isinstance(member, Mapping) for member in members):
        return None
    named = {name(member): member for member in members}
    return named if len(named) == len(members) else None


def _sorted(members: Sequence[Any]) -> list[str]:
    return sorted(json.dumps(member, sort_keys=True) for member in members)


def _common(names: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    return [name for name in names if name in others]
