"""Streams of responses are read whole, however they are cut and whatever they leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS
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
from llmgw.dialects.base import CONTEXT_LENGTH, OVERLOADED, RATE_LIMIT, SERVER
from llmgw.dialects.openai_responses import DIALECT
from llmgw.dialects.openai_responses_signatures import pack
from tests.dialects.conversations import decoded, three_ways
from tests.dialects.recordings import gather

Json = dict[str, Any]

USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 17,
}


def sse(*events: Json, end: str = "\n") -> bytes:
    lines = [f"event: {event['type']}{end}data: {json.dumps(event)}{end}{end}" for event in events]
    return "".join(lines).encode()


def created() -> Json:
    return {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 5}}


def completed(**more: Any) -> Json:
    return {
        "type": "response.completed",
        "response": {"id": "resp_1", "model": "m", "status": "completed", "usage": USAGE, **more},
    }


def added(index: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Json) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def text(index: int, delta: str, content: int = 0) -> Json:
    return {
        "type": "response.output_text.delta",
        "output_index": index,
        "content_index": content,
        "item_id": f"msg_{index}",
        "delta": delta,
    }


def args(index: int, delta: str) -> Json:
    return {"type": "response.function_call_arguments.delta", "output_index": index, "delta": delta}


def call(number: int, arguments: str = "") -> Json:
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"c{number}",
        "name": f"f{number}",
        "arguments": arguments,
    }


def message(*texts: str) -> Json:
    content = [{"type": "output_text", "text": each, "annotations": []} for each in texts]
    return {"type": "message", "id": "msg_0", "role": "assistant", "content": content}


RICH = (
    created(),
    {"type": "response.in_progress", "response": {"id": "resp_1"}},
    added(0, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "not yet"}),
    {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "one"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "tw"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "o"},
    done(
        0,
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
            "encrypted_content": "gAAA",
        },
    ),
    {"type": "response.from_the_future", "delta": {"a": 1}, "item": None},
    added(1, {"type": "message", "id": "msg_1", "role": "assistant", "content": []}),
    text(1, "Hé"),
    text(1, "llo 🌍"),
    {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Héllo 🌍"},
    {"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "delta": "no"},
    {"type": "response.refusal.done", "output_index": 1, "content_index": 1, "refusal": "no"},
    done(
        1,
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "Héllo 🌍"}, {"type": "refusal", "refusal": "no"}],
        },
    ),
    added(2, call(2)),
    args(2, '{"a"'),
    args(2, ": 1}"),
    {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"a": 1}'},
    done(2, call(2, '{"a": 1}')),
    added(3, call(3)),
    done(3, call(3, "{}")),
    completed(),
)
RICH_EVENTS: list[ChatEvent] = [
    Started("resp_1", "m", 5),
    PartStarted(0, 0, THINKING),
    Delta(0, 0, "one"),
    Delta(0, 0, "\n\ntw"),
    Delta(0, 0, "o"),
    Signed(0, 0, pack("rs_1", "gAAA")),
    PartEnded(0, 0),
    PartStarted(0, 1, TEXT),
    Delta(0, 1, "Hé"),
    Delta(0, 1, "llo 🌍"),
    PartEnded(0, 1),
    PartStarted(0, 2, REFUSED),
    Delta(0, 2, "no"),
    PartEnded(0, 2),
    PartStarted(0, 3, TOOL_CALL, "c2", "f2"),
    Delta(0, 3, '{"a"'),
    Delta(0, 3, ": 1}"),
    PartEnded(0, 3),
    PartStarted(0, 4, TOOL_CALL, "c3", "f3"),
    Delta(0, 4, "{}"),
    PartEnded(0, 4),
    ChoiceEnded(0, TOOL_CALLS),
    Counted(Usage(10, 7, 4, 0, 2)),
    Finished(),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_rich_stream(end: str) -> None:
    """Text, thoughts, a refusal and calls, with every line end and cut anywhere."""
    for events in three_ways(DIALECT, sse(*RICH, end=end)):
        assert events == RICH_EVENTS


def test_comments_and_terminators_of_others_are_passed_over() -> None:
    body = b": ping\n\n" + sse(*RICH[:12]) + b"event: ping\ndata:\n\n" + sse(*RICH[12:]) + b"data: [DONE]\n\n"

    for events in three_ways(DIALECT, body):
        assert events == RICH_EVENTS


def test_the_type_may_stand_in_the_event_name_only() -> None:
    body = b""
    for event in RICH:
        data = {name: value for name, value in event.items() if name != "type"}
        body += f"event: {event['type']}\ndata: {json.dumps(data)}\n\n".encode()

    assert decoded(DIALECT, body, []) == RICH_EVENTS


def test_indices_and_opening_events_may_be_missing() -> None:
    """Without them what belongs together is told by the item, or by the order."""
    bare = [
        {name: value for name, value in event.items() if name not in ("output_index", "item_id")}
        for event in RICH[2:]
    ]

    events = decoded(DIALECT, sse(*bare), [])

    assert events[0] == Started()
    got = gather(events)
    assert (got.text, got.reasoning, got.refusal) == ("Héllo 🌍", "one\n\ntwo", "no")
    assert got.calls == [("c2", "f2", '{"a": 1}'), ("c3", "f3", "{}")]


def test_items_may_be_told_by_their_ids() -> None:
    events = decoded(
        DIALECT,
        sse(
            {"type": "response.output_item.added", "item": call(1)},
            {"type": "response.output_item.added", "item": call(2)},
            {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a":1}'},
            {"type": "response.function_call_arguments.delta", "item_id": "fc_2", "delta": '{"b":2}'},
            {"type": "response.output_item.done", "item": call(2, '{"b":2}')},
            {"type": "response.output_item.done", "item": call(1, '{"a":1}')},
            completed(),
        ),
        [],
    )

    assert gather(events).calls == [("c1", "f1", '{"a":1}'), ("c2", "f2", '{"b":2}')]


@pytest.mark.parametrize(
    "events",
    [
        [text(0, "hello")],
        [text(0, "hel"), {"type": "response.output_text.done", "output_index": 0, "text": "hello"}],
        [{"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "hello"}],
        [
            {
                "type": "response.content_part.done",
                "output_index": 0,
                "part": {"type": "output_text", "text": "hello"},
            }
        ],
        [done(0, message("hello"))],
        [text(0, "hello", content=1), done(0, message("hello"))],
        [text(0, "he"), done(0, message("hello")), done(0, message("hello"))],
        [],
    ],
)
def test_a_text_is_given_once_whichever_events_tell_it(events: list[Json]) -> None:
    """Even when only the last event has it."""
    last = completed() if events else completed(output=[message("hello"), call(1, "{}")])

    got = gather(decoded(DIALECT, sse(*events, last), []))

    assert got.text == "hello"
    assert got.stop == (STOP if events else TOOL_CALLS)
    assert got.finished


def test_a_call_is_told_by_its_last_event_alone() -> None:
    """A delta that comes before the call's name waits for it."""
    got = gather(decoded(DIALECT, sse(args(0, '{"a"'), done(0, call(0, '{"a":1}')), completed()), []))

    assert got.calls == [("c0", "f0", '{"a":1}')]


