"""Streams of one dialect on both sides whose opening event is missing."""

from __future__ import annotations

import json
import random

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.dialects import anthropic, openai_responses
from llmgw.dialects.base import Dialect
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS, MESSAGES
from llmgw.dialects.opened import OpenedTap, is_opened
from llmgw.dialects.taps import stream_tap
from llmgw.dialects.translation import TranslatedStream
from llmgw.wire.sse import MAX_PENDING, SseSplitter, event_data
from tests.dialects.recordings import gather
from tests.dialects.test_anthropic_stream import BEGIN, RICH, STOPPED, end, start, text

RESPONSES = ENDPOINTS["/v1/responses"]
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BODY = start(0, type="text", text="") + text(0, "lo") + end(output_tokens=7) + STOPPED


def written_anew(dialect: Dialect) -> TranslatedStream:
    return TranslatedStream(dialect, dialect, ChatRequest(model="m", messages=()), "public", True)


def messages() -> OpenedTap:
    return OpenedTap(stream_tap(MESSAGES, False), lambda: written_anew(anthropic.DIALECT))


def types(body: bytes) -> list[str]:
    events = SseSplitter().feed(body)
    return [json.loads(data)["type"] for raw in events if (data := event_data(raw)) is not None]


def test_messages_and_responses_have_an_opening() -> None:
    assert is_opened(MESSAGES)
    assert is_opened(RESPONSES)
    assert not is_opened(CHAT_COMPLETIONS)


@pytest.mark.parametrize("before", [b"", PING, b": hello\n\n"])
def test_a_stream_that_begins_well_keeps_every_byte(before: bytes) -> None:
    body = before + RICH
    rng = random.Random(7)
    for cuts in ([], range(1, len(body)), *(sorted(rng.sample(range(len(body)), 9)) for _ in range(20))):
        tap = messages()
        chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert b"".join([tap.feed(chunk) for chunk in chunks]) + tap.rest() == body
        assert tap.done
        assert tap.usage is not None
        assert tap.upstream_id == "msg_1"
        assert tap.delivered_bytes() == len(tap.delivered_text()) > 0
        assert tap.moved()


@pytest.mark.parametrize("before", [b"", PING, b": hello\n\n"])
@pytest.mark.parametrize("step", [1, 9, 10_000])
def test_messages_without_their_opening_get_one(before: bytes, step: int) -> None:
    """As from llama.cpp when the first token is half a character."""
    tap = messages()
    data = before + BODY
    body = b"".join([tap.feed(data[at : at + step]) for at in range(0, len(data), step)]) + tap.rest()

    assert [kind for kind in types(body) if kind != "ping"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert tap.done
    assert tap.delivered_text() == "lo"
    decoder = anthropic.DIALECT.decoder()
    assert gather([*decoder.feed(body), *decoder.close()]).model == "public"


def test_responses_without_their_opening_get_one() -> None:
    tap = OpenedTap(stream_tap(RESPONSES, False), lambda: written_anew(openai_responses.DIALECT))
    delta = b'data: {"type":"response.output_text.delta","delta":"lo"}\n\n'
    last = b'data: {"type":"response.completed","response":{"status":"completed","output":[]}}\n\n'
    body = tap.feed(delta) + tap.feed(last) + tap.rest()

    assert types(body)[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert types(body)[-1] == "response.completed"
    assert tap.done


def test_what_cannot_be_written_anew_goes_on_as_it_came() -> None:
    tap = OpenedTap(stream_tap(MESSAGES, False), lambda: None)

    assert tap.feed(BODY) + tap.rest() == BODY
    assert tap.done


@pytest.mark.parametrize(
    "first",
    [
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n',
        b'data: {"error":{"message":"m"}}\n\n',
        b"data: no JSON\n\n",
    ],
)
def test_an_error_may_come_first(first: bytes) -> None:
    tap = messages()

    assert tap.feed(first) == first
    assert tap.failed == (b"error" in first)


def test_a_beginning_that_was_cut_is_not_lost() -> None:
    tap = messages()
    assert tap.feed(BEGIN[:20]) == b""

    assert tap.rest() == BEGIN[:20]
    assert not tap.done


def test_a_beginning_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="longer"):
        messages().feed(b"data: " + b"x" * MAX_PENDING)
