"""Streams of Converse: their order, their gaps, their failures."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.core.chat import CONTENT_FILTER, STOP, TOOL_CALLS
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
    Signed,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import OVERLOADED, RATE_LIMIT, SERVER
from llmgw.dialects.bedrock_stream import Decoder
from tests.fakes.eventstream import event_frame, exception_frame, frame, text_header

START = event_frame("messageStart", {"role": "assistant", "p": "abc"})
USAGE = {"inputTokens": 5, "outputTokens": 7, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}
METADATA = event_frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})


def delta(index: int, **members: Any) -> bytes:
    return event_frame("contentBlockDelta", {"contentBlockIndex": index, "delta": members, "p": "ab"})


def tool(index: int, **members: Any) -> bytes:
    start = {"toolUse": {"toolUseId": f"t{index}", "name": "f", **members}}
    return event_frame("contentBlockStart", {"contentBlockIndex": index, "start": start})


def stop(index: int) -> bytes:
    return event_frame("contentBlockStop", {"contentBlockIndex": index})


def end(reason: str = "end_turn") -> bytes:
    return event_frame("messageStop", {"stopReason": reason})


def read(*frames: bytes) -> list[ChatEvent]:
    decoder = Decoder()
    events = [event for one in frames for event in decoder.feed(one)]
    return events + decoder.close()


def test_a_text_with_usage_after_the_end() -> None:
    assert read(START, delta(0, text="Hel"), delta(0, text="lo"), stop(0), end(), METADATA) == [
        Started(),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "Hel"),
        Delta(0, 0, "lo"),
        PartEnded(0, 0),
        ChoiceEnded(0, STOP),
        Counted(Usage(10, 7, 3, 2)),
        Finished(),
    ]


def test_thoughts_text_and_calls() -> None:
    got = read(
        START,
        delta(0, reasoningContent={"text": "hm"}),
        delta(0, reasoningContent={"signature": "sig"}),
        stop(0),
        delta(1, reasoningContent={"redactedContent": "cmVk"}),
        stop(1),
        tool(2),
        delta(2, toolUse={"input": ""}),
        delta(2, toolUse={"input": '{"a"'}),
        delta(2, toolUse={"input": ":1}"}),
        stop(2),
        end("tool_use"),
        METADATA,
    )

    assert got[1:-3] == [
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm"),
        Signed(0, 0, "sig"),
        PartEnded(0, 0),
        PartStarted(0, 1, THINKING),
        Signed(0, 1, None, "cmVk"),
        PartEnded(0, 1),
        PartStarted(0, 2, TOOL_CALL, "t2", "f"),
        Delta(0, 2, '{"a"'),
        Delta(0, 2, ":1}"),
        PartEnded(0, 2),
    ]
    assert got[-3] == ChoiceEnded(0, TOOL_CALLS)


def test_blocks_that_are_not_closed_and_a_start_that_is_left_out() -> None:
    got = read(delta(0, text="a"), tool(1), end("guardrail_intervened"))

    assert got == [
        Started(),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "a"),
        PartEnded(0, 0),
        PartStarted(0, 1, TOOL_CALL, "t1", "f"),
        PartEnded(0, 1),
        ChoiceEnded(0, CONTENT_FILTER),
        Finished(),
    ]


def test_the_providers_own_tools_are_no_calls() -> None:
    result = event_frame(
        "contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "t0"}}}
    )
    got = read(
        START,
        tool(0, type="server_tool_use"),
        delta(0, toolUse={"input": "{}"}),
        stop(0),
        result,
        delta(1, toolResult=[{"json": {}}]),
        stop(1),
        delta(2, citation={"title": "x"}),
        delta(2, text="done"),
        stop(2),
        end(),
        METADATA,
    )

    assert [event for event in got if isinstance(event, PartStarted)] == [PartStarted(0, 0, TEXT)]


def test_a_stream_that_is_cut_is_not_finished() -> None:
    assert read(START, delta(0, text="a"), stop(0))[-1] == PartEnded(0, 0)
    assert read(START, delta(0, text="a"), end()[:-3])[-1] == Delta(0, 0, "a")


def test_a_stream_that_is_cut_after_its_end_is_whole() -> None:
    """Only its usage is unknown."""
    assert read(START, delta(0, text="a"), end(), METADATA[:20])[-2:] == [ChoiceEnded(0, STOP), Finished()]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("throttlingException", RATE_LIMIT),
        ("serviceUnavailableException", OVERLOADED),
        ("modelStreamErrorException", SERVER),
        ("ofNextYearException", SERVER),
    ],
)
def test_exceptions_end_the_stream(name: str, code: str) -> None:
    got = read(START, delta(0, text="a"), exception_frame(name, "too much"), end(), METADATA)

    assert got[-1] == Failed(code, "too much")


def test_errors_without_a_payload() -> None:
    headers = (
        text_header(":message-type", "error")
        + text_header(":error-code", "internalServerException")
        + text_header(":error-message", "sorry")
    )

    assert read(frame(headers, b"")) == [Failed(SERVER, "sorry")]


def test_events_that_nobody_knows_are_passed_over() -> None:
    assert read(START, event_frame("ofNextYear", [1]), end(), METADATA)[-1] == Finished()


@pytest.mark.parametrize(
    "frames",
    [
        (START, delta(0, toolUse={"input": "{"})),
        (START, tool(0), stop(0), delta(0, toolUse={"input": "{"})),
        (START, event_frame("contentBlockDelta", {"delta": {"text": 1}})),
        (START, frame(text_header(":event-type", "metadata"), b"{")),
        (START[:-1] + b"\0",),
    ],
)
def test_what_cannot_be_a_stream(frames: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(*frames)


def test_usage_that_cannot_be_tells_nothing() -> None:
    bad = event_frame("metadata", {"usage": {"inputTokens": -1, "outputTokens": "x"}})

    assert read(START, end(), bad)[-2:] == [ChoiceEnded(0, STOP), Finished()]
