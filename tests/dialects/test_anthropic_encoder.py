from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import CONTENT_FILTER, LENGTH, STOP, STOP_SEQUENCE, TOOL_CALLS
from llmgw.core.errors import UpstreamBroken
from llmgw.core.events import (
    REFUSED,
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
from llmgw.dialects.anthropic_encoder import Encoder
from llmgw.dialects.anthropic_request import parse_request
from llmgw.dialects.anthropic_stream import Decoder
from llmgw.dialects.base import OVERLOADED
from llmgw.wire.sse import SseSplitter, event_data, event_name
from tests.dialects.recordings import gather
from tests.dialects.test_anthropic_stream import EVENTS

DELTAS = {
    "text": {"text_delta": ("text", "text")},
    "thinking": {"thinking_delta": ("thinking", "thinking"), "signature_delta": ("signature", "signature")},
    "redacted_thinking": {},
    "tool_use": {"input_json_delta": ("json", "partial_json")},
}


def encode(events: Iterable[ChatEvent]) -> bytes:
    encoder = Encoder("public")
    return b"".join([encoder.feed(event) for event in events])


def read(raw: bytes) -> list[dict[str, Any]]:
    splitter = SseSplitter()
    events = []
    for piece in splitter.feed(raw):
        data = json.loads(event_data(piece) or b"")
        assert event_name(piece) == data["type"].encode()
        events.append(data)
    assert not splitter.pending
    return events


def message(raw: bytes) -> dict[str, Any]:
    """What a client gathers, which fails on anything that the reference does not have."""
    events = read(raw)
    assert [event["type"] for event in events if event["type"].startswith("message_")] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["type"] == "message_start"
    said: dict[str, Any] = events[0]["message"]
    opened: int | None = None
    for event in events[1:-2]:
        kind = event["type"]
        if kind == "content_block_start":
            assert opened is None
            opened = event["index"]
            assert opened == len(said["content"])
            said["content"].append(event["content_block"])
            continue
        assert event["index"] == opened
        if kind == "content_block_stop":
            block = said["content"][-1]
            if block["type"] == "tool_use":
                block["input"] = block.pop("json", "")
            opened = None
            continue
        assert kind == "content_block_delta"
        block = said["content"][-1]
        member, value = DELTAS[block["type"]][event["delta"]["type"]]
        block[member] = block.get(member, "") + event["delta"][value]
    assert opened is None
    said |= events[-2]["delta"]
    said["usage"] |= events[-2]["usage"]
    return said


def test_rich_stream() -> None:
    """Everything of it, and read again it is the same."""
    raw = encode(EVENTS)

    assert message(raw) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "public",
        "content": [
            {"type": "thinking", "thinking": "Höm.", "signature": "Esig"},
            {"type": "redacted_thinking", "data": "Edata"},
            {"type": "text", "text": "Grüße 👋"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": '{"a": 1.50}'},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": ""},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 50,
        },
    }
    decoder = Decoder()
    again = [event for event in decoder.feed(raw) if not isinstance(event, (Counted, Started))]
    assert again == [event for event in EVENTS if not isinstance(event, (Counted, Started))]


def test_first_words_do_not_wait() -> None:
    encoder = Encoder("public")

    assert b"message_start" in encoder.feed(Started("x", "upstream"))
    assert encoder.feed(PartStarted(0, 0, TEXT)) == (
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    )
    assert encoder.feed(Delta(0, 0, 'a"\n')) == (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\\"\\n"}}\n\n'
    )


def test_usage_may_come_after_the_end_of_the_choice() -> None:
    """OpenAI tells it last of all."""
    said = message(
        encode(
            [
                Started("x"),
                PartStarted(0, 0, TEXT),
                Delta(0, 0, "a"),
                PartEnded(0, 0),
                ChoiceEnded(0, LENGTH),
                Counted(Usage(20, 7, 5, 0, 3)),
                Finished(),
            ]
        )
    )

    assert said["stop_reason"] == "max_tokens"
    assert said["usage"] == {
        "input_tokens": 15,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }


def test_nothing_but_an_end_is_an_answer() -> None:
    said = message(encode([Finished()]))

    assert (said["content"], said["stop_reason"], said["usage"]["output_tokens"]) == ([], "end_turn", 0)
    assert said["id"].startswith("msg_")


def test_parts_whose_beginning_was_not_told() -> None:
    said = message(encode([Delta(0, 3, "a"), Delta(0, 3, "b"), Signed(0, 4, "Esig"), Finished()]))

    assert said["content"] == [
        {"type": "text", "text": "ab"},
        {"type": "thinking", "thinking": "", "signature": "Esig"},
    ]


def test_calls_that_interleave_come_one_after_another() -> None:
    events: list[ChatEvent] = [
        PartStarted(0, 0, TOOL_CALL, "a", "f"),
        PartStarted(0, 1, TOOL_CALL, "b", "g"),
        Delta(0, 1, '{"b":'),
        Delta(0, 0, '{"a":1'),
        PartStarted(0, 2, TEXT),
        Delta(0, 2, "words"),
        Delta(0, 1, "2}"),
        PartEnded(0, 1),
        Delta(0, 0, "}"),
        Finished(),
    ]

    assert message(encode(events))["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": '{"a":1}'},
        {"type": "tool_use", "id": "b", "name": "g", "input": '{"b":2}'},
        {"type": "text", "text": "words"},
    ]


