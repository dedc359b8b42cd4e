from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Format, Message, Reasoning, Text, Tool, ToolChoice
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.openai_chat_render import render_request
from llmgw.dialects.openai_chat_vendors import COMPATIBLE, OPENAI, VENDORS, Vendor

HELLO = (Message("user", (Text("hello"),)),)
SCHEMA = '{"type": "object",  "properties": {"b": {}, "a": 1e2}}'


def rendered(vendor: Vendor = OPENAI, **members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The members beside model and messages, and what was dropped."""
    result = render_request(ChatRequest(model="gpt-x", messages=HELLO, **members), vendor)
    body = json.loads(result.body)
    assert body.pop("model") == "gpt-x"
    assert body.pop("messages") == [{"role": "user", "content": "hello"}]
    return body, result.dropped


def test_the_least() -> None:
    assert rendered() == ({}, ())


def test_everything() -> None:
    body, dropped = rendered(
        tools=(Tool("f", "d", SCHEMA, True, cached=""), Tool("g")),
        tool_choice=ToolChoice("tool", "f"),
        parallel_tools=False,
        max_output=100,
        temperature=0.0,
        top_p=0.5,
        top_k=40,
        stop=("a", "b"),
        seed=9,
        presence_penalty=-1.0,
        frequency_penalty=0.25,
        choices=2,
        format=Format("schema", SCHEMA, "n", "d", False),
        reasoning=Reasoning(True, "low"),
        stream=True,
        user="u",
        extra={"logprobs": "true", "top_logprobs": "3", "safetySettings": "[1]"},
    )

    schema = json.loads(SCHEMA)
    assert body == {
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": schema, "strict": True},
            },
            {"type": "function", "function": {"name": "g"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 100,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "seed": 9,
        "presence_penalty": -1.0,
        "frequency_penalty": 0.25,
        "n": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": False},
        },
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u",
        "logprobs": True,
        "top_logprobs": 3,
    }
    assert dropped == ("cache_control", "safetySettings", "top_k")


def test_schemas_stay_the_text_they_came_as() -> None:
    request = ChatRequest(model="m", messages=HELLO, tools=(Tool("f", parameters=SCHEMA),))

    assert SCHEMA.encode() in render_request(request, OPENAI).body


def test_formats() -> None:
    assert rendered(format=Format("json"))[0] == {"response_format": {"type": "json_object"}}
    assert rendered(format=Format("schema"))[0] == {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer"}}
    }


def test_a_choice_of_tools_needs_tools() -> None:
    assert rendered(tool_choice=ToolChoice("auto"), parallel_tools=True) == ({}, ())
    with pytest.raises(UnsupportedOperation) as caught:
        rendered(tool_choice=ToolChoice("required"))
    assert caught.value.param == "tool_choice"
    assert rendered(tools=(Tool("f"),), tool_choice=ToolChoice("required"))[0]["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("vendor", "reasoning", "body", "dropped"),
    [
        (OPENAI, Reasoning(False, "none"), {"reasoning_effort": "none"}, ()),
        (OPENAI, Reasoning(False), {}, ("reasoning.enabled",)),
        (OPENAI, Reasoning(), {}, ("reasoning.enabled",)),
        (OPENAI, Reasoning(True, None, 2000), {"reasoning_effort": "low"}, ("reasoning.budget",)),
        (OPENAI, Reasoning(True, None, 9000), {"reasoning_effort": "medium"}, ("reasoning.budget",)),
        (
            OPENAI,
            Reasoning(True, None, 32000, True),
            {"reasoning_effort": "high"},
            ("reasoning.budget", "reasoning.shown"),
        ),
        (VENDORS["mistral"], Reasoning(False), {"reasoning_effort": "none"}, ()),
        (VENDORS["deepseek"], Reasoning(False), {"thinking": {"type": "disabled"}}, ()),
        (VENDORS["deepseek"], Reasoning(), {"thinking": {"type": "enabled"}}, ()),
        (
            VENDORS["deepseek"],
            Reasoning(True, "high"),
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
            (),
        ),
        (VENDORS["openrouter"], Reasoning(True, None, 500), {"reasoning": {"max_tokens": 500}}, ()),
        (VENDORS["openrouter"], Reasoning(False), {"reasoning": {"enabled": False}}, ()),
        (VENDORS["openrouter"], Reasoning(), {"reasoning": {"enabled": True}}, ()),
        (
            VENDORS["openrouter"],
            Reasoning(True, "low", None, False),
            {"reasoning": {"effort": "low", "exclude": True}},
            (),
        ),
    ],
)
def test_thinking_is_asked_for_in_the_vendor_s_words(
    vendor: Vendor, reasoning: Reasoning, body: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    assert rendered(vendor, reasoning=reasoning) == (body, dropped)


def test_names_that_vendors_have_for_the_same() -> None:
    members: dict[str, Any] = {"max_output": 5, "seed": 1, "user": "u", "top_k": 3, "stream": True}

    assert rendered(COMPATIBLE, **members) == (
        {"max_tokens": 5, "seed": 1, "user": "u", "stream": True, "stream_options": {"include_usage": True}},
        ("top_k",),
    )
    assert rendered(VENDORS["mistral"], **members) == (
        {"max_tokens": 5, "random_seed": 1, "stream": True},
        ("top_k", "user"),
    )
    assert rendered(VENDORS["vllm"], **members)[0]["top_k"] == 3


def test_openai_s_further_members_go_only_where_they_are_known() -> None:
    extra = {"store": "false", "service_tier": '"flex"', "metadata": '{"a": "b"}'}

    assert rendered(extra=extra) == ({"store": False, "service_tier": "flex", "metadata": {"a": "b"}}, ())
    assert rendered(COMPATIBLE, extra=extra) == ({}, ("metadata", "service_tier", "store"))


def test_a_word_that_means_something_else_elsewhere_is_dropped() -> None:
    extra = {"service_tier": '"standard_only"', "top_logprobs": "2"}

    assert rendered(extra=extra) == ({}, ("service_tier", "top_logprobs"))


@pytest.mark.parametrize(
    "name", ["previous_response_id", "conversation", "cachedContent", "mcp_servers", "tools[0]"]
)
def test_structure_that_cannot_be_said_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        rendered(extra={name: '"x"'})
    assert caught.value.param == name


def test_structure_that_is_empty_is_nothing() -> None:
    assert rendered(extra={"background": "false"}) == ({}, ())


def test_audio_answers_are_only_openai_s() -> None:
    assert rendered(extra={"audio": '{"voice":"x"}'})[0] == {"audio": {"voice": "x"}}
    with pytest.raises(UnsupportedOperation):
        rendered(COMPATIBLE, extra={"audio": '{"voice":"x"}'})
