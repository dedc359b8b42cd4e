"""The Cohere dialect on recorded exchanges, where there are any."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from llmgw.dialects.cohere import DIALECT
from tests.dialects.recordings import Case, body_of, cases, differences, gather, of_answer, skip_without

API = "cohere.v2.chat"


def expected(reference: Case, plan: str) -> Case:
    """With what the references leave out: the plan before calls, and counts of reasoning."""
    usage = reference["usage"]
    reasoning = usage["native"]["tokens"].get("reasoning_tokens")
    return {
        **reference,
        "reasoning": reference["reasoning"] + plan,
        "usage": {**usage, "reasoning": reasoning},
    }


def plan_of(body: bytes, stream: bool) -> str:
    if not stream:
        return str(json.loads(body)["message"].get("tool_plan") or "")
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    deltas: list[Any] = [json.loads(line).get("delta") or {} for line in lines]
    return "".join(delta.get("message", {}).get("tool_plan", "") for delta in deltas)


def test_whole_answers() -> None:
    skip_without()
    wrong: list[str] = []
    count = 0
    for case, reference in cases(API):
        if not case["stream"] and case["status"] == 200:
            count += 1
            body = body_of(case)
            want = expected(reference, plan_of(body, False))
            wrong.extend(
                f"{case['id']} {line}" for line in differences(of_answer(DIALECT.parse_answer(body)), want)
            )

    assert wrong == []
    assert count > 0


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_streams(way: str) -> None:
    skip_without()
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    wrong: list[str] = []
    count = 0
    for case, reference in cases(API):
        if not case["stream"]:
            continue
        count += 1
        body = body_of(case)
        decoder = DIALECT.decoder()
        events = []
        rest = body
        while rest:
            size = {"whole": len(rest), "bytes": 1, "random": rng.randint(1, 300)}[way]
            events.extend(decoder.feed(rest[:size]))
            rest = rest[size:]
        got = gather(events + decoder.close())
        assert got.finished, case["id"]
        want = expected(reference, plan_of(body, True))
        wrong.extend(f"{case['id']} {line}" for line in differences(got, want))

    assert wrong == []
    assert count > 0


def test_errors() -> None:
    skip_without()
    codes = [
        DIALECT.parse_failure(case["status"], body_of(case)).code
        for case, _ in cases(API)
        if case["status"] != 200
    ]

    assert codes == ["context_length_exceeded"]