def test_text_that_another_part_came_between_goes_on() -> None:
    events: list[ChatEvent] = [
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "a"),
        PartStarted(0, 1, THINKING),
        Delta(0, 1, "t"),
        Delta(0, 0, "b"),
        Finished(),
    ]

    content = message(encode(events))["content"]
    assert [block.get("text", block.get("thinking")) for block in content] == ["a", "t", "b"]


def test_empty_thoughts_are_not_begun() -> None:
    assert message(encode([PartStarted(0, 0, THINKING), PartEnded(0, 0), Finished()]))["content"] == []


def test_signature_of_a_call_goes_to_the_client_and_comes_back() -> None:
    events: list[ChatEvent] = [
        PartStarted(0, 0, TOOL_CALL, "call_1", "f"),
        Signed(0, 0, "sig+/="),
        Delta(0, 0, "{}"),
        PartEnded(0, 0),
        Finished(),
    ]
    content = message(encode(events))["content"]
    content[0]["input"] = {}
    body = {"messages": [{"role": "assistant", "content": content}]}

    (call,) = parse_request(json.dumps(body).encode(), "m", False).messages[0].parts
    assert call.signature == "sig+/="  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("events", "reason", "sequence"),
    [
        ([ChoiceEnded(0, STOP)], "end_turn", None),
        ([ChoiceEnded(0, STOP_SEQUENCE, "END")], "stop_sequence", "END"),
        ([ChoiceEnded(0, CONTENT_FILTER)], "refusal", None),
        ([PartStarted(0, 0, TOOL_CALL, "a", "f"), ChoiceEnded(0, STOP)], "tool_use", None),
        ([PartStarted(0, 0, REFUSED), Delta(0, 0, "no"), ChoiceEnded(0, STOP)], "end_turn", None),
        ([ChoiceEnded(0, TOOL_CALLS)], "tool_use", None),
    ],
)
def test_reason_to_end(events: list[ChatEvent], reason: str, sequence: str | None) -> None:
    said = message(encode([*events, Finished()]))

    assert (said["stop_reason"], said["stop_sequence"]) == (reason, sequence)


def test_other_choices_have_no_place() -> None:
    said = message(encode([PartStarted(1, 0, TEXT), Delta(1, 0, "other"), Delta(0, 0, "mine"), Finished()]))

    assert [block["text"] for block in said["content"]] == ["mine"]


def test_failure_is_told_and_no_success_after_it() -> None:
    encoder = Encoder("public")
    encoder.feed(Started("x"))

    (error,) = read(encoder.feed(Failed(OVERLOADED, "busy")))

    assert error == {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    assert encoder.feed(Finished()) == b""
    assert encoder.fail(UpstreamBroken("again")) == b""


def test_stream_that_broke_ends_in_an_error() -> None:
    """K04: and in nothing that looks like its end."""
    encoder = Encoder("public")
    encoder.feed(Delta(0, 0, "a"))

    (error,) = read(encoder.fail(UpstreamBroken("cut")))

    assert error == {"type": "error", "error": {"type": "api_error", "message": "cut"}}
    assert encoder.feed(Finished()) == b""


numbers = st.integers(0, 3)
kinds = st.sampled_from([TEXT, THINKING, TOOL_CALL, REFUSED])
any_event = st.one_of(
    st.builds(Started, st.text(max_size=3)),
    st.builds(PartStarted, st.just(0), numbers, kinds, st.none() | st.just("id"), st.none() | st.just("f")),
    st.builds(Delta, st.just(0), numbers, st.text(max_size=5)),
    st.builds(Signed, st.just(0), numbers, st.none() | st.just("sig"), st.none() | st.just("data")),
    st.builds(PartEnded, st.just(0), numbers),
    st.builds(ChoiceEnded, st.just(0), st.sampled_from([STOP, TOOL_CALLS, LENGTH])),
    st.builds(Counted, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
)


@given(st.lists(any_event, max_size=30))
def test_whatever_the_order_the_stream_is_well_formed(events: list[ChatEvent]) -> None:
    message(encode([*events, Finished()]))


@st.composite
def answers(draw: st.DrawFn) -> list[ChatEvent]:
    """Streams as decoders make them: parts in turn, calls perhaps beside each other."""
    events: list[ChatEvent] = [Started("x", "m")]
    part = 0
    for kind in draw(st.lists(st.sampled_from([TEXT, THINKING, TOOL_CALL]), max_size=4)):
        count = draw(st.integers(1, 3)) if kind == TOOL_CALL else 1
        mine = list(range(part, part + count))
        part += count
        events += [PartStarted(0, n, kind, *((f"c{n}", "f") if kind == TOOL_CALL else ())) for n in mine]
        pieces = st.tuples(st.sampled_from(mine), st.text(min_size=1, max_size=4))
        said = draw(st.lists(pieces, min_size=1, max_size=6))
        if kind == TOOL_CALL:
            said = [(n, json.dumps(piece)) for n, piece in said]
        events += [Delta(0, n, piece) for n, piece in said]
        events += [PartEnded(0, n) for n in draw(st.permutations(mine))]
    return [*events, ChoiceEnded(0, draw(st.sampled_from([LENGTH, STOP_SEQUENCE]))), Counted(Usage(3, 4, 1))]


@given(answers())
def test_what_is_written_is_read_again(events: list[ChatEvent]) -> None:
    events = [*events, Finished()]
    decoder = Decoder()
    again = gather([*decoder.feed(encode(events)), *decoder.close()])
    first = gather(events)
    first.model = again.model

    assert again == first
