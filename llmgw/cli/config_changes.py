"""How `llmgw config diff` shows changes to a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmgw.config.diff import Change

_WIDTH = 100
_INDENT = " " * 9
_NOTHING: tuple[object, ...] = (None, [], {}, "")


def print_changes(before: str, after: str, changes: Sequence[Change]) -> None:
    """Each change in its own lines: where, from what to what, and for whom."""
    if not changes:
        typer.echo(f"nothing changes: generation {before}")
        return
    count = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
    typer.echo(f"generation {before} -> {after}: {count}")
    for change in changes:
        typer.echo(f"\n{change.kind:<8} {change.path}")
        if change.before is None:
            typer.echo(f"{_INDENT}{_text(change.after)}")
        elif change.after is None:
            typer.echo(f"{_INDENT}{_text(change.before)}")
        else:
            was, now = _text(change.before), _text(change.after)
            gap = f"\n{_INDENT}" if len(was) + len(now) > _WIDTH else " "
            typer.echo(f"{_INDENT}{was}{gap}-> {now}")
        typer.echo(f"{_INDENT}affects {change.affects}")


def _text(value: object) -> str:
    """One line, without what says nothing."""
    text = value if isinstance(value, str) else json.dumps(_said(value), ensure_ascii=False)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _said(value: object) -> object:
    if isinstance(value, dict):
        said = ((name, _said(inner)) for name, inner in value.items())
        return {name: inner for name, inner in said if inner not in _NOTHING}
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    return value
