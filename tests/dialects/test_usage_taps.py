from __future__ import annotations

import json
import random

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects import openai_chat_usage
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.dialects.usage_taps import BodyTap, StreamTap, WireUsage, parse_usage

CHAT = ENDPOINTS["/v1/chat/completions"]
RESPONSES = ENDPOINTS["/v1/responses"]


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def chunk(text: str | None = None, finish: str | None = None, **more: object) -> bytes:
    return event(
        {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}
    )


USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 4,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
EXPECTED = Usage(10, 4, 8, 0, 3)
STREAM = [
    chunk("Hé", usage=None),
    chunk("llo", usage=None),
    chunk(finish="stop", usage=None),
    event({"id": "c1", "choices": [], "usage": USAGE}),
    event(b"[DONE]"),
]


def cuts(data: bytes, how: str) -> list[bytes]:
    if how == "events":
        return [part + b"\n\n" for part in data.split(b"\n\n")[:-1]]
    if how == "whole":
        return [data]
    if how == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    rng = random.Random(how)
    places = sorted(rng.sample(range(1, len(data)), 12))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("how", ["events", "whole", "bytes", "seed 1", "seed 2", "seed 3"])
@pytest.mark.parametrize("hide", [True, False])
def test_k01_stream_passes_untouched_but_for_the_hidden_usage_event(how: str, hide: bool) -> None:
    """However the bytes are cut, the client gets them all, less the event that only has usage."""
    tap = StreamTap(CHAT, hide)

    out = b"".join(tap.feed(part) for part in cuts(b"".join(STREAM), how)) + tap.rest()

    assert out == b"".join(STREAM[:3] + STREAM[4:] if hide else STREAM)
    assert tap.usage == EXPECTED
    assert tap.done
    assert not tap.failed
    assert tap.delivered_text() == "Héllo"


def test_usage_on_a_content_event_stays() -> None:
    last = chunk("x", "stop", usage=USAGE)
    tap = StreamTap(CHAT, True)

    assert tap.feed(last) == last
    assert tap.usage == EXPECTED


def test_hidden_usage_event_shares_a_chunk_with_others() -> None:
    tap = StreamTap(CHAT, True)

    assert tap.feed(b"".join(STREAM)) == b"".join(STREAM[:3] + STREAM[4:])


def test_g05_a_stream_without_usage_leaves_its_text() -> None:
    """What was delivered can be counted: text, reasoning, refusals and tool calls."""
    call = {"function": {"name": "f", "arguments": '{"a":'}}
    tap = StreamTap(CHAT, True)
    for part in (
        event({"choices": [{"delta": {"role": "assistant", "reasoning_content": "hm "}}]}),
        event({"choices": [{"delta": {"tool_calls": [call]}}]}),
        event({"choices": [{"delta": {"content": "y" * 3000}}]}),
        event({"choices": [{"delta": {"content": "z" * 3000}}]}),
        event({"choices": [{"delta": {"content": "!"}}]}),
    ):
        tap.feed(part)

    assert tap.usage is None
    assert tap.delivered_text() == 'hm f{"a":' + "y" * 3000 + "z" * 3000 + "!"
    assert not tap.done


@pytest.mark.parametrize("ending", [event(b"[DONE]"), chunk(finish="stop"), chunk(finish="length")])
def test_j21_a_stream_is_done_when_it_says_so(ending: bytes) -> None:
    tap = StreamTap(CHAT, False)
    tap.feed(chunk("a"))
    assert not tap.done

    tap.feed(ending)

    assert tap.done


def test_an_error_event_is_seen() -> None:
    tap = StreamTap(CHAT, False)
    broken = event({"error": {"message": "overloaded", "code": "x"}})

    assert tap.feed(broken) == broken
    assert tap.failed
    assert not tap.done


def test_text_that_mentions_usage_is_only_text() -> None:
    tap = StreamTap(CHAT, True)
    tricky = chunk('say "usage": {"prompt_tokens": 5}')

    assert tap.feed(tricky) == tricky
    assert tap.usage is None


