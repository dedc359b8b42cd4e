from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import LENGTH, STOP, TOOL_CALLS, ChatRequest
from llmgw.core.errors import UpstreamTimeout
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
from llmgw.dialects.base import OVERLOADED
from llmgw.dialects.openai_chat_encoder import Encoder
from llmgw.dialects.openai_chat_messages import WireMessage, parse_messages
from llmgw.dialects.openai_chat_stream import Decoder
from llmgw.wire.sse import SseSplitter, event_data
from tests.dialects.recordings import gather

BEGUN = Started("c1", "upstream-model", 5)


def encoder(*, include_usage: bool = False) -> Encoder:
    return Encoder(ChatRequest(model="asked", messages=()), "public", include_usage)


def encoded(*events: ChatEvent, include_usage: bool = False) -> bytes:
    writer = encoder(include_usage=include_usage)
    return b"".join(map(writer.feed, events))


def chunks(stream: bytes) -> list[Any]:
    """The data of each event; `[DONE]` as it is."""
    splitter = SseSplitter()
    data = [event_data(raw) for raw in splitter.feed(stream)]
    assert not splitter.pending
    return ["[DONE]" if raw == b"[DONE]" else json.loads(raw or b"") for raw in data]


def deltas(*events: ChatEvent) -> list[Any]:
    """Of choice 0, after its role."""
    found = [c["choices"][0]["delta"] for c in chunks(encoded(BEGUN, *events))]
    assert found[0] == {"role": "assistant", "content": "", "refusal": None}
    return found[1:]


def test_a_stream_as_openai_sends_it() -> None:
    stream = encoded(
        BEGUN,
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "Hé\n"),
        PartEnded(0, 0),
        ChoiceEnded(0, LENGTH),
        Counted(Usage(10, 4)),
        Finished(),
        include_usage=True,
    )

    head = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "public"}

    def chunk(delta: object, finish: str | None = None) -> object:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "choices": [choice], "usage": None}

    assert chunks(stream) == [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Hé\n"}),
        chunk({}, "length"),
        {
            **head,
            "choices": [],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        },
        "[DONE]",
    ]


def test_usage_is_only_for_who_asked() -> None:
    stream = encoded(BEGUN, Counted(Usage(10, 4)), ChoiceEnded(0, STOP), Finished())

    assert b"usage" not in stream
    assert chunks(stream)[-1] == "[DONE]"


def test_usage_that_nobody_reported_is_not_made_up() -> None:
    assert [c for c in chunks(encoded(BEGUN, Finished(), include_usage=True))[:-1] if c["usage"]] == []


def test_the_last_usage_holds() -> None:
    stream = encoded(Counted(Usage(1, 1)), Counted(Usage(10, 4)), Finished(), include_usage=True)

    assert chunks(stream)[-2]["usage"]["total_tokens"] == 14


def test_tool_calls() -> None:
    assert deltas(
        PartStarted(0, 0, TOOL_CALL, "a", "f"),
        PartStarted(0, 1, TOOL_CALL, "b", "g"),
        Delta(0, 0, '{"x"'),
        Delta(0, 1, "{}"),
        Delta(0, 0, ":1}"),
        PartEnded(0, 0),
        PartEnded(0, 1),
    ) == [
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
        {
            "tool_calls": [
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ]


@pytest.mark.parametrize("ending", [PartEnded(0, 0), ChoiceEnded(0, TOOL_CALLS), Finished()])
def test_a_call_without_arguments_has_an_empty_object(ending: ChatEvent) -> None:
    """Clients decode the arguments."""
    stream = encoded(BEGUN, PartStarted(0, 0, TOOL_CALL, "a", "f"), Delta(0, 0, ""), ending, Finished())

    assert gather(decode(stream)).calls == [("a", "f", "{}")]


def test_a_call_s_signature() -> None:
    extra = {"google": {"thought_signature": "S"}}
    assert deltas(PartStarted(0, 0, TOOL_CALL, "a", "f"), Signed(0, 0, "S"), Signed(0, 0, None, "R"))[1:] == [
        {"tool_calls": [{"index": 0, "function": {"arguments": ""}, "extra_content": extra}]}
    ]


def decode(stream: bytes) -> list[ChatEvent]:
    decoder = Decoder()
    return decoder.feed(stream) + decoder.close()


def test_thoughts_and_refusals() -> None:
    assert deltas(
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm"),
        PartEnded(0, 0),
        PartStarted(0, 1, REFUSED),
        Delta(0, 1, "no"),
    ) == [{"reasoning_content": "hm"}, {"refusal": "no"}]


def test_signed_thoughts_come_back_as_they_were() -> None:
    """A client that gathers text and entries, and sends them back, sends the same thoughts."""
    events: list[ChatEvent] = [
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "h"),
        Delta(0, 0, "m"),
        Signed(0, 0, "S"),
        PartEnded(0, 0),
        PartStarted(0, 1, THINKING),
        Signed(0, 1, None, "R"),
        PartEnded(0, 1),
        PartStarted(0, 2, THINKING),
        Delta(0, 2, "th"),
        Delta(0, 2, "en"),
        Signed(0, 2, "T"),
        PartEnded(0, 2),
    ]
    said = deltas(*events)
    message = {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "".join(delta.get("reasoning_content", "") for delta in said),
        "reasoning_details": [entry for delta in said for entry in delta.get("reasoning_details", [])],
    }

    _, turns = parse_messages([json_as_message(message)])

    assert [(p.text, p.signature, p.redacted) for p in turns[0].parts[:-1]] == [  # type: ignore[union-attr]
        ("hm", "S", None),
        ("", None, "R"),
        ("then", "T", None),
    ]
    assert decode(encoded(BEGUN, *events, ChoiceEnded(0, STOP), Finished()))[1:-2] == events


def json_as_message(message: object) -> WireMessage:
    return msgspec.json.decode(msgspec.json.encode(message), type=WireMessage)


def test_several_choices() -> None:
    stream = encoded(
        BEGUN,
        PartStarted(1, 0, TEXT),
        Delta(1, 0, "one"),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "zero"),
        ChoiceEnded(1, LENGTH),
        ChoiceEnded(0, STOP),
        Finished(),
    )

    events = decode(stream)
    assert (gather(events, 0).text, gather(events, 1).text) == ("zero", "one")
    assert (gather(events, 0).stop, gather(events, 1).stop) == (STOP, LENGTH)


