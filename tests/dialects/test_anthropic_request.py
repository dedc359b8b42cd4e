from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Format, Message, Reasoning, Text, Tool, ToolChoice
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects import gemini, openai_chat
from llmgw.dialects.anthropic_request import parse_request
from tests.dialects.anthropic_golden import REQUEST, WIRE

HELLO = [{"role": "user", "content": "hello"}]


def parse(**members: Any) -> ChatRequest:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": HELLO} | members
    return parse_request(json.dumps(body).encode(), "outside", False)


def test_rich_conversation() -> None:
    assert parse_request(WIRE, "outside", False) == REQUEST


def test_model_and_stream_stand_outside_the_body_on_other_clouds() -> None:
    request = parse_request(b'{"anthropic_version":"vertex-2023-10-16","messages":[]}', "outside", True)

    assert (request.model, request.stream, request.extra) == ("outside", True, {})


def test_system_text_may_stand_among_the_messages() -> None:
    request = parse(
        system="first", messages=[*HELLO, {"role": "system", "content": [{"type": "text", "text": "later"}]}]
    )

    assert request.system == (Text("first"),)
    assert request.messages[1] == Message("system", (Text("later"),), at="messages[1]")


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(budget=2048)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(shown=False)),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low")),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
            Reasoning(effort="xhigh"),
        ),
    ],
)
def test_ways_to_think(members: dict[str, Any], reasoning: Reasoning | None) -> None:
    assert parse(**members).reasoning == reasoning


def test_effort_beyond_our_levels_is_the_highest_and_not_forgotten() -> None:
    request = parse(output_config={"effort": "max"})

    assert request.reasoning == Reasoning(effort="xhigh")
    assert request.extra == {"output_config.effort": '"max"'}


@pytest.mark.parametrize(
    ("wire", "choice", "parallel"),
    [
        ({"type": "any"}, ToolChoice("required"), None),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", "f"), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "auto", "disable_parallel_tool_use": False}, ToolChoice("auto"), True),
    ],
)
def test_tool_choices(wire: dict[str, Any], choice: ToolChoice, parallel: bool | None) -> None:
    request = parse(tool_choice=wire)

    assert (request.tool_choice, request.parallel_tools) == (choice, parallel)


def test_older_name_of_the_format() -> None:
    assert parse(output_format={"type": "json_schema", "schema": {"a": 1}}).format == Format(
        "schema", '{"a": 1}'
    )


def test_members_without_a_field_are_kept_by_name() -> None:
    """Nothing is lost in silence: what a target cannot take is refused or named from here."""
    request = parse(
        mcp_servers=[{"type": "url", "url": "https://mcp.test", "name": "m"}],
        metadata={"user_id": "u", "team": 7},
        output_config={"task_budget": {"total": 5}},
        brand_new=None,
        newer={"a": 1},
        tools=[
            {"type": "web_search_20250305", "name": "web_search"},
            {"type": "custom", "name": "f", "input_schema": {}, "defer_loading": True, "allowed_callers": []},
        ],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a", "citations": None, "audience": "all", "empty": []},
                    {
                        "type": "document",
                        "source": {"type": "content", "content": "b"},
                        "context": "c",
                        "citations": {"enabled": True},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "1", "name": "f", "input": {}, "caller": {"type": "direct"}}
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "1",
                        "content": [{"type": "text", "text": "r", "inner": 1}],
                        "took_ms": 5,
                    }
                ],
            },
        ],
        system=[{"type": "text", "text": "s", "scope": "turn"}],
    )

    assert request.tools == (Tool("f", parameters="{}"),)
    assert {name: json.loads(text) for name, text in request.extra.items()} == {
        "mcp_servers": [{"type": "url", "url": "https://mcp.test", "name": "m"}],
        "metadata.team": 7,
        "output_config.task_budget": {"total": 5},
        "newer": {"a": 1},
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "tool.defer_loading": True,
        "content.context": "c",
        "content.citations": {"enabled": True},
        "content.audience": "all",
        "content.took_ms": 5,
        "content.inner": 1,
        "content.scope": "turn",
    }


def test_members_of_blocks_that_another_dialect_cannot_have_are_named() -> None:
    request = parse(
        messages=[{"role": "user", "content": [{"type": "text", "text": "a", "audience": "all"}]}]
    )

    assert openai_chat.DIALECT.render_request(request).dropped == ("content.audience",)
    assert gemini.DIALECT.render_request(request).dropped == ("content.audience",)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"tools": [{"name": 5}]}, "tools[0].name"),
        ({"tools": [5]}, "tools[0]"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
    ],
)
def test_wrong_member_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse(**members)

    assert refusal.value.param == param
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type"),
        ({"thinking": {"type": "telepathy"}}, "thinking.type"),
    ],
)
def test_structure_that_nobody_has_is_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedOperation) as refusal:
        parse(**members)

    assert refusal.value.param == param


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"messages":[', b'{"messages":[],"x":"\xff"}', b'{"messages":' + b"[" * 5000]
)
def test_body_that_is_no_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(body, "m", False)