def test_text_within_a_call_waits_for_its_end() -> None:
    events = decoded(
        DIALECT,
        sse(
            added(0, call(0)),
            args(0, '{"a"'),
            text(1, "between"),
            args(0, ":1}"),
            done(1, message("between")),
            done(0, call(0, '{"a":1}')),
            text(2, "after"),
            completed(),
        ),
        [],
    )

    got = gather(events)
    assert got.calls == [("c0", "f0", '{"a":1}')]
    assert got.text == "betweenafter"


@pytest.mark.parametrize("count", [1, 1500])
def test_a_call_without_an_end_does_not_hold_up_the_rest_for_ever(count: int) -> None:
    events = decoded(
        DIALECT,
        sse(added(0, call(0)), args(0, "{}"), *[text(1, "x") for _ in range(count)], completed()),
        [],
    )

    got = gather(events)
    assert got.calls == [("c0", "f0", "{}")]
    assert got.text == "x" * count


def test_interleaved_texts_are_parts_of_their_own() -> None:
    got = gather(decoded(DIALECT, sse(text(0, "a"), text(1, "b"), text(0, "c"), completed()), []))

    assert got.text == "abc"


def test_thoughts_without_text_are_given_in_encrypted_form() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    events = decoded(DIALECT, sse(created(), added(0, item), done(0, item), completed()), [])

    assert events[1:4] == [
        PartStarted(0, 0, THINKING),
        Signed(0, 0, None, pack("rs_1", "gAAA")),
        PartEnded(0, 0),
    ]


