"""Whole responses, read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from openai.types.responses import Response

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    REFUSAL,
    STOP,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.usage import Usage
from llmgw.dialects.openai_responses import DIALECT
from llmgw.dialects.openai_responses_signatures import CALL, REDACTED, SIGNED, pack, wrap
from tests.dialects.conversations import answers

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000.0,
    "status": "completed",
    "model": "m-2026",
    "output": [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAA",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "a", "annotations": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "g", "arguments": "{}"},
    ],
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    },
}
ANSWER = ChatAnswer(
    id="resp_1",
    model="m-2026",
    choices=(
        Choice(
            (
                Thinking("hm", pack("rs_1", "gAAA")),
                Text("a"),
                Refusal("no"),
                ToolCall("c1", "f", '{"a": 1}'),
                ToolCall("c2", "g", "{}"),
            ),
            TOOL_CALLS,
        ),
    ),
    usage=Usage(100, 20, 60, 30, 5),
    created_s=1_700_000_000,
)


def parsed(**changes: Any) -> ChatAnswer:
    return DIALECT.parse_answer(json.dumps({**RESPONSE, **changes}).encode())


def test_a_response_is_read() -> None:
    assert parsed() == ANSWER


def test_a_response_is_written_as_it_was() -> None:
    """The id of a thought stays with what encrypts it; the ids of other items are ours."""
    written = json.loads(DIALECT.render_answer(ANSWER))

    assert [item["type"] for item in written["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert written["output"][0] == RESPONSE["output"][0]
    assert written["usage"] == RESPONSE["usage"]
    assert DIALECT.parse_answer(json.dumps(written).encode()) == ANSWER


@given(answers())
def test_an_answer_comes_back(answer: ChatAnswer) -> None:
    assert DIALECT.parse_answer(DIALECT.render_answer(answer)) == answer


@given(answers())
def test_the_sdk_takes_what_is_written(answer: ChatAnswer) -> None:
    response = Response.model_validate_json(DIALECT.render_answer(answer))

    assert response.output_text == "".join(p.text for p in answer.choices[0].parts if isinstance(p, Text))


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        ({"output": []}, STOP),
        ({"status": None, "output": []}, STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, LENGTH),
        ({"status": "incomplete", "incomplete_details": None}, LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, CONTENT_FILTER),
        ({"status": "queued"}, None),
    ],
)
def test_why_a_response_ended(changes: dict[str, Any], stop: str | None) -> None:
    assert parsed(**changes).choices[0].stop == stop


@pytest.mark.parametrize(
    ("choice", "status", "reason"),
    [
        (Choice((Text("a"),), STOP), "completed", None),
        (Choice((Text("a"),)), "completed", None),
        (Choice((Text("a"),), LENGTH), "incomplete", "max_output_tokens"),
        (Choice((Text("a"),), CONTENT_FILTER), "incomplete", "content_filter"),
        (Choice((), REFUSAL), "incomplete", "content_filter"),
        (Choice((Refusal("no"),), REFUSAL), "completed", None),
    ],
)
def test_how_an_end_is_told(choice: Choice, status: str, reason: str | None) -> None:
    written = json.loads(DIALECT.render_answer(ChatAnswer(id="resp_1", model="m", choices=(choice,))))

    assert written["status"] == status
    assert (written["incomplete_details"] or {}).get("reason") == reason
    assert written["usage"] is None


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 10**12, "output_tokens": 1},
        {"input_tokens": 1},
        {"input_tokens": True, "output_tokens": 1},
        {"input_tokens": "1", "output_tokens": 1},
    ],
)
def test_usage_that_cannot_be_is_unreported(usage: object) -> None:
    assert parsed(usage=usage).usage is None


def test_parts_of_usage_stay_in_their_whole() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8},
        "output_tokens_details": {"reasoning_tokens": 50},
    }

    assert parsed(usage=usage).usage == Usage(10, 5, 8, 2, 5)


def test_signatures_of_other_providers_are_wrapped() -> None:
    """A call has no room for its signature, so an item beside it carries it."""
    parts = (
        Thinking("hm", "EqQB"),
        Thinking("", None, "Eabc"),
        ToolCall("c1", "f", "", "thought"),
    )
    answer = ChatAnswer(id="resp_1", model="m", choices=(Choice(parts, TOOL_CALLS),))

    output = json.loads(DIALECT.render_answer(answer))["output"]

    assert [item.get("encrypted_content") for item in output] == [
        wrap(SIGNED, "EqQB"),
        wrap(REDACTED, "Eabc"),
        wrap(CALL, "thought", "c1"),
        None,
    ]
    assert output[3]["arguments"] == "{}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"output":{}}',
        b'{"output":[3]}',
        b'{"object":"response","output":"\xff"}',
        b'{"status":"failed","output":[],"error":{"code":"server_error","message":"boom"}}',
        b'{"status":"cancelled","output":[]}',
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="response"):
        DIALECT.parse_answer(body)


def test_an_answer_without_an_id_gets_one() -> None:
    written = json.loads(DIALECT.render_answer(ChatAnswer(id="", model="m", choices=())))

    assert written["id"].startswith("resp_")
    assert written["created_at"] > 1_700_000_000
    assert written["output"] == []
