"""The responses dialect on recorded exchanges, where there are any."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.events import ChatEvent
from llmgw.dialects.base import AUTH, INVALID, NOT_FOUND, Dialect
from llmgw.dialects.openai_responses import DIALECT, STATEFUL
from tests.dialects.recordings import body_of, cases, differences, gather, of_answer, skip_without

APIS = ("responses", "responses.retrieve")
UNFINISHED = ("queued", "in_progress")
STATEFUL_ONLY = ("previous_response_id", "background", "tools")


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
    for api in APIS:
        for case, reference in cases(api):
            if case["stream"] or case["status"] != 200:
                continue
            count += 1
            got = of_answer(DIALECT.parse_answer(body_of(case)))
            if reference["finish_reason_openai"] in UNFINISHED:
                assert got.stop is None
                reference = {**reference, "finish_reason_openai": None}
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
    for case, reference in cases("responses"):
        if not case["stream"] or case["status"] != 200:
            continue
        count += 1
        body = body_of(case)
        sizes = {
            "whole": [],
            "bytes": [1] * len(body),
            "random": [rng.randint(1, 200) for _ in range(len(body) // 100)],
        }[way]
        got = gather(decoded(DIALECT, body, sizes))
        assert got.finished, case["id"]
        wrong.extend(f"{case['id']} {line}" for line in differences(got, reference))

    assert wrong == []
    assert count > 0


def test_streams_written_again_say_the_same() -> None:
    """What a client of this dialect gets from our encoder is what the provider's stream says."""
    skip_without()
    wrong = []
    for case, reference in cases("responses"):
        if not case["stream"] or case["status"] != 200:
            continue
        encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "m", True)
        written = b"".join(encoder.feed(event) for event in decoded(DIALECT, body_of(case), []))
        got = gather(decoded(DIALECT, written, []))
        wrong.extend(f"{case['id']} {line}" for line in differences(got, reference))

    assert wrong == []


def test_failures() -> None:
    skip_without()
    expected = {"invalid_function_parameters": INVALID, "model_not_found": NOT_FOUND, "invalid_api_key": AUTH}
    for case, _ in cases("responses"):
        if case["status"] == 200:
            continue
        error = json.loads(case["response_body"])["error"]
        failure = DIALECT.parse_failure(case["status"], body_of(case))

        assert failure.message == error["message"]
        assert failure.param == error["param"]
        if error["code"] in expected:
            assert failure.code == expected[error["code"]]


def plain(request: dict[str, Any]) -> dict[str, Any]:
    """A request with its several ways of saying the same said in one."""
    request = {name: value for name, value in request.items() if value is not None and value != []}
    if not request.get("stream"):
        request.pop("stream", None)
    system = [request.pop("instructions")] if request.get("instructions") else []
    request.pop("instructions", None)
    items = []
    given = request.get("input", [])
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    for item in given:
        item = {name: value for name, value in item.items() if name not in ("status", "annotations")}
        if item.get("type", "message") == "message":
            texts = item["content"]
            if isinstance(texts, str):
                texts = [{"text": texts}]
            if item["role"] in ("system", "developer"):
                system.extend(text["text"] for text in texts)
                continue
            content = [
                {k: v for k, v in text.items() if k in ("text", "refusal", "image_url")} for text in texts
            ]
            last = items[-1] if items else {}
            if last.get("role") == item["role"] == "assistant":
                last["content"].extend(content)
                continue
            item = {"role": item["role"], "content": content}
        elif item["type"] == "function_call":
            item.pop("id", None)
        items.append(item)
    if isinstance(request.get("text"), dict) and request["text"].get("format") == {"type": "text"}:
        request["text"] = {name: value for name, value in request["text"].items() if name != "format"}
    if not request.get("text", True):
        del request["text"]
    tools = [{k: v for k, v in tool.items() if v is not None} for tool in request.get("tools", [])]
    return {**request, "input": items, "tools": tools, "system": system}


def test_requests_come_back() -> None:
    """A request read and written says the same, in all that it says."""
    skip_without()
    wrong = []
    count = 0
    for case, _ in cases("responses"):
        if not isinstance(case["request_body"], dict):
            continue
        count += 1
        body = json.dumps(case["request_body"]).encode()
        request = STATEFUL.parse_request(body, "", False)
        rendered = STATEFUL.render_request(request)
        again = json.loads(rendered.body)
        assert rendered.dropped == ()
        if plain(again) != plain(case["request_body"]):
            wrong.append((case["id"], plain(again), plain(case["request_body"])))
        assert STATEFUL.parse_request(rendered.body, "", False) == request

    assert wrong == []
    assert count > 0


def test_only_what_leans_on_the_provider_is_refused() -> None:
    """A request that has to be translated is refused only for state and hosted tools, by name."""
    skip_without()
    for case, _ in cases("responses"):
        body = case["request_body"]
        if not isinstance(body, dict):
            continue
        refused = None
        try:
            request = DIALECT.parse_request(json.dumps(body).encode(), "", False)
            again = json.loads(DIALECT.render_request(request).body)
        except UnsupportedOperation as error:
            refused = error.param
        if refused is None:
            assert again["store"] == body.get("store", False)
        else:
            assert refused.partition("[")[0] in STATEFUL_ONLY, case["id"]
        hosted = any(tool["type"] != "function" for tool in body.get("tools", []))
        assert (refused is not None) == (
            hosted or "previous_response_id" in body or body.get("background") is True
        )
