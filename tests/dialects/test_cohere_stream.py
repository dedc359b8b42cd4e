from __future__ import annotations

import json
import random

import pytest

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
from llmgw.dialects.cohere_stream import CohereDecoder, WireTokens, WireUsage, failure_of, parse_usage


def stream(*events: dict[str, object], done: bool = True) -> bytes:
    lines = [
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" if "type" in event else data(event)
        for event in events
    ]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def data(event: dict[str, object]) -> str:
    return f"data: {json.dumps(event)}\n\n"


def of_message(kind: str, message: dict[str, object], index: int | None = None) -> dict[str, object]:
    numbered = {} if index is None else {"index": index}
    return {"type": kind, **numbered, "delta": {"message": message}}


def call_start(index: int, call_id: str, name: str) -> dict[str, object]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    return of_message("tool-call-start", {"tool_calls": call}, index)


def call_delta(index: int, text: str) -> dict[str, object]:
    return of_message("tool-call-delta", {"tool_calls": {"function": {"arguments": text}}}, index)


def message_end(reason: str, **members: object) -> dict[str, object]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **members}}


START = {"id": "r1", **of_message("message-start", {"role": "assistant", "content": [], "tool_calls": []})}
USAGE = {
    "billed_units": {"input_tokens": 3, "output_tokens": 2},
    "tokens": {"input_tokens": 90, "output_tokens": 12, "reasoning_tokens": 5},
    "cached_tokens": 64,
}
TEXTS = stream(
    START,
    of_message("content-start", {"content": {"type": "thinking", "thinking": ""}}, 0),
    of_message("content-delta", {"content": {"thinking": "hm"}}, 0),
    {"type": "content-end", "index": 0},
    of_message("content-start", {"content": {"type": "text", "text": ""}}, 1),
    of_message("content-delta", {"content": {"text": "Grüße, "}}, 1),
    of_message("citation-start", {"citations": {"start": 0, "end": 3}}, 0),
    {"type": "citation-end", "index": 0},
    of_message("content-delta", {"content": {"text": "Welt"}}, 1),
    {"type": "content-end", "index": 1},
    message_end("COMPLETE", usage=USAGE),
)
CALLS = stream(
    START,
    of_message("tool-plan-delta", {"tool_plan": "I will"}),
    of_message("tool-plan-delta", {"tool_plan": " ask"}),
    call_start(0, "c1", "weather"),
    call_delta(0, '{"city":'),
    call_delta(0, '"Rome"}'),
    {"type": "tool-call-end", "index": 0},
    call_start(1, "c2", "time"),
    {"type": "tool-call-end", "index": 1},
    message_end("TOOL_CALL", usage=USAGE),
)
COUNTED = Counted(Usage(90, 12, cached_tokens=64, reasoning_tokens=5))


def decoded(body: bytes, sizes: list[int]) -> list[ChatEvent]:
    decoder = CohereDecoder()
    events: list[ChatEvent] = []
    at = 0
    for size in sizes:
        events.extend(decoder.feed(body[at : at + size]))
        at += size
    return events + decoder.feed(body[at:]) + decoder.close()


def sizes(way: str, body: bytes) -> list[int]:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    cuts = {"whole": [], "bytes": [1] * len(body), "random": [rng.randint(1, 90) for _ in body[::45]]}
    return cuts[way]


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_thinking_and_text(way: str) -> None:
    """Citations are left out, and `[DONE]` says nothing."""
    assert decoded(TEXTS, sizes(way, TEXTS)) == [
        Started("r1"),
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm"),
        PartEnded(0, 0),
        PartStarted(0, 1, TEXT),
        Delta(0, 1, "Grüße, "),
        Delta(0, 1, "Welt"),
        PartEnded(0, 1),
        ChoiceEnded(0, "stop"),
        COUNTED,
        Finished(),
    ]


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_calls_after_their_plan(way: str) -> None:
    assert decoded(CALLS, sizes(way, CALLS)) == [
        Started("r1"),
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "I will"),
        Delta(0, 0, " ask"),
        PartEnded(0, 0),
        PartStarted(0, 1, TOOL_CALL, "c1", "weather"),
        Delta(0, 1, '{"city":'),
        Delta(0, 1, '"Rome"}'),
        PartEnded(0, 1),
        PartStarted(0, 2, TOOL_CALL, "c2", "time"),
        PartEnded(0, 2),
        ChoiceEnded(0, "tool_calls"),
        COUNTED,
        Finished(),
    ]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("MAX_TOKENS", "length"), ("STOP_SEQUENCE", "stop_sequence"), ("ERROR_TOXIC", "content_filter")],
)
def test_why_it_ended(reason: str, stop: str) -> None:
    assert ChoiceEnded(0, stop) in decoded(stream(START, message_end(reason)), [])


