"""Events of an upstream that go on as one JSON array."""

from __future__ import annotations

import json

import pytest

from llmgw.core.errors import UpstreamBroken
from llmgw.dialects.endpoints import STREAM_ARRAY
from llmgw.dialects.gemini_array import GeminiArrayTap
from llmgw.dialects.gemini_errors import error_element
from llmgw.dialects.taps import stream_tap

FIRST = (
    b'{"candidates":[{"content":{"parts":[{"text":"Gr\\u00fc\xc3\x9fe ]}"}]},"index":0}],"ofNextYear":  1}'
)
LAST = (
    b'{"candidates":[{"finishReason":"STOP","index":0}],'
    b'"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}}'
)
EVENTS = b"data: " + FIRST + b"\r\n\r\n: ping\n\ndata: " + LAST + b"\r\n\r\n"


def tap() -> GeminiArrayTap:
    return GeminiArrayTap(STREAM_ARRAY, False)


@pytest.mark.parametrize("step", [1, 7, 50, 10_000])
def test_events_become_elements_that_keep_their_bytes(step: int) -> None:
    array = tap()
    data = b"".join(array.feed(EVENTS[at : at + step]) for at in range(0, len(EVENTS), step)) + array.rest()

    assert data == b"[" + FIRST + b"\n,\r\n" + LAST + b"\n]"
    assert array.done
    assert array.usage is not None
    assert (array.usage.input_tokens, array.usage.output_tokens) == (3, 2)
    assert array.delivered_text() == "Grüße ]}"


def test_the_table_of_taps_knows_it() -> None:
    assert isinstance(stream_tap(STREAM_ARRAY, False), GeminiArrayTap)


def test_a_last_event_without_its_blank_line_is_an_element() -> None:
    array = tap()
    data = array.feed(EVENTS.rstrip()) + array.rest()

    assert json.loads(data) == [json.loads(FIRST), json.loads(LAST)]


@pytest.mark.parametrize("size", [len(FIRST), len(FIRST) + 12, len(EVENTS) - 8])
def test_j21_an_array_that_was_cut_is_not_closed(size: int) -> None:
    """What was cut within an event does not go on, and our error is an element of its own."""
    array = tap()
    data = array.feed(EVENTS[:size])
    begun = bool(data)
    data += array.rest()

    assert not array.done
    if begun:
        read = json.loads(data + error_element(UpstreamBroken("cut", phase="body")) + b"]")
        assert read == [
            json.loads(FIRST),
            {"error": {"code": 502, "message": "cut", "status": "UNAVAILABLE"}},
        ]
    else:
        assert data == b""


def test_an_array_in_which_the_upstream_fails_is_not_closed() -> None:
    failure = b'{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}'
    array = tap()
    data = array.feed(b"data: " + FIRST + b"\n\ndata: " + failure + b"\n\n") + array.rest()

    assert array.failed
    assert data == b"[" + FIRST + b"\n,\r\n" + failure + b"\n"


def test_each_element_is_one_line() -> None:
    """However the upstream sets its JSON."""
    document = b'{\r\n  "candidates": [\n{"finishReason": "STOP"}]\n}'
    array = tap()
    data = array.feed(b"data: " + document.replace(b"\n", b"\ndata: ") + b"\n\n") + array.rest()

    assert data.count(b"\n") == 1
    assert json.loads(data) == [{"candidates": [{"finishReason": "STOP"}]}]


def test_an_array_of_the_upstreams_own_is_framed_anew() -> None:
    array = tap()
    data = array.feed(b"[" + FIRST + b"\n,\r\n") + array.feed(LAST + b"\n]") + array.rest()

    assert json.loads(data) == [json.loads(FIRST), json.loads(LAST)]
