"""A choice among some of the tools, which OpenAI's dialects have (`tool_choice` of type `allowed_tools`).

The others are not offered then. OpenAI has it so that the list of tools can stay the same, and cached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmgw.core.chat import Tool, ToolChoice
from llmgw.core.errors import InvalidRequest

ALLOWED = "allowed_tools"
_MODES = frozenset({"auto", "required"})


def allowed(
    tools: Sequence[Tool], mode: str | None, names: Iterable[str | None]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that are left, and how one of them is chosen. Raises InvalidRequest for others."""
    if mode not in _MODES:
        raise InvalidRequest("the mode of allowed tools is auto or required", param="tool_choice.mode")
    known = {tool.name: tool for tool in tools}
    kept: dict[str, Tool] = {}
    for name in names:
        if name is None or name not in known:
            raise InvalidRequest(f"there is no tool '{name}' to allow", param="tool_choice.tools")
        kept[name] = known[name]
    if not kept:
        raise InvalidRequest("no tool is allowed", param="tool_choice.tools")
    return tuple(kept.values()), ToolChoice(mode)
