"""Requests of the responses API are read whole, or refused by the name of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Format, Message, Reasoning, Text, Tool, ToolChoice
from llmgw.core.errors import ClientError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_responses import DIALECT, STATEFUL


def parsed(stateful: bool = False, **members: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": "hi", **members}).encode()
    return (STATEFUL if stateful else DIALECT).parse_request(body, "", False)


def test_everything_that_has_a_field() -> None:
    request = parsed(
        instructions="be brief",
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        user="u1",
        stream=True,
        reasoning={"effort": "low", "summary": "auto"},
        text={
            "format": {
                "type": "json_schema",
                "name": "city",
                "description": "d",
                "schema": {"type": "object"},
                "strict": True,
            },
            "verbosity": "low",
        },
        tools=[
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": True,
            },
            {"type": "function", "name": "g", "parameters": None},
        ],
        tool_choice={"type": "function", "name": "f"},
        metadata={"a": "b"},
        previous_response_id=None,
    )

    assert request == ChatRequest(
        model="m",
        messages=(Message("user", (Text("hi"),)),),
        system=(Text("be brief"),),
        tools=(Tool("f", "d", '{"type": "object"}', True), Tool("g")),
        tool_choice=ToolChoice("tool", "f"),
        parallel_tools=False,
        max_output=100,
        temperature=0.5,
        top_p=0.9,
        format=Format("schema", '{"type": "object"}', "city", "d", True),
        reasoning=Reasoning(True, "low", None, True),
        stream=True,
        user="u1",
        extra={"metadata": '{"a": "b"}', "verbosity": '"low"'},
    )


@pytest.mark.parametrize(
    ("member", "field", "expected"),
    [
        ({"text": {"format": {"type": "text"}}}, "format", None),
        ({"text": {"format": {"type": "json_object"}}}, "format", Format("json")),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice("required")),
        ({"tool_choice": None}, "tool_choice", None),
        ({"reasoning": {"effort": "none"}}, "reasoning", Reasoning(False, "none")),
        ({"reasoning": {}}, "reasoning", Reasoning()),
        ({"background": False, "truncation": "disabled", "include": []}, "extra", {}),
        ({"include": ["reasoning.encrypted_content"], "stream_options": {}}, "extra", {}),
        ({"from_the_future": {"a": 1}}, "extra", {"from_the_future": '{"a": 1}'}),
    ],
)
def test_members_one_by_one(member: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(parsed(**member), field) == expected


def test_the_model_may_stand_outside_of_the_body() -> None:
    assert DIALECT.parse_request(b'{"input":"hi"}', "outside", True).model == "outside"


@pytest.mark.parametrize(
    ("member", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s"}]}, "tools[1]"),
        ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0]"),
        ({"tool_choice": {"type": "custom", "name": "f"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "input[0]"),
        ({"input": [{"id": "rs_1"}]}, "input[0]"),
        ({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]}, "input[0]"),
        ({"input": [{"type": "computer_call_output", "call_id": "c", "output": {"type": "x"}}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0].type"),
    ],
)
def test_what_leans_on_the_provider_is_refused(member: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        parsed(**member)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("member", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": 3}]}, "tools[0]"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": 3}, "tool_choice"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": 3}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0]"),
    ],
)
def test_what_is_wrong_is_named(member: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(**member)

    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input":"\xff"}', b"[" * 2000])
def test_what_is_not_json_is_a_client_error(body: bytes) -> None:
    with pytest.raises(ClientError):
        DIALECT.parse_request(body, "m", False)


def test_state_is_kept_where_the_provider_is_the_same() -> None:
    request = parsed(
        stateful=True,
        previous_response_id="resp_1",
        background=True,
        tools=[{"type": "web_search"}, {"type": "function", "name": "f"}],
        tool_choice={"type": "web_search"},
        include=["reasoning.encrypted_content"],
        input=[{"type": "function_call_output", "call_id": "c", "output": "x"}],
        reasoning={"summary": "detailed", "context": "all_turns"},
    )

    assert request.extra == {
        "previous_response_id": '"resp_1"',
        "background": "true",
        "tools": '[{"type": "web_search"}]',
        "tool_choice": '{"type": "web_search"}',
        "include": '["reasoning.encrypted_content"]',
        "reasoning.summary": '"detailed"',
        "reasoning.context": '"all_turns"',
    }
    assert request.tools == (Tool("f"),)


def test_members_of_items_and_tools_that_nobody_reads_are_named() -> None:
    said = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    request = parsed(
        input=[
            {"role": "user", "content": "x"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]}
            | {"phase": "commentary"},
            call | {"namespace": "crm", "caller": {"type": "direct"}, "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": "r", "status": None},
        ],
        tools=[{"type": "function", "name": "f", "parameters": {}, "defer_loading": True}],
        text={"of_next_year": 1},
        reasoning={"effort": "low", "depth": 3},
    )

    assert request.extra == {
        "input[].phase": '"commentary"',
        "input[].namespace": '"crm"',
        "tools[].defer_loading": "true",
        "text.of_next_year": "1",
        "reasoning.depth": "3",
    }
