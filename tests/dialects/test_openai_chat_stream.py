from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import LENGTH, STOP, TOOL_CALLS
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
from llmgw.dialects.base import INVALID, OVERLOADED, RATE_LIMIT, SERVER
from llmgw.dialects.openai_chat_stream import Decoder
from tests.dialects.recordings import gather

USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
DONE = b"data: [DONE]\n\n"
BEGUN = Started("c1", "m", 5)


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: object = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return event({"id": "c1", "model": "m", "created": 5, "choices": [choice], **more})


def call(
    index: int | None, arguments: object, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    piece = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [piece]}


def decoded(*pieces: bytes) -> list[ChatEvent]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


RICH = [
    event(
        {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    ),
    b": keep-alive\n\n",
    chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
    chunk({"reasoning_content": "hm "}),
    chunk({"reasoning_content": "so"}),
    chunk({"content": "Hé"}),
    chunk({"content": "llo 🙂"}),
    chunk({"role": "assistant", "content": "one"}, index=1),
    chunk(call(0, "", "call_a", "f")),
    chunk(call(0, '{"a"')),
    chunk(call(0, ": 1}")),
    chunk(call(1, "", "call_b", "g")),
    chunk(call(1, "{}")),
    chunk({}, "tool_calls"),
    chunk({"refusal": "no"}, index=1),
    chunk({}, "length", index=1),
    b"event: ping\ndata:\n\n",
    event({"id": "c1", "choices": [], "usage": USAGE}),
    DONE,
]
EVENTS: list[ChatEvent] = [
    BEGUN,
    PartStarted(0, 0, THINKING),
    Delta(0, 0, "hm "),
    Delta(0, 0, "so"),
    PartEnded(0, 0),
    PartStarted(0, 1, TEXT),
    Delta(0, 1, "Hé"),
    Delta(0, 1, "llo 🙂"),
    PartStarted(1, 0, TEXT),
    Delta(1, 0, "one"),
    PartEnded(0, 1),
    PartStarted(0, 2, TOOL_CALL, "call_a", "f"),
    Delta(0, 2, '{"a"'),
    Delta(0, 2, ": 1}"),
    PartEnded(0, 2),
    PartStarted(0, 3, TOOL_CALL, "call_b", "g"),
    Delta(0, 3, "{}"),
    PartEnded(0, 3),
    ChoiceEnded(0, TOOL_CALLS),
    PartEnded(1, 0),
    PartStarted(1, 1, REFUSED),
    Delta(1, 1, "no"),
    PartEnded(1, 1),
    ChoiceEnded(1, LENGTH),
    Counted(Usage(10, 4)),
    Finished(),
]


def cuts(data: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [data]
    if how == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    rng = random.Random(how)
    places = sorted(rng.sample(range(1, len(data)), 40))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("how", ["whole", "bytes", "seed 1", "seed 2", "seed 3"])
def test_k01_however_it_is_cut(how: str, ends: bytes) -> None:
    assert decoded(*cuts(b"".join(RICH).replace(b"\n", ends), how)) == EVENTS


def test_a_stream_without_its_beginning() -> None:
    """llama.cpp's may begin amid the answer: no role, no id, and no usage at the end."""
    stream = [
        event({"choices": [{"delta": {"content": "x"}, "finish_reason": None}], "usage": None}),
        event({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        DONE,
    ]

    assert decoded(*stream) == [
        Started("", "", None),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "x"),
        PartEnded(0, 0),
        ChoiceEnded(0, STOP),
        Finished(),
    ]


@pytest.mark.parametrize(
    ("tail", "finished"),
    [
        ([], False),
        ([chunk({}, "stop")], True),
        ([chunk({}, "stop"), event({"choices": [], "usage": USAGE})], True),
        ([DONE], True),
        ([b"data: [DONE]"], True),
        ([b"data: [DO"], False),
        ([chunk({}, "stop"), b'data: {"choices": [], "usa'], True),
        ([chunk({"content": "y"}, index=1), chunk({}, "stop")], False),
    ],
)
def test_j21_a_stream_is_finished_when_it_says_so(tail: list[bytes], finished: bool) -> None:
    events = decoded(chunk({"content": "x"}), *tail)

    assert (Finished() in events) is finished
    assert gather(events).text == "x"


def test_a_stream_that_ends_without_a_reason() -> None:
    assert decoded(chunk({"content": "x"}), DONE)[-2:] == [ChoiceEnded(0, STOP), Finished()]
    assert decoded(chunk(call(0, "{}", "c", "f")), DONE)[-2:] == [ChoiceEnded(0, TOOL_CALLS), Finished()]
    assert decoded(DONE) == [Finished()]


def test_nothing_is_read_after_the_end() -> None:
    assert decoded(DONE, chunk({"content": "x"}), b"data: nonsense\n\n") == [Finished()]


def test_usage_with_every_chunk_is_told_once() -> None:
    """Perplexity's grows with the answer."""
    stream = [chunk({"content": "x"}, usage=USAGE | {"completion_tokens": n}) for n in range(4)]

    events = decoded(*stream, chunk({}, "stop", usage=USAGE), DONE)

    assert [e for e in events if isinstance(e, Counted)] == [Counted(Usage(10, 4))]


def test_usage_of_a_stream_that_is_cut_is_told() -> None:
    assert decoded(chunk({"content": "x"}, usage=USAGE))[-1] == Counted(Usage(10, 4))


def test_usage_that_is_said_again_is_told_when_it_differs() -> None:
    more = USAGE | {"completion_tokens": 5}
    events = decoded(
        chunk({}, "stop", usage=USAGE), event({"choices": [], "usage": USAGE}), event({"usage": more}), DONE
    )

    assert [e.usage for e in events if isinstance(e, Counted)] == [Usage(10, 4), Usage(10, 5)]


def test_groq_s_usage() -> None:
    assert Counted(Usage(10, 4)) in decoded(chunk({}, "stop", x_groq={"id": "r", "usage": USAGE}), DONE)


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        # whole calls under one index, told apart by id (Gemini's compatible endpoint)
        ([call(0, "{}", "a", "f"), call(0, '{"x":1}', "b", "g")], [("a", "f", "{}"), ("b", "g", '{"x":1}')]),
        # the id again with each piece
        ([call(0, '{"x"', "a", "f"), call(0, ":1}", "a", "f")], [("a", "f", '{"x":1}')]),
        # another id with each piece, but no name
        ([call(0, '{"x"', "a", "f"), call(0, ":1}", "b")], [("a", "f", '{"x":1}')]),
        # no index
        ([call(None, "{}", "a", "f"), call(None, "{}", "b", "g")], [("a", "f", "{}"), ("b", "g", "{}")]),
        ([call(None, '{"x"', "a", "f"), call(None, ":1}", "a")], [("a", "f", '{"x":1}')]),
        ([call(None, '{"x"', "a", "f"), call(None, ":1}")], [("a", "f", '{"x":1}')]),
        # interleaved
        (
            [call(0, "", "a", "f"), call(1, "", "b", "g"), call(0, '{"x"'), call(1, "{}"), call(0, ":1}")],
            [("a", "f", '{"x":1}'), ("b", "g", "{}")],
        ),
        # an id, then the name, then arguments
        ([call(0, None, "a"), call(0, "", None, "f"), call(0, "{}")], [("a", "f", "{}")]),
        # arguments before the name
        ([call(0, '{"x"', "a"), call(0, ":1}", None, "f")], [("a", "f", '{"x":1}')]),
        # never a name
        ([call(0, "{}", "a")], [("a", "", "{}")]),
        # the object itself
        ([call(0, {"x": 1}, "a", "f")], [("a", "f", '{"x": 1}')]),
        # pieces after the arguments were whole and the next call has begun
        (
            [call(0, "{}", "a", "f"), call(1, "{}", "b", "g"), call(0, " ")],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        # out of turn
        ([call(3, "{}", "a", "f"), call(1, "{}", "b", "g")], [("a", "f", "{}"), ("b", "g", "{}")]),
    ],
)
def test_tool_calls(pieces: list[dict[str, Any]], calls: list[tuple[str, str, str]]) -> None:
    got = gather(decoded(*[chunk(piece) for piece in pieces], chunk({}, "tool_calls"), DONE))

    assert got.calls == calls
    assert got.finished


def test_calls_without_ids_are_given_some() -> None:
    first, second = gather(
        decoded(chunk(call(0, "{}", None, "f")), chunk(call(1, "{}", "", "f")), DONE)
    ).calls

    assert first[0].startswith("call_")
    assert first[0] != second[0]


def test_text_amid_the_arguments_of_a_call_waits() -> None:
    """Nothing is lost, and no part begins while the call is open."""
    stream = [
        chunk(call(0, '{"a"', "c", "f")),
        chunk({"content": "wait"}),
        chunk({"reasoning_content": "hm"}),
        chunk(call(0, ":1}")),
        chunk({"content": " here"}),
        chunk({}, "tool_calls"),
        DONE,
    ]
    unfinished = [*stream[:3], stream[5], DONE]

    got = gather(decoded(*stream))

    assert (got.text, got.reasoning, got.calls) == ("wait here", "hm", [("c", "f", '{"a":1}')])
    assert gather(decoded(*unfinished)).text == "wait"


def test_a_call_s_signature() -> None:
    piece = call(0, "{}", "c", "f")
    piece["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "S"}}

    assert Signed(0, 0, "S") in decoded(chunk(piece), DONE)


def test_thoughts_as_mistral_has_them() -> None:
    stream = [
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": " so"}]}]}),
        chunk({"content": [{"type": "text", "text": "x"}, {"type": "reference", "reference_ids": [1]}]}),
        chunk({"content": "y"}, "stop"),
        DONE,
    ]

    got = gather(decoded(*stream))

    assert (got.reasoning, got.text) == ("hm so", "xy")


def test_thoughts_as_openrouter_has_them() -> None:
    def thought(text: str | None, index: int = 0, **more: Any) -> bytes:
        entry = {
            "type": "reasoning.text",
            "index": index,
            **({"text": text} if text is not None else {}),
            **more,
        }
        return chunk({"content": "", "reasoning": text or None, "reasoning_details": [entry]})

    encrypted = {"type": "reasoning.encrypted", "data": "E", "id": "r", "index": 2}
    stream = [
        thought("", signature=""),
        thought("hm "),
        thought("so"),
        thought(None, signature="S"),
        thought("then", 1),
        chunk({"reasoning_details": [encrypted]}),
        chunk({"content": "x", "reasoning_details": []}, "stop"),
        DONE,
    ]

    assert decoded(*stream)[1:-3] == [
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm "),
        Delta(0, 0, "so"),
        Signed(0, 0, "S"),
        PartEnded(0, 0),
        PartStarted(0, 1, THINKING),
        Delta(0, 1, "then"),
        PartEnded(0, 1),
        PartStarted(0, 2, THINKING),
        Signed(0, 2, None, json.dumps(encrypted)),
        PartEnded(0, 2),
        PartStarted(0, 3, TEXT),
        Delta(0, 3, "x"),
    ]


def test_a_thought_that_its_entry_contradicts() -> None:
    delta = {
        "reasoning": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "other", "signature": "S"}],
    }

    assert decoded(chunk(delta))[1:4] == [PartStarted(0, 0, THINKING), Delta(0, 0, "hm"), Signed(0, 0, "S")]


def test_a_message_instead_of_a_delta() -> None:
    """Writer sends both; then the delta holds."""
    both = {"index": 0, "delta": {"content": "x"}, "message": {"content": "x"}, "finish_reason": None}
    only = {"index": 0, "message": {"content": "y"}, "finish_reason": "stop"}

    assert gather(decoded(event({"choices": [both]}), event({"choices": [only]}))).text == "xy"


def test_what_comes_after_a_choice_ended_is_passed_over() -> None:
    assert (
        gather(decoded(chunk({"content": "x"}, "stop"), chunk({"content": "y"}, "length"), DONE)).text == "x"
    )


@pytest.mark.parametrize(
    ("raw", "failed"),
    [
        (
            event({"error": {"message": "no", "type": "server_error", "param": None, "code": None}}),
            Failed(SERVER, "no"),
        ),
        (event({"error": {"message": "slow down", "code": 429}}), Failed(RATE_LIMIT, "slow down")),
        (event({"error": "no"}), Failed(SERVER, "no")),
        (
            b"event: error\n"
            + event({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
            Failed(OVERLOADED, "busy"),
        ),
        (b"event: error\n" + event({"message": "no"}), Failed(SERVER, "no")),
        (event({"object": "error", "message": "bad", "code": 400}), Failed(INVALID, "bad")),
        (
            event(
                {
                    "error": {"code": 502, "message": "gone"},
                    "choices": [{"delta": {}, "finish_reason": "error"}],
                }
            ),
            Failed(SERVER, "gone"),
        ),
        (chunk({}, "insufficient_system_resource"), Failed(OVERLOADED, "the provider broke off")),
        (chunk({}, "error"), Failed(SERVER, "the provider broke off")),
    ],
)
def test_k04_errors_in_a_stream(raw: bytes, failed: Failed) -> None:
    """An error is told once, and nothing after it but usage looks like an end."""
    events = decoded(
        chunk({"content": "x"}), raw, raw, chunk({"content": "y"}, "stop"), event({"usage": USAGE}), DONE
    )

    assert events == [BEGUN, PartStarted(0, 0, TEXT), Delta(0, 0, "x"), failed, Counted(Usage(10, 4))]


def test_usage_beside_an_error() -> None:
    events = decoded(event({"error": {"message": "no"}, "usage": USAGE}))

    assert events == [Counted(Usage(10, 4)), Failed(SERVER, "no")]


def test_an_error_that_only_repeats_why_the_answer_was_cut() -> None:
    """OpenRouter says `length`, then the same as an error, then usage."""
    repeated = chunk({}, None, error={"code": 400, "message": "Token limit reached"}, usage=USAGE)

    events = decoded(chunk({"content": "x"}, "length"), repeated, DONE)

    assert events[-3:] == [ChoiceEnded(0, LENGTH), Counted(Usage(10, 4)), Finished()]


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        b'{"choices": ',
        b"[]",
        b'{"choices": {}}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'"\xff"',
    ],
)
def test_j13_bytes_that_are_no_chunk(data: bytes) -> None:
    with pytest.raises(ValueError, match="chunk"):
        Decoder().feed(b"data: " + data + b"\n\n")


def test_an_event_over_the_cap() -> None:
    with pytest.raises(ValueError, match="longer"):
        decoded(*[b"data: " + b"x" * 65536] * 20)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WORDS = st.none() | st.text(max_size=4)
PIECE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(0, 2),
        "id": st.sampled_from([None, "", "a", "b"]),
        "function": st.fixed_dictionaries(
            {}, optional={"name": st.sampled_from([None, "", "f"]), "arguments": ANY_JSON}
        ),
    },
)
DETAIL = st.fixed_dictionaries(
    {"type": st.sampled_from(["reasoning.text", "reasoning.encrypted", "x"])},
    optional={"text": WORDS, "signature": WORDS, "data": WORDS, "index": st.none() | st.integers(0, 2)},
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": WORDS,
        "reasoning": WORDS,
        "refusal": WORDS,
        "tool_calls": st.lists(PIECE, max_size=2),
        "reasoning_details": st.lists(DETAIL, max_size=2),
    },
)
CHOICE = st.fixed_dictionaries(
    {"delta": DELTA},
    optional={"index": st.integers(0, 1), "finish_reason": st.none() | st.sampled_from(["stop", "length"])},
)


