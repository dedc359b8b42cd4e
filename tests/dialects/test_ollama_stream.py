"""Streams of Ollama's API, read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import LENGTH, STOP, TOOL_CALLS, ChatAnswer, ChatRequest, ToolCall
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
from llmgw.dialects.base import RATE_LIMIT, SERVER
from llmgw.dialects.ollama import DIALECT, GENERATE
from tests.dialects.conversations import answers, decoded, encoded, stream_of, three_ways
from tests.dialects.recordings import gather, of_answer

Json = dict[str, Any]

AT = "2026-08-07T06:08:14.947137123Z"


def line(done: bool = False, **message: Any) -> Json:
    return {"model": "m", "created_at": AT, "message": {"role": "assistant", **message}, "done": done}


def ndjson(*lines: Json, end: str = "\n") -> bytes:
    return "".join(json.dumps(each, ensure_ascii=False) + end for each in lines).encode()


LAST = {
    **line(True, content=""),
    "done_reason": "stop",
    "prompt_eval_count": 10,
    "eval_count": 7,
    "total_duration": 5,
}
RICH = (
    line(content="", thinking="hm"),
    line(content="", thinking="m"),
    line(content="Hé"),
    line(content="llo 🌍"),
    line(
        content="",
        tool_calls=[
            {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0}}},
            {"function": {"name": "g", "arguments": {}}},
        ],
    ),
    LAST,
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_rich_stream(end: str) -> None:
    for events in three_ways(DIALECT, ndjson(*RICH, end=end)):
        made = next(e.call_id for e in events if isinstance(e, PartStarted) and e.name == "g")
        assert made is not None
        assert made.startswith("call_")
        assert events == [
            Started("", "m", 1786082894),
            PartStarted(0, 0, THINKING),
            Delta(0, 0, "hm"),
            Delta(0, 0, "m"),
            PartEnded(0, 0),
            PartStarted(0, 1, TEXT),
            Delta(0, 1, "Hé"),
            Delta(0, 1, "llo 🌍"),
            PartEnded(0, 1),
            PartStarted(0, 2, TOOL_CALL, "c1", "f"),
            Delta(0, 2, '{"a": 1.0}'),
            PartEnded(0, 2),
            PartStarted(0, 3, TOOL_CALL, made, "g"),
            Delta(0, 3, "{}"),
            PartEnded(0, 3),
            ChoiceEnded(0, TOOL_CALLS),
            Counted(Usage(10, 7)),
            Finished(),
        ]


def test_generate_streams_are_read_too() -> None:
    body = ndjson(
        {"model": "m", "thinking": "hm", "response": "", "done": False},
        {"model": "m", "response": "hi", "done": False},
        {"model": "m", "response": "", "done": True, "done_reason": "length"},
    )

    got = gather(decoded(GENERATE, body, []))

    assert (got.reasoning, got.text, got.stop, got.usage) == ("hm", "hi", LENGTH, None)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": 10, "eval_count": 7}, Usage(10, 7)),
        ({"prompt_eval_count": 10}, Usage(10, 0)),
        ({"eval_count": 7}, None),
        ({}, None),
        ({"prompt_eval_count": -1, "eval_count": 7}, None),
        ({"prompt_eval_count": 10**12, "eval_count": 7}, None),
        ({"prompt_eval_count": "10", "eval_count": 7}, None),
    ],
)
def test_counts(counts: Json, usage: Usage | None) -> None:
    """A zero is left out by Ollama; a prompt that was cached may be, too, and is then unreported."""
    assert gather(decoded(DIALECT, ndjson({**line(True, content="x"), **counts}), [])).usage == usage


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        ("model runner has stopped", Failed(SERVER, "model runner has stopped")),
        ({"message": "slow", "type": "rate_limit_error"}, Failed(RATE_LIMIT, "slow")),
    ],
)
def test_an_error_within_the_stream(error: object, failed: Failed) -> None:
    events = decoded(DIALECT, ndjson(RICH[2], {"error": error}, LAST), [])

    assert events[-2:] == [PartEnded(0, 0), failed]


def test_a_stream_that_is_cut_is_not_finished() -> None:
    for end in (b"", b'{"model":"m","done":tr'):
        events = decoded(DIALECT, ndjson(*RICH[:-1]) + end, [])
        assert not any(isinstance(event, Finished) for event in events)


def test_the_last_line_may_lack_its_end() -> None:
    assert gather(decoded(DIALECT, ndjson(*RICH).rstrip(), [])).finished


@pytest.mark.parametrize("body", [b"<html>\n", b"[1]\n", b'{"message":3}\n', b'{"model":"\xff"}\n'])
def test_bytes_that_cannot_be_are_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="Ollama"):
        DIALECT.decoder().feed(body)


def test_a_line_beyond_the_cap_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        DIALECT.decoder().feed(b"x" * (2**20 + 1))


def test_a_line_without_a_time_has_none() -> None:
    assert decoded(DIALECT, b'{"model":"m","created_at":"soon"}\n', []) == [Started("", "m", None)]


@given(answers(), st.integers(1, 30))
def test_a_stream_comes_back(answer: ChatAnswer, cut: int) -> None:
    got = gather(decoded(DIALECT, encoded(DIALECT, stream_of(answer, cut)), []))

    want = of_answer(answer)
    if answer.usage is not None:
        want.usage = Usage(answer.usage.input_tokens, answer.usage.output_tokens)
    assert got == want


def test_how_a_stream_is_written() -> None:
    """A call is one line, once its arguments are whole."""
    body = encoded(
        DIALECT,
        [
            Started("id", "upstream", 5),
            PartStarted(0, 0, THINKING),
            Delta(0, 0, "hm"),
            Signed(0, 0, "sig"),
            PartEnded(0, 0),
            PartStarted(0, 1, REFUSED),
            Delta(0, 1, "no"),
            PartEnded(0, 1),
            PartStarted(0, 2, TOOL_CALL, "c1", "f"),
            PartStarted(0, 3, TOOL_CALL, "c2", "g"),
            Delta(0, 2, '{"a"'),
            Delta(0, 2, ": 1.0}"),
            PartEnded(0, 2),
            ChoiceEnded(0, LENGTH),
            Counted(Usage(10, 7, 4)),
            Finished(),
        ],
        "public",
    )

    at = "1970-01-01T00:00:05.000000Z"
    head = {"model": "public", "created_at": at}
    assert b'{"a": 1.0}' in body
    assert [json.loads(each) for each in body.splitlines()] == [
        {**head, "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {**head, "message": {"role": "assistant", "content": "no"}, "done": False},
        {
            **head,
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0}}}],
            },
            "done": False,
        },
        {
            **head,
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}}],
            },
            "done": False,
        },
        {
            **head,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "length",
            "prompt_eval_count": 10,
            "eval_count": 7,
        },
    ]


def test_generate_has_no_calls() -> None:
    events: list[ChatEvent] = [
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm"),
        Delta(0, 1, "hi"),
        Delta(1, 0, "another choice"),
        PartStarted(0, 2, TOOL_CALL, "c1", "f"),
        Finished(),
        Delta(0, 1, "late"),
    ]
    lines = [json.loads(each) for each in encoded(GENERATE, events).splitlines()]

    assert [(each["response"], each.get("thinking"), each["done"]) for each in lines] == [
        ("", "hm", False),
        ("hi", None, False),
        ("", None, True),
    ]
    assert lines[-1]["done_reason"] == STOP


@pytest.mark.parametrize("ended", [True, False])
def test_arguments_that_are_no_object_end_the_stream_with_an_error(ended: bool) -> None:
    """They cannot be said here, and to leave the call out would be a lie."""
    end: list[ChatEvent] = [PartEnded(0, 0)] if ended else []
    body = encoded(DIALECT, [PartStarted(0, 0, TOOL_CALL, "c1", "f"), Delta(0, 0, '{"a'), *end, Finished()])

    (error,) = [json.loads(each) for each in body.splitlines()]
    assert "c1" in error["error"]


def test_a_stream_that_breaks_says_so_and_nothing_else() -> None:
    encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "m", False)
    encoder.feed(Delta(0, 0, "a"))

    assert encoder.fail(UpstreamBroken("cut\n")) == b'{"error":"cut\\n"}\n'
    assert encoder.feed(Finished()) == b""
    assert encoder.fail(UpstreamBroken("again")) == b""


def test_an_error_of_the_upstream_is_passed_on() -> None:
    assert encoded(DIALECT, [Failed(SERVER, "boom"), Finished()]) == b'{"error":"boom"}\n'


def test_calls_of_different_answers_have_different_ids() -> None:
    """Where the provider gives none, a client would mix up those of two turns."""
    call = {"function": {"name": "f", "arguments": {}}}
    first = line(content="", tool_calls=[call, call])
    second = {**first, "created_at": "2026-08-07T06:08:15Z"}

    ids = [
        part.id
        for each in (first, second)
        for part in DIALECT.parse_answer(json.dumps(each).encode()).choices[0].parts
        if isinstance(part, ToolCall)
    ]
    assert len(set(ids)) == 4
