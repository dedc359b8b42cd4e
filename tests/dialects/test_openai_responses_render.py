"""Requests to the responses API say what they can, and name what they cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Format, Message, Reasoning, Text, Thinking, Tool, ToolChoice
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.openai_responses import DIALECT, STATEFUL
from llmgw.dialects.openai_responses_signatures import pack

HI = (Message("user", (Text("hi"),)),)


def rendered(stateful: bool = False, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(**{"model": "m", "messages": HI, **fields})
    sent = (STATEFUL if stateful else DIALECT).render_request(request)
    return json.loads(sent.body), sent.dropped


def test_everything_that_can_be_said() -> None:
    body, dropped = rendered(
        system=(Text("be brief"),),
        tools=(Tool("f", "d", '{"type":"object"}', True), Tool("g")),
        tool_choice=ToolChoice("tool", "f"),
        parallel_tools=False,
        max_output=100,
        temperature=0.5,
        top_p=0.9,
        format=Format("schema", '{"type":"object"}', "city", "d", True),
        reasoning=Reasoning(effort="low", shown=True),
        stream=True,
        user="u1",
        extra={"metadata": '{"a":"b"}', "verbosity": '"low"', "service_tier": '"flex"'},
    )

    assert body == {
        "model": "m",
        "instructions": "be brief",
        "input": [{"role": "user", "content": "hi"}],
        "max_output_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "user": "u1",
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": True,
            },
            {"type": "function", "name": "g", "parameters": None, "strict": False},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {
            "format": {
                "type": "json_schema",
                "name": "city",
                "description": "d",
                "schema": {"type": "object"},
                "strict": True,
            },
            "verbosity": "low",
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "stream": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert dropped == ()


def test_tuning_that_cannot_be_said_is_named() -> None:
    _, dropped = rendered(
        top_k=5,
        stop=("x",),
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        reasoning=Reasoning(budget=4000),
        extra={
            "logit_bias": "{}",
            "service_tier": '"standard_only"',
            "stream_options": "{}",
            "messages[].x": "1",
            "options": "{}",
        },
    )

    assert set(dropped) == {
        "top_k",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "reasoning.budget",
        "logit_bias",
        "service_tier",
        "messages[].x",
        "options",
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"choices": 2}, "n"),
        ({"extra": {"previous_response_id": '"resp_1"'}}, "previous_response_id"),
        ({"extra": {"conversation": '"c"'}}, "conversation"),
        ({"extra": {"tools": '[{"type":"web_search"}]'}}, "tools"),
        ({"extra": {"tools.googleSearch": "{}"}}, "tools.googleSearch"),
        ({"extra": {"audio": '{"voice":"x"}'}}, "audio"),
    ],
)
def test_structure_that_cannot_be_said_is_refused(fields: dict[str, Any], param: str) -> None:
    """A client of another dialect cannot reach the provider's state by a member of this one."""
    with pytest.raises(UnsupportedOperation) as caught:
        rendered(**fields)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("reasoning", "expected", "dropped"),
    [
        (Reasoning(False), None, ("reasoning",)),
        (Reasoning(False, "none"), {"effort": "none"}, ()),
        (Reasoning(budget=1024), {"effort": "low"}, ("reasoning.budget",)),
        (Reasoning(budget=5000), {"effort": "medium"}, ("reasoning.budget",)),
        (Reasoning(budget=32000), {"effort": "high"}, ("reasoning.budget",)),
        (Reasoning(effort="xhigh", budget=1), {"effort": "xhigh"}, ("reasoning.budget",)),
        (Reasoning(shown=True), {"summary": "auto"}, ()),
        (Reasoning(), None, ()),
    ],
)
def test_how_much_to_think(reasoning: Reasoning, expected: object, dropped: tuple[str, ...]) -> None:
    body, named = rendered(reasoning=reasoning)

    assert body.get("reasoning") == expected
    assert named == dropped
    assert ("include" in body) == (expected is not None and expected != {"effort": "none"})


def test_encrypted_thoughts_are_asked_for_again_in_a_conversation_that_has_them() -> None:
    messages = (*HI, Message("assistant", (Thinking("", None, pack("rs_1", "gAAA")), Text("so"))), *HI)

    assert rendered(messages=messages)[0]["include"] == ["reasoning.encrypted_content"]


def test_what_the_client_says_of_storing_holds() -> None:
    assert rendered(extra={"store": "true"})[0]["store"] is True
    assert rendered()[0]["store"] is False
    assert "store" not in rendered(stateful=True)[0]


def test_a_format_without_a_name_gets_one() -> None:
    """The reference requires `name`."""
    assert rendered(format=Format("schema", "{}"))[0]["text"]["format"]["name"] == "answer"
    assert rendered(format=Format("json"))[0]["text"] == {"format": {"type": "json_object"}}


def test_state_is_said_again_to_the_same_provider() -> None:
    sent = {
        "model": "m",
        "previous_response_id": "resp_1",
        "input": [{"type": "function_call_output", "call_id": "c", "output": "x", "name": "f"}],
        "tools": [{"type": "function", "name": "f", "parameters": None}, {"type": "web_search"}],
        "tool_choice": {"type": "web_search"},
        "reasoning": {"summary": "detailed", "effort": "low", "mode": "pro"},
        "from_the_future": [1.0, {"a": None}],
    }

    again = STATEFUL.render_request(STATEFUL.parse_request(json.dumps(sent).encode(), "", False))

    assert json.loads(again.body) == sent
    assert again.dropped == ()
