from __future__ import annotations

import json

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.cohere_tap import CohereBodyTap, CohereStreamTap
from llmgw.dialects.endpoints import COHERE_CHAT
from tests.fakes.families import Said
from tests.fakes.families_other import cohere_stream, cohere_whole

SAID = Said("Hello there", "I ponder", (("c1", "weather", {"city": "Rome"}),))
STREAM = b"".join(cohere_stream("", SAID))
WORDS = "I ponderHello there" + "weather" + '{"city": "Rome"}'


def test_a_whole_answer() -> None:
    body = json.dumps(cohere_whole("", SAID)).encode()

    tap = CohereBodyTap(body)

    assert tap.body is body
    assert (tap.upstream_id, tap.usage) == ("r1", Usage(11, 7, cached_tokens=3))
    assert sorted(tap.delivered_text()) == sorted(WORDS)


def test_an_answer_that_is_none() -> None:
    with pytest.raises(ValueError, match="not of Cohere's chat"):
        CohereBodyTap(b'{"message": 3}')


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_goes_on_as_it_came(size: int) -> None:
    tap = CohereStreamTap(COHERE_CHAT, hide_usage=False)

    passed = b"".join(tap.feed(STREAM[at : at + size]) for at in range(0, len(STREAM), size)) + tap.rest()

    assert passed == STREAM
    assert (tap.done, tap.failed, tap.upstream_id) == (True, False, "r1")
    assert tap.usage == Usage(11, 7, cached_tokens=3)
    assert "Hello there" in tap.delivered_text()
    assert tap.delivered_bytes() == len(tap.delivered_text())
    assert tap.moved()
    assert not tap.moved()


def test_a_stream_that_was_cut_is_not_done() -> None:
    tap = CohereStreamTap(COHERE_CHAT, hide_usage=False)
    tap.feed(STREAM[: STREAM.index(b"event: message-end")])

    assert tap.rest() == b""
    assert not tap.done
    assert tap.usage is None


def test_a_generation_that_failed() -> None:
    tap = CohereStreamTap(COHERE_CHAT, hide_usage=False)
    tap.feed(b'data: {"type":"message-end","delta":{"finish_reason":"ERROR"}}')
    tap.rest()

    assert tap.failed
    assert not tap.done


def test_what_cannot_be_read_is_for_the_client_to_judge() -> None:
    tap = CohereStreamTap(COHERE_CHAT, hide_usage=False)

    assert tap.feed(b"data: {nothing\n\n") == b"data: {nothing\n\n"
    with pytest.raises(ValueError, match="longer than"):
        tap.feed(b"data: " + b"x" * 1_100_000)
