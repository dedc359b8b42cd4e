"""Streams of responses are well-formed, whatever they are made from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from llmgw.core.chat import LENGTH, REFUSAL, ChatAnswer, ChatRequest
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
from llmgw.dialects.base import OVERLOADED, QUOTA
from llmgw.dialects.openai_responses import DIALECT
from llmgw.dialects.openai_responses_signatures import CALL, REDACTED, SIGNED, pack, wrap
from tests.dialects.conversations import answers, decoded, encoded, stream_of
from tests.dialects.recordings import gather

Json = dict[str, Any]

SDK: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
END = ("response.completed", "response.incomplete", "response.failed")


def read(body: bytes) -> list[Json]:
    """The events, each checked against the SDK's own types."""
    events = []
    for block in body.split(b"\n\n")[:-1]:
        name, data = block.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert SDK.validate_python(event).type == event["type"]
        events.append(event)
    return events


def check(events: list[Json]) -> Json:
    """Fails unless the stream is whole. Returns the response at its end."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] in END
    open_items: dict[int, str] = {}
    open_parts: dict[tuple[int, int], str] = {}
    done: dict[int, Json] = {}
    seen = 0
    for event in events[2:-1]:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] == seen
            seen += 1
            open_items[event["output_index"]] = event["item"]["id"]
        elif kind == "response.output_item.done":
            assert open_items.pop(event["output_index"]) == event["item"]["id"]
            done[event["output_index"]] = event["item"]
        else:
            assert event["item_id"] == open_items[event["output_index"]]
            where = (event["output_index"], event.get("content_index", event.get("summary_index", -1)))
            if kind.endswith("part.added"):
                assert where not in open_parts
                open_parts[where] = ""
            elif kind.endswith(".delta"):
                open_parts[where] = open_parts.get(where, "") + event["delta"]
            elif kind.endswith("part.done"):
                part = event["part"]
                assert open_parts.pop(where) == part.get("text", part.get("refusal"))
            elif kind == "response.function_call_arguments.done":
                assert open_parts.pop(where) == event["arguments"]
    assert not open_items
    assert not open_parts
    response: Json = events[-1]["response"]
    assert response["output"] == [done[index] for index in range(seen)]
    return response


@given(answers(), st.integers(1, 30))
def test_a_stream_is_whole_and_comes_back(answer: ChatAnswer, cut: int) -> None:
    events = stream_of(answer, cut)

    body = encoded(DIALECT, events)

    response = check(read(body))
    assert response["id"] == "resp_abc"
    assert decoded(DIALECT, body, []) == events


def test_a_rich_stream() -> None:
    """Thoughts, a message of text and refusal, interleaved calls, and every signature."""
    body = encoded(
        DIALECT,
        [
            Started("resp_1", "upstream-model", 5),
            PartStarted(0, 0, THINKING),
            Delta(0, 0, "hm"),
            Signed(0, 0, "EqQB"),
            PartEnded(0, 0),
            PartStarted(0, 1, THINKING),
            Signed(0, 1, None, "Eabc"),
            PartEnded(0, 1),
            PartStarted(0, 2, TEXT),
            Delta(0, 2, "a\n"),
            PartEnded(0, 2),
            PartStarted(0, 3, REFUSED),
            Delta(0, 3, "no"),
            PartEnded(0, 3),
            PartStarted(0, 4, TOOL_CALL, "c1", "f"),
            PartStarted(0, 5, TOOL_CALL, "c2", "g"),
            Delta(0, 4, '{"a"'),
            Signed(0, 5, "thought"),
            Delta(0, 4, ":1}"),
            PartEnded(0, 5),
            PartEnded(0, 4),
            Signed(0, 4, "late"),
            ChoiceEnded(0, "tool_calls"),
            Counted(Usage(10, 5, 3, 1, 2)),
            Finished(),
        ],
        "public",
    )

    response = check(read(body))
    assert response["model"] == "public"
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}
    assert [
        (item["type"], item.get("encrypted_content"), item.get("arguments")) for item in response["output"]
    ] == [
        ("reasoning", wrap(SIGNED, "EqQB"), None),
        ("reasoning", wrap(REDACTED, "Eabc"), None),
        ("message", None, None),
        ("function_call", None, '{"a":1}'),
        ("function_call", None, "{}"),
        ("reasoning", wrap(CALL, "thought", "c2"), None),
        ("reasoning", wrap(CALL, "late", "c1"), None),
    ]
    assert [part["type"] for part in response["output"][2]["content"]] == ["output_text", "refusal"]


def test_a_thought_of_this_api_is_wrapped_with_its_id() -> None:
    """The item has an id of ours by then, and the content is only valid with its own."""
    token = pack("rs_upstream", "gAAA")
    body = encoded(DIALECT, [PartStarted(0, 0, THINKING), Delta(0, 0, "hm"), Signed(0, 0, token), Finished()])

    assert check(read(body))["output"][0]["encrypted_content"] == wrap(SIGNED, token)


EVENTS = st.one_of(
    st.builds(Started, st.sampled_from(["", "resp_2"])),
    st.builds(
        PartStarted,
        st.sampled_from([0, 0, 0, 1]),
        st.integers(0, 3),
        st.sampled_from([TEXT, THINKING, TOOL_CALL, REFUSED]),
        st.sampled_from([None, "c1"]),
        st.sampled_from([None, "f"]),
    ),
    st.builds(
        Delta, st.sampled_from([0, 0, 0, 1]), st.integers(0, 3), st.sampled_from(["", "x", "\r\n\n", "é"])
    ),
    st.builds(
        Signed, st.just(0), st.integers(0, 3), st.sampled_from([None, "s"]), st.sampled_from([None, "r"])
    ),
    st.builds(PartEnded, st.sampled_from([0, 0, 0, 1]), st.integers(0, 3)),
    st.builds(ChoiceEnded, st.just(0), st.sampled_from(["stop", LENGTH])),
    st.builds(Counted, st.just(Usage(1, 1))),
)


@given(st.lists(EVENTS, max_size=25))
def test_any_order_of_events_makes_a_whole_stream(events: list[ChatEvent]) -> None:
    """Openings that are missing, parts that are not ended, ends that come twice."""
    response = check(read(encoded(DIALECT, [*events, Finished(), Finished(), Delta(0, 0, "late")])))

    assert response["status"] in ("completed", "incomplete")


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (ChoiceEnded(0, "stop"), "completed", None),
        (ChoiceEnded(0, LENGTH), "incomplete", "max_output_tokens"),
        (ChoiceEnded(0, REFUSAL), "incomplete", "content_filter"),
    ],
)
def test_how_an_end_is_told(end: ChoiceEnded, status: str, reason: str | None) -> None:
    events = read(encoded(DIALECT, [Delta(0, 0, "a"), end, Finished()]))

    response = check(events)
    assert (response["status"], events[-1]["type"]) == (status, f"response.{status}")
    assert response["output"][0]["status"] == status
    assert (response["incomplete_details"] or {}).get("reason") == reason
    assert response["usage"] is None


def test_the_request_is_told_in_the_response() -> None:
    request = ChatRequest(model="m", messages=(), max_output=9, temperature=0.5, parallel_tools=False)
    encoder = DIALECT.encoder(request, "m", False)

    response = read(encoder.feed(Started("resp_1")))[0]["response"]

    assert (response["max_output_tokens"], response["temperature"]) == (9, 0.5)
    assert response["parallel_tool_calls"] is False


def test_a_stream_that_breaks_says_so_and_nothing_else() -> None:
    """The error is flat as in the reference, and nested as SDKs raise it. Line ends stay inside."""
    encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "m", False)
    body = encoder.feed(Delta(0, 0, "a")) + encoder.fail(UpstreamBroken("cut\n\ndata: {}"))

    *_, error, last = read(body)

    assert error["type"] == "error"
    assert error["message"] == error["error"]["message"] == "cut\n\ndata: {}"
    assert error["error"]["type"] == "server_error"
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"
    assert encoder.feed(Finished()) == b""
    assert encoder.fail(UpstreamBroken("again")) == b""
    assert not gather(decoded(DIALECT, body, [])).finished


@pytest.mark.parametrize(
    ("failed", "code", "short"),
    [
        (Failed(OVERLOADED, "busy"), "overloaded", "server_error"),
        (Failed(QUOTA, "empty"), "insufficient_quota", "rate_limit_exceeded"),
    ],
)
def test_an_error_of_the_upstream_is_passed_on(failed: Failed, code: str, short: str) -> None:
    *_, error, last = read(encoded(DIALECT, [Started("resp_1"), failed]))

    assert (error["code"], error["message"]) == (code, failed.message)
    assert last["response"]["error"]["code"] == short


def test_a_limit_within_the_stream_is_a_rate_limit() -> None:
    encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "m", False)

    *_, error, last = read(encoder.fail(LimitExceeded("slow", retry_after_s=3)))

    assert error["error"]["type"] == "rate_limit_error"
    assert last["response"]["error"]["code"] == "rate_limit_exceeded"
