from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS
from llmgw.core.errors import LimitExceeded, UpstreamBroken
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
from llmgw.dialects import base
from llmgw.dialects.gemini_encoder import GeminiEncoder
from llmgw.dialects.gemini_stream import GeminiDecoder


def write(events: list[ChatEvent], array: bool = False) -> bytes:
    encoder = GeminiEncoder("public", array)
    return b"".join(encoder.feed(event) for event in events)


def chunks(data: bytes) -> list[Any]:
    events = data.split(b"\r\n\r\n")
    assert events[-1] == b""
    assert all(event.startswith(b"data: {") for event in events[:-1])
    return [json.loads(event[6:]) for event in events[:-1]]


def told(data: bytes) -> tuple[list[Any], list[Any], list[Any]]:
    """Parts, reasons to end, and usage, as a client gathers them."""
    parts, reasons, usage = [], [], []
    for chunk in chunks(data):
        for candidate in chunk.get("candidates", ()):
            parts += [
                (candidate["index"], part) for part in candidate["content"]["parts"] if part != {"text": ""}
            ]
            if "finishReason" in candidate:
                reasons.append((candidate["index"], candidate["finishReason"]))
        usage += [chunk["usageMetadata"]] if "usageMetadata" in chunk else []
    return parts, reasons, usage


RICH: list[ChatEvent] = [
    Started("r1", "upstream"),
    PartStarted(0, 0, THINKING),
    Delta(0, 0, "hm"),
    Signed(0, 0, "Z20As1"),
    PartEnded(0, 0),
    PartStarted(0, 1, TEXT),
    Delta(0, 1, 'a "b"\r\n'),
    Delta(0, 1, "ü"),
    PartEnded(0, 1),
    PartStarted(0, 2, THINKING),
    Signed(0, 2, "s2"),
    PartEnded(0, 2),
    PartStarted(0, 3, TOOL_CALL, "id1", "f"),
    Delta(0, 3, '{"a":'),
    PartStarted(0, 4, TOOL_CALL, "id2", "g"),
    Delta(0, 3, " 1.0}"),
    Signed(0, 3, "s3"),
    PartEnded(0, 4),
    PartEnded(0, 3),
    ChoiceEnded(0, TOOL_CALLS),
    Counted(Usage(10, 5, 3, 0, 2)),
    Finished(),
]


def test_rich_stream_is_written_whole() -> None:
    data = write(RICH)

    parts, reasons, usage = told(data)
    assert parts == [
        (0, {"text": "hm", "thought": True}),
        (0, {"text": "", "thoughtSignature": "s1", "thought": True}),
        (0, {"text": 'a "b"\r\n'}),
        (0, {"text": "ü"}),
        (0, {"text": "", "thoughtSignature": "Zm4As2"}),
        (0, {"functionCall": {"id": "id2", "name": "g", "args": {}}}),
        (0, {"functionCall": {"id": "id1", "name": "f", "args": {"a": 1.0}}, "thoughtSignature": "s3"}),
    ]
    assert reasons == [(0, "STOP")]
    assert usage == [
        {
            "promptTokenCount": 10,
            "candidatesTokenCount": 3,
            "totalTokenCount": 15,
            "thoughtsTokenCount": 2,
            "cachedContentTokenCount": 3,
        }
    ]
    for chunk in chunks(data):
        assert (chunk["modelVersion"], chunk["responseId"]) == ("public", "r1")
        assert all(candidate["content"]["role"] == "model" for candidate in chunk["candidates"])


def test_array_has_the_same_documents() -> None:
    assert json.loads(write(RICH, array=True)) == chunks(write(RICH))


def test_text_goes_out_as_it_comes() -> None:
    encoder = GeminiEncoder("m", False)

    assert encoder.feed(PartStarted(0, 0, TEXT)) == b""
    assert chunks(encoder.feed(Delta(0, 0, "a")))[0]["candidates"][0]["content"]["parts"] == [{"text": "a"}]