def test_what_is_missing_is_made_up_for() -> None:
    """A delta of a part that nobody announced is text, and `Finished` alone is a whole stream."""
    (first, text, end, done) = chunks(encoded(Delta(0, 3, "x"), Finished()))

    assert first["id"].startswith("chatcmpl-")
    assert first["created"] > 1_700_000_000
    assert text["choices"][0]["delta"] == {"content": "x"}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert done == "[DONE]"
    assert [
        c if c == "[DONE]" else c["choices"][0]["finish_reason"] for c in chunks(encoded(Finished()))
    ] == [
        None,
        "stop",
        "[DONE]",
    ]


def test_a_call_without_id_or_name() -> None:
    delta = deltas(PartStarted(0, 0, TOOL_CALL))[0]["tool_calls"][0]

    assert delta["id"].startswith("call_")
    assert delta["function"]["name"] == ""


def test_a_choice_with_calls_that_nobody_ended() -> None:
    stream = encoded(PartStarted(0, 0, TOOL_CALL, "a", "f"), Delta(0, 0, "{}"), Finished())

    assert gather(decode(stream)).stop == TOOL_CALLS


def test_k04_an_error_ends_the_stream() -> None:
    writer = encoder()
    writer.feed(BEGUN)

    said = writer.feed(Failed(OVERLOADED, "bad\r\nevent: x"))

    assert chunks(said) == [
        {
            "error": {
                "message": "bad\r\nevent: x",
                "type": "server_error",
                "param": None,
                "code": "overloaded",
            }
        }
    ]
    assert writer.feed(Finished()) == b""
    assert writer.fail(UpstreamTimeout("late")) == b""


def test_a_stream_that_broke() -> None:
    writer = encoder()
    writer.feed(BEGUN)

    assert chunks(writer.fail(UpstreamTimeout("no byte came for 30 s"))) == [
        {
            "error": {
                "message": "no byte came for 30 s",
                "type": "server_error",
                "param": None,
                "code": "upstream_timeout",
            }
        }
    ]
    assert writer.feed(Finished()) == b""


def test_nothing_follows_the_end() -> None:
    writer = encoder()
    writer.feed(Finished())

    assert writer.feed(Delta(0, 0, "x")) == b""
    assert writer.fail(UpstreamTimeout("late")) == b""


def test_nothing_follows_the_end_of_a_choice() -> None:
    writer = encoder()
    for event in (BEGUN, PartStarted(0, 0, TEXT), ChoiceEnded(0, STOP)):
        writer.feed(event)

    late = [
        Delta(0, 0, "x"),
        PartStarted(0, 1, TOOL_CALL),
        Signed(0, 0, "S"),
        PartEnded(0, 0),
        ChoiceEnded(0, STOP),
    ]
    assert [writer.feed(event) for event in late] == [b""] * 5


NUMBERS = st.integers(0, 2)
TEXTS = st.text(max_size=5)
EVENT = st.one_of(
    st.builds(Started, TEXTS, TEXTS, st.none() | NUMBERS),
    st.builds(
        PartStarted,
        NUMBERS,
        NUMBERS,
        st.sampled_from([TEXT, THINKING, TOOL_CALL, REFUSED, "other"]),
        st.none() | TEXTS,
        st.none() | TEXTS,
    ),
    st.builds(Delta, NUMBERS, NUMBERS, TEXTS),
    st.builds(Signed, NUMBERS, NUMBERS, st.none() | TEXTS, st.none() | TEXTS),
    st.builds(PartEnded, NUMBERS, NUMBERS),
    st.builds(ChoiceEnded, NUMBERS, st.sampled_from([STOP, LENGTH, TOOL_CALLS])),
    st.builds(Counted, st.just(Usage(3, 4))),
)


@given(st.lists(EVENT, max_size=15), st.booleans())
def test_whatever_the_order_the_stream_is_well_formed(events: list[ChatEvent], include_usage: bool) -> None:
    """Roles come first and once, each choice ends once and last, then usage, then `[DONE]`."""
    *said, done = chunks(encoded(*events, Finished(), include_usage=include_usage))

    assert done == "[DONE]"
    assert len({(c["id"], c["created"], c["model"]) for c in said}) == 1
    per_choice: dict[int, list[Any]] = {}
    for number, chunk in enumerate(said):
        assert ("usage" in chunk) is include_usage
        if not chunk["choices"]:
            assert number == len(said) - 1
            continue
        (choice,) = chunk["choices"]
        per_choice.setdefault(choice["index"], []).append(choice)
    for choices in per_choice.values():
        assert [("role" in c["delta"]) for c in choices] == [True] + [False] * (len(choices) - 1)
        assert [c["finish_reason"] is not None for c in choices] == [False] * (len(choices) - 1) + [True]
        indices = [call["index"] for c in choices for call in c["delta"].get("tool_calls", [])]
        assert set(indices) == set(range(len(set(indices))))
    assert decode(encoded(*events, Finished()))[-1] == Finished()