@pytest.mark.parametrize("end", [message_end("ERROR"), message_end("TIMEOUT", error="too slow")])
def test_a_generation_that_failed(end: dict[str, object]) -> None:
    """It ends in an error, its open parts closed, and nothing follows."""
    begin = of_message("content-delta", {"content": {"text": "Hel"}}, 0)
    events = decoded(stream(START, begin, end), [])

    assert isinstance(events[-1], Failed)
    assert events[-1].code == "server"
    assert events[-2] == PartEnded(0, 0)
    assert Finished() not in events


def test_an_error_inside_the_stream() -> None:
    events = decoded(stream(START, {"message": "too long", "error_type": "TOO_MANY_TOKENS"}), [])

    assert events == [Started("r1"), Failed("context_length_exceeded", "too long")]


@pytest.mark.parametrize("cut", [len(TEXTS) // 2, len(TEXTS) - len(b"data: [DONE]\n\n") - 20])
def test_a_stream_that_was_cut(cut: int) -> None:
    """There is no end that nobody said."""
    events = decoded(TEXTS[:cut], [])

    assert Finished() not in events
    assert not any(isinstance(event, ChoiceEnded) for event in events)


def test_a_last_event_without_its_blank_line() -> None:
    assert decoded(stream(START, message_end("COMPLETE"), done=False).rstrip(), [])[-1] == Finished()


def test_events_that_are_not_known_are_passed_over() -> None:
    assert decoded(stream({"type": "debug"}, message_end("COMPLETE")), []) == [
        Started(),
        ChoiceEnded(0, "stop"),
        Finished(),
    ]


@pytest.mark.parametrize(
    "body",
    [b"data: nonsense\n\n", b'data: {"type": 5}\n\n', b"data: [1]\n\n", stream(START, call_delta(0, "{"))],
)
def test_bytes_that_are_not_cohere(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"event|call"):
        CohereDecoder().feed(body)


def test_usage() -> None:
    """Billed units stand in where tokens are missing; doubles are counts too."""
    billed = WireUsage(billed_units=WireTokens(3.0, 2.0), cached_tokens=9)

    assert parse_usage(billed) == Usage(3, 2, cached_tokens=3)
    assert parse_usage(WireUsage(tokens=WireTokens(3, -1))) is None
    assert parse_usage(WireUsage(tokens=WireTokens(3))) is None
    assert parse_usage(None) is None


@pytest.mark.parametrize(
    ("status", "document", "code"),
    [
        (400, {"message": "m", "error_type": "TOO_MANY_TOKENS"}, "context_length_exceeded"),
        (400, {"message": "m"}, "invalid_request"),
        (401, {"message": "m"}, "authentication"),
        (402, {"message": "m"}, "quota"),
        (404, {"message": "m"}, "not_found"),
        (422, {"message": "m"}, "invalid_request"),
        (429, {"message": "m"}, "rate_limit"),
        (498, {"message": "m"}, "authentication"),
        (499, {"message": "m"}, "server"),
        (500, None, "server"),
        (503, [], "overloaded"),
    ],
)
def test_failures(status: int, document: object, code: str) -> None:
    failure = failure_of(document, status)

    assert (failure.code, failure.status) == (code, status)
    assert failure.message == ("m" if document else f"the provider answered with status {status}")
