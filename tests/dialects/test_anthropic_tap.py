from __future__ import annotations

import random

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.anthropic_tap import AnthropicBodyTap, AnthropicStreamTap
from llmgw.dialects.endpoints import MESSAGES
from llmgw.wire.sse import MAX_PENDING
from tests.dialects.test_anthropic_answer import WIRE
from tests.dialects.test_anthropic_stream import BEGIN, RICH, STOPPED, end, event, start, text


def tap() -> AnthropicStreamTap:
    return AnthropicStreamTap(MESSAGES, False)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_every_byte_goes_on_and_is_understood(line_end: bytes) -> None:
    """Whole, byte by byte and cut at random."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    body = RICH.replace(b"\n", line_end)
    for cuts in ([], range(1, len(body)), *(sorted(chance.sample(range(len(body)), 9)) for _ in range(20))):
        reader = tap()
        chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert b"".join(map(reader.feed, chunks)) == body
        assert reader.rest() == b""
        assert reader.done
        assert not reader.failed
        assert reader.upstream_id == "msg_1"
        assert reader.usage == Usage(13, 50, 4)
        assert reader.delivered_text() == 'Höm.{"query":"q"}Grüße 👋f{"a": 1.50}g'


def test_stream_that_was_cut() -> None:
    """G20: what was told at the start is known, and the text that passed, but it is not done."""
    reader = tap()
    reader.feed(BEGIN + start(0, type="text", text="") + text(0, "Hello"))

    assert reader.usage == Usage(13, 2, 4)
    assert reader.delivered_text() == "Hello"
    assert reader.delivered_bytes() == 5
    assert not reader.done


def test_words_like_those_of_the_wire_are_only_words() -> None:
    reader = tap()
    reader.feed(BEGIN + text(0, '"usage" "error" message_stop {"type":"message_stop"}'))

    assert not reader.done
    assert not reader.failed


@pytest.mark.parametrize(
    "body",
    [
        event("error", error={"type": "overloaded_error", "message": "m"}),
        b'data: {"error":{"message":"m","type":"server_error"}}\n\n',
    ],
)
def test_error_in_either_shape(body: bytes) -> None:
    reader = tap()
    reader.feed(BEGIN)
    assert reader.feed(body) == body

    assert reader.failed
    assert not reader.done


@pytest.mark.parametrize("last", [b"", b"\n\n"])
def test_an_error_that_clients_pass_over_is_said_once_more(last: bytes) -> None:
    """Their SDKs read events by name, and one in OpenAI's shape has none."""
    reader = tap()
    sent = reader.feed(BEGIN + b'data: {"error":{"message":"m","type":"rate_limit_error"}}' + last)
    rest = reader.rest()

    said = b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"m"}}\n\n'
    assert (sent + rest).endswith(b"\n\n" + said)


def test_last_event_that_was_never_closed() -> None:
    reader = tap()
    reader.feed(BEGIN + end(output_tokens=7) + STOPPED.removesuffix(b"\n"))
    reader.rest()

    assert reader.done


def test_text_does_not_pile_up() -> None:
    """What is kept undecoded stays small, however long the stream."""
    reader = tap()
    for _ in range(500):
        reader.feed(text(0, "x" * 50))

    assert reader._kept_bytes < 8192
    assert reader.delivered_bytes() == 25_000


def test_movement_is_told_once() -> None:
    reader = tap()
    assert not reader.moved()
    reader.feed(BEGIN)

    assert reader.moved()
    assert not reader.moved()


def test_bytes_that_nobody_understands_go_on() -> None:
    reader = tap()
    for body in (b'data: {"usage":\n\n', b'data: ["error"]\n\n', b'data: {"delta":7}\n\n', b": hello\n\n"):
        assert reader.feed(body) == body

    assert reader.usage is None
    assert reader.delivered_text() == ""


def test_event_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="longer"):
        tap().feed(b"data: " + b"x" * MAX_PENDING)


def test_whole_answer() -> None:
    reader = AnthropicBodyTap(WIRE)

    assert reader.usage == Usage(15, 50, 3, 2, 20)
    assert reader.upstream_id == "msg_1"
    assert reader.delivered_text() == 'Hm.Grüßef{"a":  1.50}g'


def test_answer_without_usage() -> None:
    reader = AnthropicBodyTap(b'{"content":[{"type":"text","text":"a"}]}')

    assert (reader.usage, reader.upstream_id, reader.delivered_text()) == (None, None, "a")
    assert AnthropicBodyTap(b'{"content":7}').delivered_text() == ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"usage":7}', b"[" * 5000])
def test_answer_that_is_no_object(body: bytes) -> None:
    with pytest.raises(ValueError, match="promised"):
        AnthropicBodyTap(body)
