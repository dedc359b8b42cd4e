"""The arguments of a call that Vertex AI tells piece by piece.

With `streamFunctionCallArguments` a call comes as many: the first has its name, each has values with the
place they belong to as a JSON path (`$.recipe.steps[1]`), text values grow, and the last lacks
`willContinue`. The pieces are put together here and told as one when they are whole.
"""

from __future__ import annotations

import re

import msgspec

from llmgw.dialects.gemini_wire import PartialArg

_step = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_escape = re.compile(r"\\(.)")
_encode = msgspec.json.Encoder().encode
_MAX_DEPTH = 64


class PartialArguments:
    """Arguments on their way."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: dict[str, object] = {}

    def take(self, arg: PartialArg) -> None:
        """Add a piece. Raises ValueError for a path that cannot be followed."""
        steps = _steps(arg.json_path)
        holder: object = self._root
        for at, step in enumerate(steps[:-1]):
            holder = _child(holder, step, [] if isinstance(steps[at + 1], int) else {})
        value = _value(arg)
        if isinstance(value, str):
            held = _child(holder, steps[-1], "")
            value = held + value if isinstance(held, str) else value
        _put(holder, steps[-1], value)

    def json(self) -> str:
        """All of them as JSON text; "" when there were none."""
        return _encode(self._root).decode() if self._root else ""


def _value(arg: PartialArg) -> object:
    if arg.string_value is not None:
        return arg.string_value
    if arg.bool_value is not None:
        return arg.bool_value
    return arg.number_value if len(memoryview(arg.number_value)) else None


def _steps(path: str) -> list[str | int]:
    if not path.startswith("$"):
        raise ValueError(f"not a JSON path: {path[:64]!r}")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        match = _step.match(path, at)
        if match is None or len(steps) == _MAX_DEPTH:
            raise ValueError(f"not a JSON path: {path[:64]!r}")
        name, index, single, double = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else _escape.sub(r"\1", single or double or ""))
        at = match.end()
    if not steps or isinstance(steps[0], int):
        raise ValueError(f"a path does not lead to an argument: {path[:64]!r}")
    return steps


def _child(holder: object, step: str | int, new: object) -> object:
    """What stands at a step, put there if nothing does."""
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.setdefault(step, new)
    if isinstance(holder, list) and isinstance(step, int) and step <= len(holder):
        if step == len(holder):
            holder.append(new)
        child: object = holder[step]
        return child
    raise ValueError("a path leads nowhere")


def _put(holder: object, step: str | int, value: object) -> None:
    _child(holder, step, value)
    if isinstance(holder, dict):
        holder[step] = value
    elif isinstance(holder, list):
        holder[int(step)] = value
