"""A choice among some of the tools."""

from __future__ import annotations

import json

import pytest

from llmgw.core.chat import ChatRequest, Tool, ToolChoice
from llmgw.core.errors import InvalidRequest
from llmgw.dialects import openai_chat, openai_responses
from llmgw.dialects.allowed_tools import allowed

TOOLS = (Tool("f"), Tool("g"), Tool("h"))


def by_chat(mode: str, names: list[str]) -> ChatRequest:
    functions = [{"type": "function", "function": {"name": name}} for name in names]
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": tool.name}} for tool in TOOLS],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": functions}},
    }
    return openai_chat.DIALECT.parse_request(json.dumps(body).encode(), "m", False)


def by_responses(mode: str, names: list[str]) -> ChatRequest:
    body = {
        "input": "hi",
        "tools": [{"type": "function", "name": tool.name} for tool in TOOLS],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": mode,
            "tools": [{"type": "function", "name": name} for name in names],
        },
    }
    return openai_responses.DIALECT.parse_request(json.dumps(body).encode(), "m", False)


@pytest.mark.parametrize("ask", [by_chat, by_responses])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_those_are_offered(mode: str, ask: object) -> None:
    assert callable(ask)
    request = ask(mode, ["h", "f"])

    assert [tool.name for tool in request.tools] == ["h", "f"]
    assert request.tool_choice == ToolChoice(mode)


@pytest.mark.parametrize(
    ("mode", "names", "param"),
    [
        ("none", ["f"], "tool_choice.mode"),
        (None, ["f"], "tool_choice.mode"),
        ("auto", [], "tool_choice.tools"),
        ("auto", ["f", "x"], "tool_choice.tools"),
        ("auto", [None], "tool_choice.tools"),
    ],
)
def test_what_is_wrong_is_named(mode: str | None, names: list[str | None], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        allowed(TOOLS, mode, names)

    assert caught.value.param == param
