from __future__ import annotations

import json
import random
from collections.abc import Iterable

import pytest

from llmgw.core.chat import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS
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
from llmgw.dialects import base
from llmgw.dialects.gemini_stream import GeminiDecoder


def chunk(*parts: object, reason: object = None, index: int | None = 0, **more: object) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"role": "model", "parts": list(parts)}}
    if reason is not None:
        candidate["finishReason"] = reason
    if index is not None:
        candidate["index"] = index
    return {"candidates": [candidate], **more}


def events_of(chunks: Iterable[object], end: str = "\r\n\r\n") -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + end.encode() for one in chunks)


def array_of(chunks: Iterable[object]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(one, indent=2).encode() for one in chunks) + b"\n]"


def read(data: bytes, cuts: Iterable[int] = ()) -> list[ChatEvent]:
    decoder = GeminiDecoder()
    places = list(cuts)
    events: list[ChatEvent] = []
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        events += decoder.feed(data[begin:end])
    return events + decoder.close()


def read_chunks(*chunks: object) -> list[ChatEvent]:
    return read(events_of(chunks))


RICH = [
    chunk({"text": "Let me", "thought": True}, responseId="abcdefgh1", modelVersion="gx", usageMetadata={}),
    chunk({"text": " see", "thought": True}, usageMetadata={"promptTokenCount": 9}),
    chunk({"text": "Grüße, "}),
    chunk({"text": "world"}, {"text": "!", "thoughtSignature": "s1"}),
    chunk({"functionCall": {"name": "f", "args": {"a": "ü"}}, "thoughtSignature": "s2"}),
    chunk({"functionCall": {"id": "own", "name": "g"}}),
    chunk({"text": ""}, reason="STOP", usageMetadata={"candidatesTokenCount": 4, "thoughtsTokenCount": 2}),
]
EXPECTED = [
    Started("abcdefgh1", "gx"),
    PartStarted(0, 0, THINKING),
    Delta(0, 0, "Let me"),
    Delta(0, 0, " see"),
    PartEnded(0, 0),
    PartStarted(0, 1, TEXT),
    Delta(0, 1, "Grüße, "),
    Delta(0, 1, "world"),
    Delta(0, 1, "!"),
    PartEnded(0, 1),
    PartStarted(0, 2, THINKING),
    Signed(0, 2, "Z20As1"),
    PartEnded(0, 2),
    PartStarted(0, 3, TOOL_CALL, "call_abcdefgh1_0", "f"),
    Signed(0, 3, "s2"),
    Delta(0, 3, '{"a": "\\u00fc"}'),
    PartEnded(0, 3),
    PartStarted(0, 4, TOOL_CALL, "own", "g"),
    PartEnded(0, 4),
    Counted(Usage(9, 6, 0, 0, 2)),
    ChoiceEnded(0, TOOL_CALLS),
    Finished(),
]


@pytest.mark.parametrize("framing", ["crlf", "lf", "array"])
def test_k01_events_do_not_depend_on_framing_and_cuts(framing: str) -> None:
    data = (
        array_of(RICH) if framing == "array" else events_of(RICH, "\r\n\r\n" if framing == "crlf" else "\n\n")
    )
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    expected = [
        Delta(0, 3, '{\n              "a": "\\u00fc"\n            }')
        if event == EXPECTED[15] and framing == "array"
        else event
        for event in EXPECTED
    ]

    for cuts in ([], range(1, len(data)), *(sorted(rng.sample(range(1, len(data)), 11)) for _ in range(20))):
        got = read(data, cuts)
        if framing == "array":
            assert [type(event) for event in got] == [type(event) for event in expected]
            assert json.loads(got[15].text) == {"a": "ü"}  # type: ignore[union-attr]
            got[15] = expected[15]
        assert got == expected


def test_events_come_as_soon_as_they_can() -> None:
    decoder = GeminiDecoder()

    assert decoder.feed(events_of([chunk({"text": "a"})])) == [
        Started(),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "a"),
    ]


def test_call_in_pieces_is_told_whole() -> None:
    """Vertex AI streams arguments by path; parallel calls follow each other."""
    got = read_chunks(
        chunk({"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "s"}),
        chunk(
            {
                "functionCall": {
                    "partialArgs": [{"jsonPath": "$.s[0]", "stringValue": "B", "willContinue": True}],
                    "willContinue": True,
                }
            }
        ),
        chunk(
            {
                "functionCall": {
                    "partialArgs": [{"jsonPath": "$.s[0]", "stringValue": "oil"}],
                    "willContinue": True,
                }
            }
        ),
        chunk(
            {"functionCall": {"partialArgs": [{"jsonPath": "$.n", "numberValue": 2.0}], "willContinue": True}}
        ),
        chunk({"functionCall": {}}),
        chunk({"functionCall": {"name": "eat"}}, reason="STOP"),
    )

    assert got == [
        Started(),
        PartStarted(0, 0, TOOL_CALL, "call_0", "cook"),
        Signed(0, 0, "s"),
        Delta(0, 0, '{"s":["Boil"],"n":2.0}'),
        PartEnded(0, 0),
        PartStarted(0, 1, TOOL_CALL, "call_1", "eat"),
        PartEnded(0, 1),
        ChoiceEnded(0, TOOL_CALLS),
        Finished(),
    ]


def test_call_in_pieces_without_its_last_ends_with_what_follows() -> None:
    piece = {
        "functionCall": {
            "name": "f",
            "partialArgs": [{"jsonPath": "$.a", "boolValue": True}],
            "willContinue": True,
        }
    }

    assert read_chunks(chunk(piece), chunk({"text": "x"}, reason="STOP"))[1:6] == [
        PartStarted(0, 0, TOOL_CALL, "call_0", "f"),
        Delta(0, 0, '{"a":true}'),
        PartEnded(0, 0),
        PartStarted(0, 1, TEXT),
        Delta(0, 1, "x"),
    ]


def test_signature_of_a_thought_is_the_thoughts() -> None:
    got = read_chunks(
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "", "thought": True, "thoughtSignature": "s"}, reason="STOP"),
    )

    assert got[1:5] == [
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm"),
        Signed(0, 0, "Z20As"),
        PartEnded(0, 0),
    ]


