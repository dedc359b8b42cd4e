from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from llmgw.core.chat import LENGTH, STOP, STOP_SEQUENCE, TOOL_CALLS
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
from llmgw.dialects.anthropic_stream import Decoder
from llmgw.dialects.base import INVALID, OVERLOADED, QUOTA
from llmgw.wire.sse import MAX_PENDING
from tests.dialects.recordings import gather


def event(kind: str, **members: Any) -> bytes:
    data = json.dumps({"type": kind} | members, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(index: int | None, **block: Any) -> bytes:
    return event("content_block_start", **_at(index), content_block=block)


def delta(index: int | None, kind: str, **members: Any) -> bytes:
    return event("content_block_delta", **_at(index), delta={"type": kind} | members)


def stop(index: int | None) -> bytes:
    return event("content_block_stop", **_at(index))


def text(index: int | None, value: str) -> bytes:
    return delta(index, "text_delta", text=value)


def arguments(index: int | None, value: str) -> bytes:
    return delta(index, "input_json_delta", partial_json=value)


def end(reason: str | None = "end_turn", **usage: int) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


def _at(index: int | None) -> dict[str, int]:
    return {} if index is None else {"index": index}


BEGIN = event(
    "message_start",
    message={
        "id": "msg_1",
        "model": "claude-opus-4-6",
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 2},
    },
)
STOPPED = event("message_stop")

RICH = b"".join(
    [
        BEGIN,
        event("ping"),
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Höm"),
        delta(0, "thinking_delta", thinking="."),
        delta(0, "signature_delta", signature="Esig"),
        stop(0),
        start(1, type="redacted_thinking", data="Edata"),
        stop(1),
        start(2, type="server_tool_use", id="srv", name="web_search", input={}),
        arguments(2, '{"query":"q"}'),
        stop(2),
        start(3, type="web_search_tool_result", tool_use_id="srv", content=[]),
        stop(3),
        start(4, type="text", text=""),
        text(4, "Grü"),
        b": keep-alive\n\n",
        delta(4, "citations_delta", citation={"type": "char_location"}),
        text(4, "ße 👋"),
        stop(4),
        start(5, type="tool_use", id="toolu_1", name="f", input={}),
        arguments(5, ""),
        arguments(5, '{"a": '),
        arguments(5, "1.50}"),
        stop(5),
        start(6, type="tool_use", id="toolu_2", name="g", input={}),
        stop(6),
        event("something_new", delta="surprise"),
        end("tool_use", output_tokens=50),
        STOPPED,
    ]
)
EVENTS: list[ChatEvent] = [
    Started("msg_1", "claude-opus-4-6"),
    Counted(Usage(13, 2, 4)),
    PartStarted(0, 0, THINKING),
    Delta(0, 0, "Höm"),
    Delta(0, 0, "."),
    Signed(0, 0, "Esig"),
    PartEnded(0, 0),
    PartStarted(0, 1, THINKING),
    Signed(0, 1, None, "Edata"),
    PartEnded(0, 1),
    PartStarted(0, 2, TEXT),
    Delta(0, 2, "Grü"),
    Delta(0, 2, "ße 👋"),
    PartEnded(0, 2),
    PartStarted(0, 3, TOOL_CALL, "toolu_1", "f"),
    Delta(0, 3, '{"a": '),
    Delta(0, 3, "1.50}"),
    PartEnded(0, 3),
    PartStarted(0, 4, TOOL_CALL, "toolu_2", "g"),
    PartEnded(0, 4),
    ChoiceEnded(0, TOOL_CALLS),
    Counted(Usage(13, 50, 4)),
    Finished(),
]


def decoded(*chunks: bytes) -> list[ChatEvent]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


def test_whole() -> None:
    assert decoded(RICH) == EVENTS


def test_byte_by_byte() -> None:
    assert decoded(*(RICH[at : at + 1] for at in range(len(RICH)))) == EVENTS


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_cut_at_random(line_end: bytes) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    body = RICH.replace(b"\n", line_end)
    for _ in range(50):
        cuts = sorted(chance.sample(range(len(body)), chance.randrange(1, 40)))
        assert decoded(*(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))) == EVENTS


def test_names_of_events_need_not_be_said() -> None:
    assert decoded(re.sub(rb"event: .*\n", b"", RICH)) == EVENTS


def test_stream_without_its_beginning() -> None:
    """A llama.cpp stream whose first token is half a character has no opening event."""
    events = decoded(text(0, "a"), text(0, "b"), stop(0), end("max_tokens", output_tokens=2), STOPPED)

    assert events == [
        Started(),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "a"),
        Delta(0, 0, "b"),
        PartEnded(0, 0),
        ChoiceEnded(0, LENGTH),
        Counted(Usage(0, 2)),
        Finished(),
    ]


