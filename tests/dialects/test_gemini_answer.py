from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    PAUSE,
    REFUSAL,
    STOP,
    STOP_SEQUENCE,
    TOOL_CALLS,
    Audio,
    ChatAnswer,
    Choice,
    Image,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.usage import Usage
from llmgw.dialects.gemini_answer import parse_answer, render_answer
from llmgw.dialects.gemini_wire import is_made, make_call_id

USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 60,
    "toolUsePromptTokenCount": 7,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 157,
}


def answer(*parts: object, reason: object = "STOP", **more: object) -> ChatAnswer:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": 0}
    return parse_answer(json.dumps({"candidates": [candidate], **more}).encode())


def written(*choices: Choice, **more: Any) -> Any:
    return json.loads(render_answer(ChatAnswer(id="r1", model="m", choices=choices, **more)))


def test_rich_answer_is_read_whole() -> None:
    got = answer(
        {"text": "Let me see.", "thought": True},
        {"text": "Here: "},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"text": "done", "thoughtSignature": "s1"},
        {"inlineData": {"mimeType": "image/png", "data": "aW1n"}},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s2"},
        {"functionCall": {"name": "g", "id": "own", "args": None}},
        usageMetadata=USAGE,
        modelVersion="gemini-x",
        responseId="abcDEF-_123",
        createTime="2026-05-04T20:01:02.264968Z",
    )

    assert got == ChatAnswer(
        id="abcDEF-_123",
        model="gemini-x",
        created_s=1777924862,
        usage=Usage(input_tokens=107, output_tokens=50, cached_tokens=60, reasoning_tokens=30),
        choices=(
            Choice(
                (
                    Thinking("Let me see."),
                    Text("Here: "),
                    Text("done"),
                    Thinking("", "Z20As1"),
                    Image(media_type="image/png", data="aW1n"),
                    ToolCall("call_abcDEF-_123_0", "f", '{"a": 1}', "s2"),
                    ToolCall("own", "g", ""),
                ),
                TOOL_CALLS,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", STOP),
        ("MAX_TOKENS", LENGTH),
        ("SAFETY", CONTENT_FILTER),
        ("RECITATION", CONTENT_FILTER),
        ("BLOCKLIST", CONTENT_FILTER),
        ("PROHIBITED_CONTENT", CONTENT_FILTER),
        ("SPII", CONTENT_FILTER),
        ("MODEL_ARMOR", CONTENT_FILTER),
        ("IMAGE_SAFETY", CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", STOP),
        ("SOMETHING_NEW", STOP),
        ("FINISH_REASON_UNSPECIFIED", None),
        (None, None),
        (0, None),
        (1, STOP),
        (2, LENGTH),
        (3, CONTENT_FILTER),
        (10, CONTENT_FILTER),
        (99, STOP),
    ],
)
def test_reason_to_end(reason: object, stop: str | None) -> None:
    """Vertex AI writes numbers when it is asked to."""
    assert answer({"text": "x"}, reason=reason).choices[0].stop == stop


def test_blocked_prompt_is_a_filtered_answer() -> None:
    body = b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5}}'

    assert parse_answer(body) == ChatAnswer(
        id="", model="", choices=(Choice((), CONTENT_FILTER),), usage=Usage(input_tokens=5)
    )


def test_candidates_are_ordered_by_their_index() -> None:
    body = {"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}, {"index": 0, "content": {}}]}

    choices = parse_answer(json.dumps(body).encode()).choices

    assert choices == (Choice(()), Choice((Text("b"),)))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, None),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"promptTokenCount": -1, "candidatesTokenCount": 5}, None),
        ({"promptTokenCount": 10**12}, None),
        ({"promptTokenCount": "many"}, None),
        ({"promptTokenCount": True}, None),
        ({"promptTokenCount": 3, "cachedContentTokenCount": 9}, Usage(3, 0, 3)),
        ({"promptTokenCount": 3, "cachedContentTokenCount": -9}, Usage(3, 0, 0)),
        ({"thoughtsTokenCount": 4}, Usage(0, 4, 0, 0, 4)),
    ],
)
def test_g22_thoughts_add_to_the_candidates_and_absurd_counts_tell_nothing(
    usage: object, expected: Usage | None
) -> None:
    assert answer(usageMetadata=usage).usage == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"<html>",
        b'{"error":{"code":500}}',
        b'{"candidates":5}',
        b'{"candidates":["\xff"]}',
    ],
)
def test_j13_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_answer(body)


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (STOP, "STOP"),
        (STOP_SEQUENCE, "STOP"),
        (TOOL_CALLS, "STOP"),
        (LENGTH, "MAX_TOKENS"),
        (CONTENT_FILTER, "SAFETY"),
        (REFUSAL, "PROHIBITED_CONTENT"),
        (PAUSE, "OTHER"),
    ],
)
def test_reason_to_end_is_written(stop: str, reason: str) -> None:
    assert written(Choice((), stop))["candidates"][0]["finishReason"] == reason


def test_rich_answer_is_written_whole() -> None:
    got = written(
        Choice(
            (
                Thinking("hm", "Z20As1"),
                Thinking("", redacted="sealed"),
                Text("yes"),
                Thinking("", "s2"),
                Refusal("no"),
                Image(media_type="image/png", data="aW1n"),
                Audio("audio/wav", "d2F2"),
                ToolCall("id1", "f", '{"a": 1.0}', "s3"),
                ToolCall("", "g", ""),
            ),
            TOOL_CALLS,
        ),
        Choice((), LENGTH),
        usage=Usage(10, 50, 4, 2, 30),
        created_s=1777924862,
    )

    assert got == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "hm", "thought": True, "thoughtSignature": "s1"},
                        {"text": "yes", "thoughtSignature": "Zm4As2"},
                        {"text": "no"},
                        {"inlineData": {"mimeType": "image/png", "data": "aW1n"}},
                        {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}},
                        {
                            "functionCall": {"id": "id1", "name": "f", "args": {"a": 1.0}},
                            "thoughtSignature": "s3",
                        },
                        {"functionCall": {"name": "g", "args": {}}},
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "index": 0,
            },
            {"content": {"parts": [], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 1},
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 20,
            "totalTokenCount": 60,
            "thoughtsTokenCount": 30,
            "cachedContentTokenCount": 4,
        },
        "modelVersion": "m",
        "responseId": "r1",
        "createTime": "2026-05-04T20:01:02Z",
    }


@pytest.mark.parametrize(
    ("stop", "reason"), [(TOOL_CALLS, "MALFORMED_FUNCTION_CALL"), (LENGTH, "MAX_TOKENS")]
)
def test_call_that_cannot_be_made_is_told_as_gemini_tells_it(stop: str, reason: str) -> None:
    candidate = written(Choice((Text("a"), ToolCall("x", "f", '{"cut')), stop))["candidates"][0]

    assert candidate["content"]["parts"] == [{"text": "a"}]
    assert candidate["finishReason"] == reason


def test_made_ids_are_the_same_each_time_and_known_again() -> None:
    assert make_call_id(3) == "call_3"
    assert make_call_id(0, "8SLnZ6W3Lq-_x0E") == "call_8SLnZ6W3Lq-_x0E_0"
    assert make_call_id(0, "not an id") == "call_0"
    assert make_call_id(1, "short") == "call_1"
    assert len(make_call_id(999, "x" * 27)) <= 40
    for made in (make_call_id(0), make_call_id(12, "8SLnZ6W3Lq-_x0E")):
        assert is_made(made)
    for own in ("call_883098", "call_abcDEF123", "x8i00o1q", "toolu_01", ""):
        assert not is_made(own)
