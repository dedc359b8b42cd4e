from __future__ import annotations

import json

import pytest

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    PAUSE,
    REFUSAL,
    STOP,
    STOP_SEQUENCE,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.usage import Usage
from llmgw.dialects.anthropic_answer import parse_answer, parse_stop, render_answer, stop_reason
from llmgw.dialects.anthropic_request import parse_request

WIRE = """{
  "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6",
  "content": [
    {"type": "thinking", "thinking": "Hm.", "signature": "Esig"},
    {"type": "redacted_thinking", "data": "Edata"},
    {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []},
    {"type": "text", "text": "Grüße", "citations": [{"type": "web_search_result_location"}]},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a":  1.50}, "caller": {"type": "direct"}},
    {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    {"type": "hologram", "text": null}
  ],
  "stop_reason": "tool_use", "stop_sequence": null, "container": null,
  "usage": {"input_tokens": 10, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3,
    "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 20}, "service_tier": "standard"}
}""".encode()

ANSWER = ChatAnswer(
    id="msg_1",
    model="claude-opus-4-6",
    choices=(
        Choice(
            (
                Thinking("Hm.", "Esig"),
                Thinking("", None, "Edata"),
                Text("Grüße"),
                ToolCall("toolu_1", "f", '{"a":  1.50}'),
                ToolCall("toolu_2", "g", "{}"),
            ),
            TOOL_CALLS,
        ),
    ),
    usage=Usage(15, 50, 3, 2, 20),
)


def answer(*parts: Part, stop: str | None = STOP, stop_sequence: str | None = None) -> ChatAnswer:
    return ChatAnswer(id="x", model="m", choices=(Choice(parts, stop, stop_sequence),))


def test_rich_answer() -> None:
    """What the provider's own tools did is no part of what was said."""
    assert parse_answer(WIRE) == ANSWER
    assert parse_answer(render_answer(ANSWER)) == ANSWER


def test_rendered_in_full() -> None:
    assert json.loads(render_answer(answer(Text("a"), stop=STOP_SEQUENCE, stop_sequence="END"))) == {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", STOP),
        ("max_tokens", LENGTH),
        ("model_context_window_exceeded", LENGTH),
        ("stop_sequence", STOP_SEQUENCE),
        ("tool_use", TOOL_CALLS),
        ("pause_turn", PAUSE),
        ("refusal", REFUSAL),
        ("a new one", STOP),
    ],
)
def test_reasons_are_read(reason: str, stop: str) -> None:
    assert parse_stop(reason) == stop


@pytest.mark.parametrize(
    ("stop", "calls", "reason"),
    [
        (STOP, False, "end_turn"),
        (STOP, True, "tool_use"),
        (None, True, "tool_use"),
        (LENGTH, True, "max_tokens"),
        (CONTENT_FILTER, False, "refusal"),
        (REFUSAL, False, "refusal"),
        (None, False, "end_turn"),
        ("unheard of", False, "end_turn"),
    ],
)
def test_reasons_are_written(stop: str | None, calls: bool, reason: str) -> None:
    """A client runs tools only when it reads `tool_use`."""
    assert stop_reason(stop, calls=calls) == reason


def test_arguments_that_are_no_object_are_not_lost() -> None:
    body = json.loads(render_answer(answer(ToolCall("c", "f", '{"a": '))))

    assert body["content"][0]["input"] == {"INVALID_JSON": '{"a": '}


def test_signature_of_a_call_goes_to_the_client_and_comes_back() -> None:
    """The client returns the blocks of an answer as they came; Gemini wants its signature then."""
    call = ToolCall("call_1", "f", '{"a": 1}', "sig+/=")
    content = json.loads(render_answer(answer(call)))["content"]
    body = {"messages": [{"role": "assistant", "content": content}]}

    assert [block["type"] for block in content] == ["redacted_thinking", "tool_use"]
    assert parse_request(json.dumps(body).encode(), "m", False).messages[0].parts == (call,)


def test_missing_ids_are_made() -> None:
    body = json.loads(
        render_answer(ChatAnswer(id="", model="m", choices=(Choice((ToolCall("", "f", ""),)),)))
    )

    assert body["id"].startswith("msg_")
    assert body["content"][0]["id"].startswith("toolu_")
    assert parse_answer(b'{"content":[{"type":"tool_use","name":"f"}]}').choices[0].parts[0].id  # type: ignore[union-attr]


def test_refusal_is_said_in_words() -> None:
    body = json.loads(render_answer(answer(Refusal("no"))))

    assert (body["content"], body["stop_reason"]) == ([{"type": "text", "text": "no"}], "end_turn")


def test_image_cannot_be_answered() -> None:
    with pytest.raises(UnsupportedOperation):
        render_answer(answer(Image("image/png", "iVBORw")))


def test_answer_without_choices() -> None:
    assert json.loads(render_answer(ChatAnswer(id="x", model="m", choices=())))["content"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"content":',
        b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}',
        b'{"content":[{"type":"text","text":5}]}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
        b'{"type":"completion","completion":" hi"}',
    ],
)
def test_body_that_is_no_message(body: bytes) -> None:
    """J13: it is told from an answer, whatever it is."""
    with pytest.raises(ValueError, match="not a message"):
        parse_answer(body)
