from __future__ import annotations

import json
import random

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.dialects.gemini_tap import GeminiBodyTap, GeminiStreamTap
from llmgw.wire.sse import MAX_PENDING

ENDPOINT = ENDPOINTS["/v1/chat/completions"]


def chunk(text: str = "", reason: str | None = None, **usage: int) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "usageMetadata": usage, "responseId": "r1"}


STREAM = [
    chunk("Hé", promptTokenCount=10, cachedContentTokenCount=4),
    chunk("llo ", promptTokenCount=10, thoughtsTokenCount=3),
    {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"candidatesTokenCount": 5, "thoughtsTokenCount": 6, "toolUsePromptTokenCount": 2},
    },
]
USAGE = Usage(12, 11, 4, 0, 6)
EVENTS = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in STREAM)
ARRAY = b"[" + b"\n,\r\n".join(json.dumps(one).encode() for one in STREAM) + b"\n]"


def tapped(*pieces: bytes) -> GeminiStreamTap:
    tap = GeminiStreamTap(ENDPOINT, True)
    for piece in pieces:
        assert tap.feed(piece) == piece
    assert tap.rest() == b""
    return tap


@pytest.mark.parametrize("data", [EVENTS, ARRAY], ids=["events", "array"])
@pytest.mark.parametrize("how", ["whole", "bytes", "random"])
def test_k01_stream_passes_untouched_and_tells_what_it_cost(data: bytes, how: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    places = {
        "whole": [],
        "bytes": list(range(1, len(data))),
        "random": sorted(rng.sample(range(1, len(data)), 9)),
    }
    cuts = places[how]

    tap = tapped(*(data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)))

    assert tap.usage == USAGE
    assert tap.done
    assert not tap.failed
    assert tap.upstream_id == "r1"
    assert tap.delivered_text() == "Hé" + 'llo f{"a": 1}'
    assert tap.delivered_bytes() == len('Héllo f{"a": 1}')
    assert tap.moved()
    assert not tap.moved()


def test_what_is_kept_is_read_in_between() -> None:
    tap = GeminiStreamTap(ENDPOINT, False)
    text = "x" * 900

    for _ in range(50):
        tap.feed(b"data: " + json.dumps(chunk(text)).encode() + b"\n\n")

    assert tap._kept_bytes < 8000
    assert tap.delivered_text() == text * 50


def test_j21_stream_without_its_end_is_not_done() -> None:
    tap = tapped(EVENTS[: EVENTS.index(b"functionCall")])

    assert not tap.done
    assert tap.usage == Usage(10, 3, 4, 0, 3)
    assert tap.delivered_text() == "Héllo "


def test_last_event_without_its_blank_line_counts() -> None:
    tap = tapped(EVENTS.rstrip())

    assert tap.done
    assert tap.usage == USAGE


def test_blocked_prompt_is_done() -> None:
    tap = tapped(
        b'data: {"promptFeedback":{"blockReason":"OTHER"},"usageMetadata":{"promptTokenCount":3}}\n\n'
    )

    assert tap.done
    assert tap.usage == Usage(3)


def test_error_in_the_stream_is_seen() -> None:
    tap = tapped(b'data: {"error":{"code":500,"message":"x"}}\n\n')

    assert tap.failed
    assert not tap.done


def test_what_cannot_be_read_passes() -> None:
    tap = tapped(b": hello\n\ndata: {nope\n\ndata: {nope}\n\nevent: x\n\n" + EVENTS)

    assert tap.usage == USAGE


def test_k02_document_beyond_the_cap_stops_it() -> None:
    tap = tapped(b"data: {")

    with pytest.raises(ValueError, match="longer than"):
        tap.feed(b"x" * MAX_PENDING)
    assert tap.usage is None


@pytest.mark.parametrize("body", [json.dumps(STREAM[2]).encode(), json.dumps(STREAM, indent=1).encode()])
def test_body_is_an_answer_or_a_whole_stream(body: bytes) -> None:
    tap = GeminiBodyTap(body)

    assert tap.body is body
    assert tap.usage is not None
    assert tap.usage.output_tokens == 11
    assert tap.delivered_text().endswith('f{"a": 1}') or tap.delivered_text().startswith("Héllo f")
    assert tap.upstream_id == ("r1" if body.startswith(b"[") else None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"5", b'{"candidates":1}', b"[{nope}]"])
def test_j13_body_that_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a Gemini answer"):
        GeminiBodyTap(body)


def test_body_without_usage_tells_none() -> None:
    assert GeminiBodyTap(b'{"candidates":[]}').usage is None
