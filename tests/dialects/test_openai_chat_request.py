from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Format, Message, Reasoning, Text, Tool, ToolChoice
from llmgw.core.errors import ClientError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_chat_request import parse_request

HELLO = [{"role": "user", "content": "hello"}]


def parsed(**members: Any) -> ChatRequest:
    return parse_request(json.dumps({"model": "gpt-x", "messages": HELLO, **members}).encode(), "", False)


def refused(**members: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        parsed(**members)
    return caught.value


def test_the_least() -> None:
    assert parsed() == ChatRequest(model="gpt-x", messages=(Message("user", (Text("hello"),)),))


def test_everything() -> None:
    schema = '{"type": "object",  "properties": {"b": {}, "a": {}}}'
    body = """{
      "model": "gpt-x", "stream": true, "stream_options": {"include_usage": false},
      "messages": [{"role": "system", "content": "be brief"},
                   {"role": "user", "content": "hello", "name": "ann"},
                   {"role": "developer", "content": [{"type": "text", "text": "and kind"}]}],
      "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": true}},
                {"type": "function", "function": {"name": "g"}}],
      "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
      "max_completion_tokens": 100, "max_tokens": 7, "temperature": 1, "top_p": 0.5, "top_k": 40,
      "stop": ["a", "b"], "seed": 9, "presence_penalty": -1, "frequency_penalty": 0.25, "n": 2,
      "response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": false}},
      "reasoning_effort": "low", "user": "u", "logprobs": true, "logit_bias": {"5":  -100}, "service_tier": null
    }""".replace("SCHEMA", schema)  # noqa: E501

    assert parse_request(body.encode(), "", False) == ChatRequest(
        model="gpt-x",
        messages=(
            Message("user", (Text("hello"),), "ann"),
            Message("system", (Text("and kind"),), at="messages[2]"),
        ),
        system=(Text("be brief"),),
        tools=(Tool("f", "d", schema, True), Tool("g")),
        tool_choice=ToolChoice("tool", "f"),
        parallel_tools=False,
        max_output=100,
        temperature=1.0,
        top_p=0.5,
        top_k=40,
        stop=("a", "b"),
        seed=9,
        presence_penalty=-1.0,
        frequency_penalty=0.25,
        choices=2,
        format=Format("schema", schema, "n", "d", False),
        reasoning=Reasoning(True, "low"),
        stream=True,
        user="u",
        extra={"logprobs": "true", "logit_bias": '{"5":  -100}'},
    )


def test_the_body_wins_over_what_was_said_outside() -> None:
    outside = parse_request(json.dumps({"messages": HELLO}).encode(), "deployment", True)
    inside = parse_request(json.dumps({"messages": HELLO, "model": "m", "stream": False}).encode(), "d", True)

    assert (outside.model, outside.stream) == ("deployment", True)
    assert (inside.model, inside.stream) == ("m", False)


@pytest.mark.parametrize(
    ("wire", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        (None, None),
    ],
)
def test_tool_choices(wire: str | None, choice: ToolChoice | None) -> None:
    assert parsed(tool_choice=wire).tool_choice == choice


@pytest.mark.parametrize(
    ("wire", "reasoning"),
    [
        ({"reasoning_effort": "none"}, Reasoning(False, "none")),
        ({"reasoning_effort": "xhigh"}, Reasoning(True, "xhigh")),
        ({"thinking": {"type": "disabled"}}, Reasoning(False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, Reasoning(True, None, 9)),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "max"}, Reasoning(True, "max")),
        ({"enable_thinking": False}, Reasoning(False)),
        ({"reasoning": {"max_tokens": 5, "exclude": True}}, Reasoning(True, None, 5, False)),
        ({"reasoning": {"effort": "high", "enabled": True}}, Reasoning(True, "high")),
        ({"include_reasoning": True}, Reasoning(True, None, None, True)),
        ({"reasoning": None, "thinking": None}, None),
    ],
)
def test_thinking_is_asked_for_in_many_words(wire: dict[str, Any], reasoning: Reasoning | None) -> None:
    assert parsed(**wire).reasoning == reasoning


@pytest.mark.parametrize(
    ("wire", "form"),
    [(None, None), ({"type": "text"}, None), ({"type": "json_object"}, Format("json"))],
)
def test_formats(wire: object, form: Format | None) -> None:
    assert parsed(response_format=wire).format == form


def test_other_names_for_the_same() -> None:
    request = parsed(
        random_seed=3, max_tokens=5, stop="x", tools=[{"function": {"name": "f", "parameters": None}}]
    )

    assert (request.seed, request.max_output, request.stop) == (3, 5, ("x",))
    assert request.tools == (Tool("f"),)


def test_a_tool_whose_prompt_may_be_cached() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f"},
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }

    assert parsed(tools=[tool]).tools == (Tool("f", cached="1h"),)


def test_what_messages_say_that_nobody_knows_is_named_once() -> None:
    """Also with an index it would name each message; empty values say nothing."""
    messages = [
        {"role": "user", "content": "a", "weight": 1, "prefix": False},
        {"role": "assistant", "content": "b", "weight": 2, "annotations": []},
    ]

    assert parsed(messages=messages).extra == {"messages[].weight": "1"}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
    ],
)
def test_structure_that_cannot_be_translated(members: dict[str, Any], param: str) -> None:
    error = refused(**members)

    assert isinstance(error, UnsupportedOperation)
    assert error.param == param


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_bad_input_names_the_member(members: dict[str, Any], param: str) -> None:
    error = refused(**members)

    assert isinstance(error, InvalidRequest)
    assert error.param == param
    assert error.message[0].islower() or error.message[0] == "'"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"model": "m"}',
        b"{" * 3000,
        b'{"messages": ' + b"[" * 3000,
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "more": "\xff"}',
        b'{"messages": [{"role": "user", "content": "x", "more": "\xff"}]}',
        b'{"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"\xff": 1}}}]}]}',  # noqa: E501
    ],
)
def test_bodies_that_are_no_requests(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(body, "", False)


def test_members_deeper_down_that_nobody_reads_are_named() -> None:
    mark = {"mode": "explicit"}
    part = {"type": "text", "text": "x", "prompt_cache_breakpoint": mark}
    image = {"type": "image_url", "image_url": {"url": "https://e.x/a.png", "fps": 2}}
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": "{}", "of": 1},
        "caller": {},
    }
    tool = {
        "type": "function",
        "defer_loading": True,
        "function": {"name": "f", "cache_control": {"type": "e"}},
    }
    request = parsed(
        messages=[
            {"role": "user", "content": [part, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        tools=[tool],
        reasoning={"effort": "low", "depth": 3},
    )

    assert request.extra == {
        "messages[].content[].prompt_cache_breakpoint": '{"mode": "explicit"}',
        "messages[].content[].image_url.fps": "2",
        "messages[].tool_calls[].function.of": "1",
        "tools[].defer_loading": "true",
        "tools[].function.cache_control": '{"type": "e"}',
        "reasoning.depth": "3",
    }
