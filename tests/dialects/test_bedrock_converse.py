"""Converse as a dialect, and on recorded exchanges where there are any."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.target import Target
from llmgw.dialects.base import INVALID, PERMISSION
from llmgw.dialects.bedrock_converse import DIALECT
from llmgw.dialects.endpoints import CONVERSE, CONVERSE_STREAM, ENDPOINTS
from llmgw.dialects.registry import is_translated, target_dialect
from tests.dialects.recordings import Case, body_of, cases, differences, gather, of_answer, skip_without


def clients_own(case: Case, reference: Case) -> Case:
    """The reference without the calls that the provider ran itself."""
    own = {
        tool["systemTool"]["name"]
        for tool in ((case["request_body"] or {}).get("toolConfig") or {}).get("tools", [])
        if "systemTool" in tool
    }
    calls = [call for call in reference["tool_calls"] if call["name"] not in own]
    return {**reference, "tool_calls": calls}


def cited(case: Case) -> str:
    """The text of the blocks that cite, which the reference leaves out."""
    content = json.loads(body_of(case))["output"]["message"]["content"]
    return "".join(
        part["text"] for block in content for part in block.get("citationsContent", {}).get("content", [])
    )


def test_upstreams_only() -> None:
    """There is no path for clients."""
    assert is_translated(CONVERSE)
    assert target_dialect(CONVERSE_STREAM, Target("aws", "bedrock", None, "m", None)) is DIALECT
    assert not {CONVERSE, CONVERSE_STREAM} & set(ENDPOINTS.values())
    with pytest.raises(UnsupportedOperation):
        DIALECT.parse_request(b"{}", "m", False)
    with pytest.raises(UnsupportedOperation):
        DIALECT.render_answer(ChatAnswer(id="", model="", choices=()))
    with pytest.raises(UnsupportedOperation):
        DIALECT.encoder(ChatRequest(model="m", messages=()), "m", False)


def test_recorded_answers() -> None:
    skip_without()
    wrong = []
    count = 0
    for case, reference in cases("converse"):
        if case["status"] != 200:
            continue
        count += 1
        want = clients_own(case, reference)
        want["text"] = want["text"] or cited(case)
        got = of_answer(DIALECT.parse_answer(body_of(case)))
        wrong += [f"{case['id']} {line}" for line in differences(got, want)]

    assert wrong == []
    assert count > 0


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_recorded_streams(way: str) -> None:
    skip_without()
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    wrong = []
    count = 0
    for case, reference in cases("converse-stream"):
        if case["status"] != 200:
            continue
        count += 1
        body = body_of(case)
        cuts = {
            "whole": [],
            "bytes": list(range(1, len(body))),
            "random": sorted(rng.sample(range(len(body)), 20)),
        }
        decoder = DIALECT.decoder()
        edges = [0, *cuts[way], len(body)]
        events = [event for begin, end in pairwise(edges) for event in decoder.feed(body[begin:end])]
        got = gather(events + decoder.close())
        assert got.finished, case["id"]
        wrong += [f"{case['id']} {line}" for line in differences(got, clients_own(case, reference))]

    assert wrong == []
    assert count > 0


def test_recorded_failures() -> None:
    skip_without()
    codes = {400: INVALID, 403: PERMISSION}
    failures = [case for case, _ in cases("converse") if case["status"] >= 400]
    for case in failures:
        failure = DIALECT.parse_failure(case["status"], body_of(case))
        assert failure.code == codes[case["status"]]
        assert failure.message == json.loads(body_of(case))["message"]

    assert failures
