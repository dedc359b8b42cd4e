"""Where the texts of streamed answers are, and when they end."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS, STREAM_GENERATE
from llmgw.dialects.text_places import TextPlaces, text_places

MESSAGES, RESPONSES = ENDPOINTS["/v1/messages"], ENDPOINTS["/v1/responses"]


def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def paths(places: TextPlaces, event: dict[str, Any]) -> list[str]:
    return [".".join(map(str, place.path)) for place in places.read(event).places]


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "x"}, ["content"]),
        ({"content": ""}, []),
        ({"content": None, "refusal": "x"}, ["refusal"]),
        ({"reasoning": "x", "reasoning_content": "x"}, ["reasoning_content", "reasoning"]),
        (
            {"reasoning_details": [{"text": "x"}, {"summary": "y"}]},
            ["reasoning_details.0.text", "reasoning_details.1.summary"],
        ),
        ({"content": [{"type": "text", "text": "x"}]}, ["content.0.text"]),
        ({"content": [{"type": "thinking", "thinking": [{"text": "x"}]}]}, ["content.0.thinking.0.text"]),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, ["tool_calls.0.function.arguments"]),
        ({"function_call": {"arguments": "{"}}, ["function_call.arguments"]),
        ({"audio": {"transcript": "x"}}, ["audio.transcript"]),
        ({"tool_calls": [None, 5], "content": 7}, []),
    ],
)
def test_texts_of_a_chat(delta: dict[str, Any], expected: list[str]) -> None:
    assert paths(text_places(CHAT_COMPLETIONS), choice(delta)) == [
        f"choices.0.delta.{one}" for one in expected
    ]


def test_a_rest_reads_as_what_it_is_the_rest_of() -> None:
    """Whatever it was, its own reader finds it again as the same part."""
    events: list[tuple[Any, dict[str, Any]]] = [
        *(
            (CHAT_COMPLETIONS, choice(delta))
            for delta in (
                {"content": "x"},
                {"refusal": "x"},
                {"reasoning": "x"},
                {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}]},
                {"reasoning_details": [{"text": "x", "index": 3}]},
                {"tool_calls": [{"index": 2, "function": {"arguments": "x"}}]},
                {"function_call": {"arguments": "x"}},
                {"audio": {"transcript": "x"}},
            )
        ),
        (ENDPOINTS["/v1/completions"], {"choices": [{"index": 1, "text": "x"}]}),
        (MESSAGES, {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "x"}}),
        (MESSAGES, {"type": "content_block_delta", "index": 2, "delta": {"type": "new_delta", "new": "x"}}),
        (RESPONSES, {"type": "response.refusal.delta", "output_index": 1, "content_index": 2, "delta": "x"}),
        (
            RESPONSES,
            {
                "type": "response.reasoning_summary_text.delta",
                "output_index": 1,
                "summary_index": 2,
                "delta": "x",
            },
        ),
        (
            STREAM_GENERATE,
            {"candidates": [{"index": 1, "content": {"parts": [{"text": "x", "thought": True}]}}]},
        ),
        (ENDPOINTS["/api/chat"], {"message": {"content": "x"}}),
        (ENDPOINTS["/api/chat"], {"message": {"thinking": "x"}}),
        (ENDPOINTS["/api/generate"], {"response": "x"}),
        (ENDPOINTS["/api/generate"], {"thinking": "x"}),
        (
            ENDPOINTS["/v2/chat"],
            {"type": "content-delta", "index": 1, "delta": {"message": {"content": {"thinking": "x"}}}},
        ),
        (ENDPOINTS["/v2/chat"], {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "x"}}}),
        (
            ENDPOINTS["/v2/chat"],
            {
                "type": "tool-call-delta",
                "index": 1,
                "delta": {"message": {"tool_calls": {"function": {"arguments": "x"}}}},
            },
        ),
    ]
    for endpoint, event in events:
        places = text_places(endpoint)
        (first,) = places.read(event).places

        (again,) = places.read(places.rest(first.part, "rest")).places

        assert again == first


def test_thoughts_end_when_the_answer_begins() -> None:
    for endpoint, thought, answer in (
        (CHAT_COMPLETIONS, choice({"reasoning": "x"}), choice({"content": "y"})),
        (
            STREAM_GENERATE,
            {"candidates": [{"content": {"parts": [{"text": "x", "thought": True}]}}]},
            {"candidates": [{"content": {"parts": [{"text": "y"}]}}]},
        ),
        (ENDPOINTS["/api/chat"], {"message": {"thinking": "x"}}, {"message": {"content": "y"}}),
    ):
        places = text_places(endpoint)
        (place,) = places.read(thought).places

        assert places.read(thought).ended == []
        assert places.read(answer).ended == [place.part]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0},
        {"type": "response.output_item.done", "output_index": 0},
        {"type": "response.completed", "response": {}},
        {"type": "error"},
    ],
)
def test_a_response_says_when_a_text_ends(event: dict[str, Any]) -> None:
    places = text_places(RESPONSES)
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "x"}
    (place,) = places.read(delta).places

    assert places.read(event).ended == [place.part]
    assert places.read({**event, "output_index": 1, "type": "response.output_text.done"}).ended == []


def test_sound_is_no_text() -> None:
    assert paths(text_places(RESPONSES), {"type": "response.output_audio.delta", "delta": "UklGRg=="}) == []


def test_a_signature_ends_its_thought() -> None:
    places = text_places(MESSAGES)
    delta = {"type": "content_block_delta", "index": 0}
    (place,) = places.read({**delta, "delta": {"type": "thinking_delta", "thinking": "x"}}).places

    seen = places.read({**delta, "delta": {"type": "signature_delta", "signature": "c2ln"}})

    assert seen.ended == [place.part]
    assert [proof.part for proof in seen.proofs] == [place.part]