@given(
    st.lists(
        st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2)}, optional={"usage": ANY_JSON}),
        max_size=8,
    )
)
def test_whatever_the_chunks_say_the_events_are_in_order(chunks: list[dict[str, Any]]) -> None:
    """`gather` checks the order: parts are numbered, opened and closed as events promise."""
    events = decoded(*map(event, chunks), DONE)

    for index in (0, 1):
        gather(events, index)
    started = {e.choice for e in events if isinstance(e, PartStarted)}
    ended = [e.choice for e in events if isinstance(e, ChoiceEnded)]
    assert len(ended) == len(set(ended))
    assert started <= set(ended)
    assert events[-1] == Finished()


@given(st.lists(ANY_JSON, max_size=4))
def test_whatever_comes_it_is_a_chunk_or_a_value_error(documents: list[object]) -> None:
    with suppress(ValueError):
        decoded(*map(event, documents))


@pytest.mark.parametrize("arguments", ['{"y":2}', " {}"])
@pytest.mark.parametrize("name", ["f", "g"])
def test_calls_without_ids_that_share_an_index_stay_apart(name: str, arguments: str) -> None:
    """Gemini's compatible endpoint gives each parallel call whole, with index 0 and an empty id."""
    events = decoded(chunk(call(0, '{"x":1}', "", "f")), chunk(call(0, arguments, "", name)), DONE)

    begun = [event for event in events if isinstance(event, PartStarted)]
    assert [event.name for event in begun] == ["f", name]
    assert begun[0].call_id != begun[1].call_id
    assert [(event.part, event.text) for event in events if isinstance(event, Delta)] == [
        (0, '{"x":1}'),
        (1, arguments),
    ]


def test_calls_without_ids_and_arguments_stay_apart_by_their_names() -> None:
    events = decoded(chunk(call(0, "", "", "f")), chunk(call(0, "", "", "g")), DONE)

    assert [event.name for event in events if isinstance(event, PartStarted)] == ["f", "g"]


@pytest.mark.parametrize("call_id", [None, "", "call_a"])
def test_a_name_said_with_each_piece_begins_no_other_call(call_id: str | None) -> None:
    pieces = ["", '{"a":', '"{b"', "}", "", "\n"]
    events = decoded(*(chunk(call(0, piece, call_id, "f")) for piece in pieces), DONE)

    assert [event.name for event in events if isinstance(event, PartStarted)] == ["f"]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "".join(pieces)


def test_an_image_in_a_stream_ends_it_and_is_not_lost_unsaid() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    events = decoded(chunk({"content": "here", "images": [image]}), chunk({}, "stop"), DONE)

    assert [event for event in events if isinstance(event, Failed)] == [
        Failed(INVALID, "the model answers with media, which only a whole answer can hold")
    ]
    assert not any(isinstance(event, Finished) for event in events)