def test_responses_stream_ends_with_the_whole_response() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 4,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    tap = StreamTap(RESPONSES, False)
    tap.feed(
        b"event: response.output_text.delta\n" + event({"type": "response.output_text.delta", "delta": "hi"})
    )
    assert not tap.done

    tap.feed(event({"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}))

    assert tap.usage == EXPECTED
    assert tap.upstream_id == "resp_1"
    assert tap.done
    assert tap.delivered_text() == "hi"


def test_an_event_over_the_cap_is_refused() -> None:
    tap = StreamTap(CHAT, True)
    for _ in range(16):
        tap.feed(b"x" * 65536)

    with pytest.raises(ValueError, match="long"):
        tap.feed(b"x")


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (None, None),
        (WireUsage(), None),
        (WireUsage(prompt_tokens="5", completion_tokens=None), None),
        (WireUsage(prompt_tokens=0, completion_tokens=0), Usage(0, 0)),
        (WireUsage(prompt_tokens=-5, completion_tokens=3), None),
        (WireUsage(prompt_tokens=5, completion_tokens=10**12), None),
        (WireUsage(prompt_tokens=3), Usage(3, 0)),
        (WireUsage(input_tokens=3, output_tokens=True), None),
        (WireUsage(prompt_tokens=3, completion_tokens="5"), None),
        (WireUsage(prompt_tokens=3, completion_tokens=5.5), None),
        (WireUsage(prompt_tokens=3.0, completion_tokens=5.0), Usage(3, 5)),
        (WireUsage(prompt_tokens=3, completion_tokens=float("inf")), None),
        (WireUsage(completion_tokens=5), None),
    ],
)
def test_g19_counts_that_cannot_be_tell_nothing(wire: WireUsage | None, expected: Usage | None) -> None:
    assert parse_usage(wire) == expected


@pytest.mark.parametrize("usage", [{"prompt_tokens": 9}, {"prompt_tokens": 9, "completion_tokens": None}])
def test_g05_an_answer_is_not_free_because_only_its_prompt_was_counted(usage: dict[str, object]) -> None:
    body = json.dumps({"id": "x", "choices": [{"message": {"content": "hello"}}], "usage": usage}).encode()
    assert BodyTap(body).usage is None
    assert BodyTap(body.replace(b"hello", b"")).usage == Usage(9, 0)

    tap = StreamTap(CHAT, True)
    shown = tap.feed(
        chunk("hello") + b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    )
    assert tap.usage is None
    assert b"usage" not in shown


@pytest.mark.parametrize("details", [[], "none", 3, False])
def test_odd_details_cost_neither_the_answer_nor_its_counts(details: object) -> None:
    """PHP writes an empty object as []."""
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    tap = BodyTap(json.dumps({"id": "x", "choices": [], "usage": usage}).encode())
    assert (tap.usage, tap.upstream_id) == (Usage(9, 2, reasoning_tokens=1), "x")

    stream = StreamTap(CHAT, True)
    event = {"choices": [{"delta": {"content": "hello"}}], "usage": usage}
    stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert stream.usage == Usage(9, 2, reasoning_tokens=1)
    assert stream.delivered_text() == "hello"


def test_body() -> None:
    tap = BodyTap(
        json.dumps({"id": "x", "choices": [{"message": {"content": "héllo"}}], "usage": USAGE}).encode()
    )

    assert tap.usage == EXPECTED
    assert tap.upstream_id == "x"
    assert tap.delivered_text() == "héllo"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id":', b"[]", b'{"usage":[]}', b"\xff"])
def test_j13_a_body_that_is_not_the_promised_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        BodyTap(body)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 12,
                "completion_tokens": 2,
                "total_tokens": 334,
                "completion_tokens_details": {"reasoning_tokens": 320},
            },
            Usage(12, 322, reasoning_tokens=320),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4}, Usage(9, 1, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4}, Usage(9, 1, 4)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "reasoning_tokens": 4},
            Usage(9, 5, reasoning_tokens=4),
        ),
        (
            {"prompt_tokens": 9.0, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4.0}},
            Usage(9, 5, 4),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
            },
            Usage(9, 1, 2, 3),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 20},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(9, 5, 9, 0, 4),
        ),
    ],
)
def test_g22_g23_services_count_differently(usage: dict[str, object], expected: Usage) -> None:
    """And are read alike, whether their answer goes on as it came or is translated."""
    tap = BodyTap(json.dumps({"id": "x", "choices": [], "usage": usage}).encode())

    assert tap.usage == expected
    assert openai_chat_usage.parse_usage(usage) == expected
