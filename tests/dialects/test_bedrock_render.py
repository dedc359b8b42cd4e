"""Requests of Converse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    ChatRequest,
    Format,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import GatewayError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.bedrock_render import render_request

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
LLAMA = "meta.llama3-70b-instruct-v1:0"
GPT = "openai.gpt-oss-120b-1:0"
HI = (Message("user", (Text("hi"),)),)
CALLED = (
    *HI,
    Message("assistant", (ToolCall("a", "f", "{}"),)),
    Message("user", (ToolResult("a", (Text("1"),)),)),
)
TOOL = Tool("f", "does", '{"properties":{"a":{"type":"string"}}}')


def rendered(model: str, **members: Any) -> tuple[Any, tuple[str, ...]]:
    got = render_request(ChatRequest(**{"model": model, "messages": HI} | members))
    return json.loads(got.body), got.dropped


def test_the_common_members() -> None:
    body, dropped = rendered(
        LLAMA,
        system=(Text("be"),),
        max_output=9,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        stream=True,
        extra={"stream_options": '{"include_usage":true}'},
    )

    assert body == {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "system": [{"text": "be"}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
    }
    assert dropped == ()


def test_tuning_that_cannot_be_said_is_dropped_by_name() -> None:
    _, dropped = rendered(
        LLAMA,
        seed=1,
        user="u",
        presence_penalty=1.0,
        frequency_penalty=1.0,
        top_k=3,
        reasoning=Reasoning(effort="high"),
        tools=(Tool("f", strict=True, cached=""),),
        parallel_tools=False,
        extra={"store": "true", "logprobs": "false", "output_config.effort": '"high"'},
    )

    assert dropped == (
        "cache_control",
        "frequency_penalty",
        "output_config.effort",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "store",
        "strict",
        "top_k",
        "user",
    )


def test_what_a_model_has_beyond_the_common_goes_in_its_own_words() -> None:
    claude, _ = rendered(CLAUDE, top_k=3, reasoning=None)
    nova, _ = rendered(NOVA, top_k=3)
    gpt, _ = rendered(GPT, reasoning=Reasoning(effort="xhigh"))

    assert claude["additionalModelRequestFields"] == {"top_k": 3}
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 3}}
    assert gpt["additionalModelRequestFields"] == {"reasoning_effort": "high"}


def test_claude_thinks_by_budget_with_room_for_it() -> None:
    body, dropped = rendered(CLAUDE, reasoning=Reasoning(budget=2000), temperature=0.2)

    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    assert body["inferenceConfig"]["maxTokens"] > 2000
    assert dropped == ("temperature",)


def test_claude_that_thinks_by_effort() -> None:
    body, dropped = rendered("global.anthropic.claude-opus-4-6-v1", reasoning=Reasoning(effort="low"))

    assert body["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low"},
    }
    assert "inferenceConfig" not in body
    assert dropped == ()


def test_thinking_gives_way_to_calls_without_their_thoughts() -> None:
    body, dropped = rendered(CLAUDE, messages=CALLED, tools=(TOOL,), reasoning=Reasoning(budget=2000))
    thought = (
        *HI,
        Message("assistant", (Thinking("hm", "sig"), ToolCall("a", "f", "{}"))),
        Message("user", (ToolResult("a", (Text("1"),)),)),
    )
    with_thoughts, _ = rendered(CLAUDE, messages=thought, tools=(TOOL,), reasoning=Reasoning(budget=2000))

    assert "additionalModelRequestFields" not in body
    assert dropped == ("thinking",)
    assert "thinking" in with_thoughts["additionalModelRequestFields"]


def test_tools() -> None:
    body, _ = rendered(CLAUDE, tools=(TOOL, Tool("g", " ", cached="")), tool_choice=ToolChoice("tool", "f"))

    assert body["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "f",
                    "description": "does",
                    "inputSchema": {"json": {"type": "object", "properties": {"a": {"type": "string"}}}},
                }
            },
            {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
            {"cachePoint": {"type": "default"}},
        ],
        "toolChoice": {"tool": {"name": "f"}},
    }


@pytest.mark.parametrize(("mode", "wire"), [("auto", {"auto": {}}), ("required", {"any": {}})])
def test_tool_choice(mode: str, wire: object) -> None:
    body, _ = rendered(NOVA, tools=(TOOL,), tool_choice=ToolChoice(mode))

    assert body["toolConfig"]["toolChoice"] == wire


def test_no_calls_are_wanted() -> None:
    """Without the tools there can be none."""
    body, dropped = rendered(CLAUDE, tools=(TOOL,), tool_choice=ToolChoice("none"))

    assert "toolConfig" not in body
    assert dropped == ()


@pytest.mark.parametrize("model", [CLAUDE, LLAMA])
def test_a_schema_is_text(model: str) -> None:
    body, dropped = rendered(model, format=Format("schema", '{"type":"object"}', "person", strict=True))

    said = {"schema": '{"type":"object"}', "name": "person"}
    assert body["outputConfig"] == {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": said}}}
    assert "additionalModelRequestFields" not in body
    assert dropped == ()


@pytest.mark.parametrize(
    ("members", "param", "error"),
    [
        ({"choices": 2}, "n", UnsupportedOperation),
        ({"format": Format("json")}, "response_format", UnsupportedOperation),
        ({"tool_choice": ToolChoice("required")}, "tool_choice", UnsupportedOperation),
        ({"messages": CALLED}, "tools", UnsupportedOperation),
        (
            {"messages": CALLED, "tools": (TOOL,), "tool_choice": ToolChoice("none")},
            "tool_choice",
            UnsupportedOperation,
        ),
        ({"tools": (Tool("f", parameters="[1]"),)}, "tools[0]", InvalidRequest),
        ({"extra": {"web_search_options": '{"a":1}'}}, "web_search_options", UnsupportedOperation),
        ({"extra": {"tools[0]": '{"type":"web_search"}'}}, "tools[0]", UnsupportedOperation),
        ({"extra": {"tools.googleSearch": '{"a":1}'}}, "tools.googleSearch", UnsupportedOperation),
    ],
)
@pytest.mark.parametrize("model", [CLAUDE, LLAMA])
def test_structure_that_cannot_be_said_is_refused(
    members: dict[str, Any], param: str, error: type[GatewayError], model: str
) -> None:
    with pytest.raises(error) as caught:
        rendered(model, **members)

    assert caught.value.param == param
