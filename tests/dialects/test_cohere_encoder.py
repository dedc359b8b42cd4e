from __future__ import annotations

import json
import random
from typing import Any

import pytest

from llmgw.core.chat import ChatAnswer, Choice, Text, Thinking, ToolCall
from llmgw.core.errors import UpstreamError
from llmgw.core.events import (
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.cohere import parse_answer
from llmgw.dialects.cohere_encoder import CohereEncoder, render_answer
from llmgw.dialects.cohere_stream import CohereDecoder

USAGE = Usage(11, 7, cached_tokens=3, reasoning_tokens=2)
EVENTS: list[ChatEvent] = [
    Started("r1"),
    PartStarted(0, 0, THINKING),
    Delta(0, 0, "I ponder"),
    PartEnded(0, 0),
    PartStarted(0, 1, TEXT),
    Delta(0, 1, "Hel"),
    Delta(0, 1, "lo"),
    PartEnded(0, 1),
    PartStarted(0, 2, TOOL_CALL, "c1", "weather"),
    PartStarted(0, 3, TOOL_CALL, "c2", "weather"),
    Delta(0, 3, '{"city":'),
    Delta(0, 2, "{}"),
    Delta(0, 3, '"Rome"}'),
    PartEnded(0, 2),
    PartEnded(0, 3),
    ChoiceEnded(0, "tool_calls"),
    Counted(USAGE),
    Finished(),
]


def written(*events: ChatEvent) -> bytes:
    encoder = CohereEncoder()
    return b"".join(encoder.feed(event) for event in events)


def events_of(data: bytes) -> list[Any]:
    lines = [line for line in data.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_stream_reads_back_as_what_was_said() -> None:
    """Whole, byte by byte, and cut at random."""
    data = written(*EVENTS)
    seed = random.randrange(10**6)
    cuts = random.Random(seed)

    for size in (len(data), 1, None):
        decoder = CohereDecoder()
        found: list[ChatEvent] = []
        at = 0
        while at < len(data):
            step = size or cuts.randrange(1, 40)
            found += decoder.feed(data[at : at + step])
            at += step
        found += decoder.close()
        assert found == [
            Started("r1"),
            *EVENTS[1:16],
            Counted(USAGE),
            Finished(),
        ], f"seed {seed}"


def test_every_event_is_named_and_numbered() -> None:
    data = written(*EVENTS)
    events = events_of(data)

    names = [line.removeprefix("event: ") for line in data.decode().split("\n") if line.startswith("event: ")]
    assert names == [event["type"] for event in events]
    starts = [(event["type"], event.get("index")) for event in events if event["type"].endswith("-start")]
    assert starts == [
        ("message-start", None),
        ("content-start", 0),
        ("content-start", 1),
        ("tool-call-start", 0),
        ("tool-call-start", 1),
    ]
    assert events[-1]["delta"]["finish_reason"] == "TOOL_CALL"
    assert events[-1]["delta"]["usage"]["tokens"]["input_tokens"] == 11


def test_gaps_are_made_up_for() -> None:
    """Nothing began, and nothing was closed."""
    events = events_of(written(PartStarted(0, 0, TEXT), Delta(0, 0, "x"), Finished()))

    assert [event["type"] for event in events] == [
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "message-end",
    ]
    assert events[0]["id"]
    assert events[-1]["delta"]["finish_reason"] == "COMPLETE"


def test_a_stream_that_broke_ends_as_a_failed_one() -> None:
    encoder = CohereEncoder()
    encoder.feed(Started("r1"))

    (end,) = events_of(encoder.fail(UpstreamError("it broke", phase="body")))

    assert end == {"type": "message-end", "delta": {"error": "it broke", "finish_reason": "ERROR"}}
    assert encoder.feed(Finished()) == b""
    assert events_of(written(Failed("server", "so it was")))[-1]["delta"]["error"] == "so it was"


def test_a_whole_answer_reads_back() -> None:
    parts = (Thinking("hm"), Text("Hello"), ToolCall("c1", "weather", "{}"))
    answer = ChatAnswer(id="r1", model="m", choices=(Choice(parts, "tool_calls"),), usage=USAGE)

    found = parse_answer(render_answer(answer))

    assert (found.id, found.choices, found.usage) == ("r1", answer.choices, USAGE)


def test_an_answer_of_nothing() -> None:
    body = json.loads(render_answer(ChatAnswer(id="", model="m", choices=())))

    assert body["message"] == {"role": "assistant", "content": []}
    assert body["finish_reason"] == "COMPLETE"
    assert "usage" not in body


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("stop", "COMPLETE"),
        ("length", "MAX_TOKENS"),
        ("stop_sequence", "STOP_SEQUENCE"),
        ("tool_calls", "TOOL_CALL"),
        ("content_filter", "ERROR_TOXIC"),
        ("refusal", "ERROR_TOXIC"),
    ],
)
def test_why_an_answer_ended(stop: str, reason: str) -> None:
    """A refusal is not an answer that is complete."""
    answer = ChatAnswer(id="r1", model="m", choices=(Choice((Text("a"),), stop),))

    assert json.loads(render_answer(answer))["finish_reason"] == reason
    assert events_of(written(ChoiceEnded(0, stop), Finished()))[-1]["delta"]["finish_reason"] == reason