def test_missing_openings_and_ends_still_make_a_stream() -> None:
    """No Started, no PartStarted, calls that nobody ended, usage before all else, no ChoiceEnded."""
    parts, reasons, usage = told(
        write(
            [
                Counted(Usage(1, 1)),
                Delta(0, 0, "a"),
                PartEnded(0, 0),
                Signed(0, 7, "Z20As"),
                PartStarted(1, 0, TOOL_CALL, None, "f"),
                Delta(1, 0, "{}"),
                Finished(),
            ]
        )
    )

    assert parts == [
        (0, {"text": "a"}),
        (0, {"text": "", "thoughtSignature": "s"}),
        (1, {"functionCall": {"name": "f", "args": {}}}),
    ]
    assert reasons == [(0, "STOP"), (1, "STOP")]
    assert len(usage) == 1


def test_refusal_is_text_and_empty_text_is_nothing() -> None:
    parts, reasons, _ = told(
        write(
            [
                PartStarted(0, 0, REFUSED),
                Delta(0, 0, ""),
                Delta(0, 0, "no"),
                PartEnded(0, 0),
                ChoiceEnded(0, CONTENT_FILTER),
                Finished(),
            ]
        )
    )

    assert parts == [(0, {"text": "no"})]
    assert reasons == [(0, "SAFETY")]


@pytest.mark.parametrize(
    ("stop", "reason"), [(TOOL_CALLS, "MALFORMED_FUNCTION_CALL"), (LENGTH, "MAX_TOKENS")]
)
def test_call_that_cannot_be_made_is_told_as_gemini_tells_it(stop: str, reason: str) -> None:
    parts, reasons, _ = told(
        write(
            [PartStarted(0, 0, TOOL_CALL, "x", "f"), Delta(0, 0, '{"cut'), ChoiceEnded(0, stop), Finished()]
        )
    )

    assert (parts, reasons) == ([], [(0, reason)])


def test_k04_stream_that_breaks_ends_in_an_error_and_nothing_more() -> None:
    encoder = GeminiEncoder("m", False)
    encoder.feed(Delta(0, 0, "a"))

    error = chunks(encoder.fail(LimitExceeded("enough", retry_after_s=3)))[0]

    assert error == {
        "error": {"code": 429, "message": "enough", "status": "RESOURCE_EXHAUSTED"},
        "message": "enough",
        "retryAfterSeconds": 3,
    }
    assert encoder.feed(Finished()) == b""
    assert encoder.fail(UpstreamBroken("again")) == b""


@pytest.mark.parametrize("before", [[], [Delta(0, 0, "a")]])
def test_array_that_breaks_ends_in_an_error_and_has_no_end(before: list[ChatEvent]) -> None:
    """Google's own reader passes over errors, and raises for an array that is not closed."""
    encoder = GeminiEncoder("m", True)
    data = b"".join(encoder.feed(event) for event in before)
    data += encoder.fail(UpstreamBroken("cut\r\n\r\ndata: x"))
    with pytest.raises(ValueError, match="Expecting ',' delimiter"):
        json.loads(data)

    documents = json.loads(data + b"]")

    assert documents[-1] == {"error": {"code": 502, "message": "cut\r\n\r\ndata: x", "status": "UNAVAILABLE"}}


def test_k05_error_text_stays_inside_one_event() -> None:
    assert len(chunks(GeminiEncoder("m", False).fail(UpstreamBroken("a\r\n\r\ndata: b")))) == 1


def test_failure_of_the_upstream_is_told_and_ends_it() -> None:
    data = write([Delta(0, 0, "a"), Failed(base.OVERLOADED, "busy"), ChoiceEnded(0, STOP), Finished()])

    assert chunks(data)[-1] == {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
    assert "finishReason" not in data.decode()


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
number = st.integers(0, 2)
event = st.one_of(
    st.builds(Started, text),
    st.builds(PartStarted, number, number, st.sampled_from([TEXT, THINKING, TOOL_CALL, REFUSED]), text, text),
    st.builds(Delta, number, number, text | st.just("{}")),
    st.builds(Signed, number, number, text),
    st.builds(PartEnded, number, number),
    st.builds(ChoiceEnded, number, st.sampled_from([STOP, LENGTH, TOOL_CALLS])),
    st.builds(Counted, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
)


@given(st.lists(event, max_size=12), st.booleans())
def test_any_order_makes_a_well_formed_stream(events: list[ChatEvent], array: bool) -> None:
    data = write([*events, Finished()], array)

    documents = json.loads(data) if array else chunks(data)
    assert all(candidate["finishReason"] for candidate in documents[-1]["candidates"])
    decoder = GeminiDecoder()
    got = decoder.feed(data) + decoder.close()
    assert got[-1] == Finished()