def test_blocks_without_index_start_or_stop() -> None:
    got = gather(
        decoded(
            BEGIN,
            delta(None, "thinking_delta", thinking="t"),
            text(None, "a"),
            start(None, type="tool_use", name="f", input={}),
            arguments(None, '{"x":1}'),
            start(None, type="tool_use", id="toolu_2", name="g", input={"y": 2}),
            STOPPED,
        )
    )

    assert (got.reasoning, got.text, got.stop, got.finished) == ("t", "a", TOOL_CALLS, True)
    assert [call[1:] for call in got.calls] == [("f", '{"x":1}'), ("g", '{"y": 2}')]
    assert got.calls[0][0].startswith("toolu_")


def test_one_index_for_all_blocks() -> None:
    got = gather(
        decoded(delta(0, "thinking_delta", thinking="t"), text(0, "a"), arguments(0, "{}"), text(0, "b"))
    )

    assert (got.reasoning, got.text, [call[2] for call in got.calls]) == ("t", "ab", ["{}"])


def test_blocks_that_interleave() -> None:
    """Text goes on as another part; calls are open beside each other."""
    got = gather(
        decoded(
            start(0, type="text", text="x"),
            start(1, type="thinking", thinking="t"),
            text(0, "y"),
            stop(1),
            stop(0),
            start(2, type="tool_use", id="a", name="f"),
            start(3, type="tool_use", id="b", name="g"),
            arguments(2, '{"a":'),
            arguments(3, '{"b":2}'),
            arguments(2, "1}"),
            end("tool_use"),
            STOPPED,
        )
    )

    assert (got.text, got.reasoning) == ("xy", "t")
    assert got.calls == [("a", "f", '{"a":1}'), ("b", "g", '{"b":2}')]


def test_stop_sequence_is_told() -> None:
    body = event("message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "END"})

    assert ChoiceEnded(0, STOP_SEQUENCE, "END") in decoded(body)


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (
            event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
            Failed(OVERLOADED, "Overloaded"),
        ),
        (b'data: {"error":{"message":"m","type":"insufficient_quota","code":null}}\n\n', Failed(QUOTA, "m")),
        (
            b'event: error\ndata: {"message":"m","type":"invalid_request_error"}\n\n',
            Failed(INVALID, "m"),
        ),
    ],
)
def test_error_in_either_shape_ends_the_stream(body: bytes, failed: Failed) -> None:
    events = decoded(BEGIN, text(0, "a"), body, text(0, "b"), STOPPED)

    assert events[-1] == failed


@pytest.mark.parametrize("at", range(0, len(RICH) - len(STOPPED), 37))
def test_stream_that_was_cut_is_not_finished(at: int) -> None:
    """J21: wherever it ends, in silence or within an event."""
    assert Finished() not in decoded(RICH[:at])


@pytest.mark.parametrize("tail", [b"\n", b"\n\n"])
def test_last_event_need_not_be_closed(tail: bytes) -> None:
    assert decoded(RICH[: -len(tail)]) == EVENTS


def test_other_services_end_with_done() -> None:
    assert decoded(text(0, "a"), b"data: [DONE]\n\n")[-2:] == [ChoiceEnded(0, STOP), Finished()]
    assert decoded(RICH, b"data: [DONE]\n\n") == EVENTS


def test_nothing_follows_the_end() -> None:
    late = (text(9, "late"), end("max_tokens"), BEGIN, STOPPED)

    assert decoded(RICH, *late) == EVENTS
    assert decoded(RICH.removesuffix(STOPPED), text(9, "late"), STOPPED) == EVENTS


def test_beginning_said_twice_is_said_once() -> None:
    assert decoded(BEGIN, BEGIN)[:1] + decoded(BEGIN, BEGIN)[2:] == [
        Started("msg_1", "claude-opus-4-6"),
        Counted(Usage(13, 2, 4)),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"data: {\n\n",
        b"data: <html>\n\n",
        b"data: 5\n\n",
        b'data: {"type":"content_block_delta","delta":7}\n\n',
        b'data: {"type":"message_delta","delta":{"stop_reason":7}}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\xff"}}\n\n',
        BEGIN + text(0, "a") + BEGIN,
        start(0, type="tool_use", id="a", name="f") + stop(0) + arguments(0, "{}"),
        b"data: " + b"x" * (MAX_PENDING + 1),
    ],
)
def test_bytes_that_cannot_be_the_dialects(body: bytes) -> None:
    """J13: two answers spliced into one among them, whose calls nobody could trust."""
    with pytest.raises(ValueError, match=r"event|message|tool call"):
        Decoder().feed(body)


@pytest.mark.parametrize("value", [-5, 10**12, None, "many"])
def test_absurd_count_is_no_count(value: object) -> None:
    body = event("message_delta", delta={}, usage={"output_tokens": value})

    assert decoded(BEGIN, body)[-1] == Counted(Usage(13, 2, 4))