def test_end_told_with_every_chunk_is_told_once() -> None:
    """The first Gemini models say STOP all the time."""
    got = read_chunks(
        chunk({"text": "a"}, reason="STOP"), chunk({"text": "b"}, reason="MAX_TOKENS", index=None)
    )

    assert got == [
        Started(),
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "a"),
        Delta(0, 0, "b"),
        PartEnded(0, 0),
        ChoiceEnded(0, LENGTH),
        Finished(),
    ]


def test_several_candidates() -> None:
    got = read_chunks(
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]},
        chunk(reason="STOP", index=1),
        chunk({"functionCall": {"name": "f"}}, reason="STOP", index=0),
    )

    assert [event for event in got if isinstance(event, (Delta, ChoiceEnded, Finished))] == [
        Delta(0, 0, "a"),
        Delta(1, 0, "b"),
        ChoiceEnded(0, TOOL_CALLS),
        ChoiceEnded(1, STOP),
        Finished(),
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [chunk({"text": "a"})],
        [{"usageMetadata": {"promptTokenCount": 3}}],
        [chunk({"text": "a"}, reason="STOP", index=0), chunk({"text": "b"}, index=1)],
        [chunk({"functionCall": {"name": "f", "willContinue": True}})],
        [chunk({"text": "a"}, reason="FINISH_REASON_UNSPECIFIED")],
    ],
)
def test_j21_stream_that_did_not_say_its_end_is_not_finished(chunks: list[object]) -> None:
    got = read_chunks(*chunks)

    assert Finished() not in got


def test_j21_stream_cut_after_any_byte_is_not_finished() -> None:
    data = events_of(RICH)

    for end in range(1, data.rindex(b'"finishReason"')):
        assert Finished() not in read(data[:end])


def test_usage_of_a_cut_stream_is_told() -> None:
    got = read_chunks(chunk({"text": "a"}, usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 1}))

    assert got[-1] == Counted(Usage(3, 1))


def test_usage_after_the_end_is_told() -> None:
    got = read_chunks(
        chunk({"text": "a"}, reason="STOP", usageMetadata={"promptTokenCount": 3}),
        {"usageMetadata": {"candidatesTokenCount": 8}},
    )

    assert [event for event in got if isinstance(event, Counted)] == [Counted(Usage(3)), Counted(Usage(3, 8))]
    assert got[-1] == Finished()


def test_blocked_prompt_is_a_filtered_answer() -> None:
    got = read_chunks({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 2}})

    assert got == [Started(), Counted(Usage(2)), ChoiceEnded(0, CONTENT_FILTER), Finished()]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}, base.OVERLOADED),
        ({"error": {"message": "busy", "type": "rate_limit_error", "code": None}}, base.RATE_LIMIT),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, base.OVERLOADED),
    ],
)
@pytest.mark.parametrize("bare", [True, False])
def test_k04_error_in_the_stream_ends_it(error: object, code: str, bare: bool) -> None:
    raw = json.dumps(error).encode() + b"\n\n"
    data = events_of([chunk({"text": "a"})]) + (raw if bare else b"event: error\ndata: " + raw)

    got = read(data + events_of([chunk({"text": "b"}, reason="STOP")]))

    assert got == [Started(), PartStarted(0, 0, TEXT), Delta(0, 0, "a"), Failed(code, "busy")]


def test_media_in_a_stream_is_told_as_a_failure() -> None:
    """Events have no room for an image, and silence would be a lie."""
    got = read_chunks(chunk({"inlineData": {"mimeType": "image/png", "data": "aW1n"}}, reason="STOP"))

    assert got[1:] == [
        Failed(base.INVALID, "the model answers with media, which only a whole answer can hold")
    ]


def test_what_the_providers_own_tools_did_is_passed_over() -> None:
    got = read_chunks(
        chunk(
            {"executableCode": {"code": "1"}},
            {"toolResponse": {}},
            {"text": "1"},
            {"functionCall": {}},
            reason="STOP",
        )
    )

    assert got[1:] == [
        PartStarted(0, 0, TEXT),
        Delta(0, 0, "1"),
        PartEnded(0, 0),
        ChoiceEnded(0, STOP),
        Finished(),
    ]


@pytest.mark.parametrize(
    "data",
    [b'data: {"candidates": 5}\n\n', b"data: {nope}\n\n", b'data: {"responseId":"\xff"}\n\n', b'[{"a":}]'],
)
def test_j13_bytes_that_cannot_be_geminis_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a Gemini answer"):
        read(data)
