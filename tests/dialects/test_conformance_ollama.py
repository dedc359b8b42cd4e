"""The Ollama dialect on recorded exchanges, where there are any."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.core.events import ChatEvent
from llmgw.dialects.base import Dialect
from llmgw.dialects.ollama import DIALECT
from llmgw.dialects.openai_responses import DIALECT as RESPONSES
from tests.dialects.recordings import body_of, cases, differences, gather, of_answer, skip_without

API = "ollama.chat"


def decoded(dialect: Dialect, body: bytes, sizes: list[int]) -> list[ChatEvent]:
    decoder = dialect.decoder()
    events: list[ChatEvent] = []
    at = 0
    for size in sizes:
        events.extend(decoder.feed(body[at : at + size]))
        at += size
    return events + decoder.feed(body[at:]) + decoder.close()


def test_whole_answers() -> None:
    skip_without()
    wrong = []
    count = 0
    for case, reference in cases(API):
        if not case["stream"] and case["status"] == 200:
            count += 1
            got = of_answer(DIALECT.parse_answer(body_of(case)))
            wrong.extend(f"{case['id']} {line}" for line in differences(got, reference))

    assert wrong == []
    assert count > 0


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_streams(way: str) -> None:
    skip_without()
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    wrong = []
    count = 0
    for case, reference in cases(API):
        if not case["stream"] or case["status"] != 200:
            continue
        count += 1
        body = body_of(case)
        sizes = {
            "whole": [],
            "bytes": [1] * len(body),
            "random": [rng.randint(1, 300) for _ in range(len(body) // 150)],
        }[way]
        events = decoded(DIALECT, body, sizes)
        encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "m", True)
        again = decoded(DIALECT, b"".join(map(encoder.feed, events)), [])
        for got in (gather(events), gather(again)):
            assert got.finished, case["id"]
            wrong.extend(f"{case['id']} {line}" for line in differences(got, reference))

    assert wrong == []
    assert count > 0


def test_requests_come_back() -> None:
    skip_without()
    for case, _ in cases(API):
        sent: dict[str, Any] = {name: value for name, value in case["request_body"].items() if value != []}
        rendered = DIALECT.render_request(DIALECT.parse_request(json.dumps(sent).encode(), "", False))

        assert json.loads(rendered.body) == sent
        assert rendered.dropped == ()


@pytest.mark.parametrize(
    ("api", "upstream", "client"), [(API, DIALECT, RESPONSES), ("responses", RESPONSES, DIALECT)]
)
def test_a_client_of_another_dialect_reads_the_same(api: str, upstream: Dialect, client: Dialect) -> None:
    """Cached and reasoning tokens have no place in Ollama's counts."""
    skip_without()
    wrong = []
    for case, reference in cases(api):
        if not case["stream"] or case["status"] != 200:
            continue
        encoder = client.encoder(ChatRequest(model="m", messages=()), "m", True)
        written = b"".join(map(encoder.feed, decoded(upstream, body_of(case), [])))
        got = gather(decoded(client, written, []))
        assert got.finished, case["id"]
        usage = reference["usage"] and {**reference["usage"], "cached": 0, "reasoning": 0}
        wrong.extend(f"{case['id']} {line}" for line in differences(got, {**reference, "usage": usage}))

    assert wrong == []