def test_a_reasoning_item_that_holds_nothing_is_no_part() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    events = decoded(DIALECT, sse(created(), added(0, item), done(0, item), completed()), [])

    assert not any(isinstance(event, PartStarted) for event in events)


@pytest.mark.parametrize(
    ("reason", "stop"), [("max_output_tokens", LENGTH), ("content_filter", CONTENT_FILTER), (None, LENGTH)]
)
def test_an_incomplete_response(reason: str | None, stop: str) -> None:
    last = completed(status="incomplete", incomplete_details={"reason": reason})
    last["type"] = "response.incomplete"

    got = gather(decoded(DIALECT, sse(text(0, "a"), last), []))

    assert (got.stop, got.finished) == (stop, True)
    assert got.usage == Usage(10, 7, 4, 0, 2)


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        (
            {
                "type": "response.failed",
                "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}, "usage": USAGE},
            },
            Failed(RATE_LIMIT, "slow"),
        ),
        ({"type": "error", "code": "server_error", "message": "boom", "param": None}, Failed(SERVER, "boom")),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
            Failed(OVERLOADED, "busy"),
        ),
        (
            {"error": {"code": "context_length_exceeded", "message": "long"}, "type": None},
            Failed(CONTEXT_LENGTH, "long"),
        ),
    ],
)
def test_an_error_within_the_stream(event: Json, failed: Failed) -> None:
    """In OpenAI's shapes, flat and nested, or Anthropic's. Nothing follows it."""
    events = decoded(DIALECT, sse(created(), text(0, "a"), event, completed()), [])

    assert events[-1] == failed
    assert not gather(events).finished


def test_a_stream_that_is_cut_is_not_finished() -> None:
    body = sse(*RICH[:-1])

    for end in (b"", b"data: [DONE]\n\n", b'data: {"type":"response.comp'):
        assert not any(isinstance(event, Finished) for event in decoded(DIALECT, body + end, []))


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert decoded(DIALECT, sse(*RICH).rstrip(b"\n"), []) == RICH_EVENTS


@pytest.mark.parametrize("body", [b"data: <html>\n\n", b"data: [1]\n\n", b'data: {"output_index":"x"}\n\n'])
def test_bytes_that_cannot_be_are_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="responses API"):
        DIALECT.decoder().feed(body)


def test_an_event_beyond_the_cap_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        DIALECT.decoder().feed(b"data: " + b"x" * 2**20)


def test_calls_that_only_the_end_tells_are_not_lost() -> None:
    output = [message("hi"), call(1, "{}"), call(2, '{"a":1}')]
    body = sse(created(), text(0, "hi"), completed(output=output))

    events = decoded(DIALECT, body, [])
    assert [event.text for event in events if isinstance(event, Delta)] == ["hi", "{}", '{"a":1}']
    begun = [event.call_id for event in events if isinstance(event, PartStarted) and event.call_id]
    assert begun == [call(1)["call_id"], call(2)["call_id"]]
    assert ChoiceEnded(0, TOOL_CALLS) in events


def test_calls_that_were_told_are_not_told_again_under_other_ids() -> None:
    again = {**call(1, "{}"), "call_id": "another", "id": "fc_another"}
    events = decoded(DIALECT, sse(created(), done(0, call(1, "{}")), completed(output=[again])), [])

    assert len([event for event in events if isinstance(event, PartStarted)]) == 1
