"""Gemini's dialect on recorded exchanges, where there are any."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.events import ChatEvent
from llmgw.dialects.base import NOT_FOUND, Dialect
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.dialects.gemini import ARRAY, DIALECT, parse_count_answer, render_count_answer
from llmgw.dialects.gemini_request import parse_count_request
from llmgw.dialects.gemini_schema import json_schema
from llmgw.dialects.gemini_tap import GeminiBodyTap, GeminiStreamTap
from tests.dialects.recordings import (
    Case,
    Gathered,
    body_of,
    cases,
    differences,
    gather,
    of_answer,
    skip_without,
)

ENDPOINT = ENDPOINTS["/v1/chat/completions"]
STREAMS = "streamGenerateContent"
AS_THEY_ARE = (
    "args",
    "response",
    "parameters",
    "parametersJsonSchema",
    "responseSchema",
    "responseJsonSchema",
)
OWN_TOOLS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


def streams() -> Iterator[tuple[Case, Case]]:
    for case, reference in cases(STREAMS):
        if case["status"] == 200:
            yield case, reference


def answers() -> Iterator[tuple[Case, Case]]:
    for case, reference in cases("generateContent"):
        if case["status"] == 200 and case["dialect"] == "gemini":
            yield case, reference


def decoded(dialect: Dialect, body: bytes, cuts: list[int]) -> list[ChatEvent]:
    decoder = dialect.decoder()
    events: list[ChatEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        events.extend(decoder.feed(body[begin:end]))
    return events + decoder.close()


def told(got: Gathered, reference: Case) -> list[str]:
    """The differences. The reference does not put together arguments that came in pieces."""
    if reference.get("partial_args"):
        assert [name for _, name, _ in got.calls] == [call["name"] for call in reference["tool_calls"]]
        for _, _, arguments in got.calls:
            assert isinstance(json.loads(arguments or "{}"), dict)
        reference = {
            **reference,
            "tool_calls": [{"name": name, "arguments": arguments} for _, name, arguments in got.calls],
        }
    return differences(got, reference)


def test_whole_answers() -> None:
    skip_without()
    wrong = []
    count = 0
    for case, reference in answers():
        count += 1
        answer = DIALECT.parse_answer(body_of(case))
        wrong.extend(f"{case['id']} {line}" for line in told(of_answer(answer), reference))
        again = DIALECT.parse_answer(DIALECT.render_answer(answer))
        assert again == answer, case["id"]

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
    for case, reference in streams():
        count += 1
        body = body_of(case)
        cuts = {
            "whole": [],
            "bytes": list(range(1, len(body))),
            "random": sorted(rng.sample(range(1, len(body)), min(len(body) // 80, 200))),
        }[way]
        got = gather(decoded(DIALECT, body, cuts))
        assert got.finished, case["id"]
        wrong.extend(f"{case['id']} {line}" for line in told(got, reference))

    assert wrong == []
    assert count > 0


@pytest.mark.parametrize("dialect", [DIALECT, ARRAY], ids=["events", "array"])
def test_streams_written_again_say_the_same(dialect: Dialect) -> None:
    """What a client of this dialect gets from our encoder is what the provider's stream says."""
    skip_without()
    wrong = []
    for case, reference in streams():
        encoder = dialect.encoder(ChatRequest(model="m", messages=()), "m", True)
        written = b"".join(encoder.feed(event) for event in decoded(dialect, body_of(case), []))
        if dialect is ARRAY:
            json.loads(written)
        got = gather(decoded(dialect, written, []))
        assert got.finished, case["id"]
        assert got.model == "m"
        wrong.extend(f"{case['id']} {line}" for line in told(got, reference))

    assert wrong == []


def test_stream_without_its_end_is_not_finished() -> None:
    skip_without()
    for case, _ in streams():
        body = body_of(case)
        cut = body[: body.rindex(b'"finishReason"')]

        assert not gather(decoded(DIALECT, cut, [])).finished, case["id"]


@pytest.mark.parametrize("step", [1, 37, 10**9])
def test_taps_tell_the_usage(step: int) -> None:
    skip_without()
    for case, reference in [*streams(), *answers()]:
        body = body_of(case)
        tap: GeminiStreamTap | GeminiBodyTap
        if case["stream"]:
            tap = GeminiStreamTap(ENDPOINT, True)
            assert b"".join(tap.feed(body[at : at + step]) for at in range(0, len(body), step)) == body
            assert tap.done
            assert not tap.failed
        else:
            tap = GeminiBodyTap(body)
        usage = reference["usage"]
        assert tap.usage is not None
        assert tap.usage.output_tokens == usage["output_total"], case["id"]
        if usage["input_total"] is not None:
            assert tap.usage.input_tokens == usage["input_total"], case["id"]
        assert tap.upstream_id == reference["response_id"]
        assert reference["text"] in tap.delivered_text() or "thought" in body.decode()


def test_failures() -> None:
    skip_without()
    count = 0
    for api in (STREAMS, "generateContent"):
        for case, reference in cases(api):
            if case["status"] == 200 or case["dialect"] != "gemini":
                continue
            count += 1
            failure = DIALECT.parse_failure(case["status"], body_of(case))
            assert failure.code == NOT_FOUND
            assert failure.message == reference["error"]["message"]
    assert count > 0


def camel(name: str) -> str:
    return re.sub(r"_(.)", lambda match: match[1].upper(), name)


def modelled(value: Any, inside: str = "") -> Any:
    """A request in the one form that we write, of the several that mean the same."""
    if isinstance(value, list):
        return [modelled(item, inside) for item in value]
    if not isinstance(value, dict):
        return value
    if inside in AS_THEY_ARE:
        return value
    out = {camel(key): modelled(item, camel(key)) for key, item in value.items()}
    for own, ours in (("parameters", "parametersJsonSchema"), ("responseSchema", "responseJsonSchema")):
        if own in out:
            out[ours] = json.loads(json_schema(json.dumps(out.pop(own)), own))
    for key in ("generationConfig", "thinkingConfig", "toolConfig"):
        if out.get(key) == {}:
            del out[key]
    if out.get("responseModalities") == ["TEXT"]:
        del out["responseModalities"]
    if out.get("candidateCount") == 1:
        del out["candidateCount"]
    if "systemInstruction" in out:
        out["systemInstruction"].pop("role", None)
    if "tools" in out:
        out["tools"] = sorted(out["tools"], key=json.dumps)
    if out.get("generationConfig") == {}:
        del out["generationConfig"]
    return out


def test_requests() -> None:
    """A request that is read and written again says the same in every member."""
    skip_without()
    count = refused = 0
    for api in (STREAMS, "generateContent"):
        for case, _ in cases(api):
            body = case["request_body"]
            if case["dialect"] != "gemini" or body is None:
                continue
            data = json.dumps(body).encode()
            try:
                request = DIALECT.parse_request(data, case["model"], case["stream"])
            except UnsupportedOperation:
                assert any(f'"{kind}"' in json.dumps(body["contents"]) for kind in OWN_TOOLS), case["id"]
                refused += 1
                continue
            rendered = DIALECT.render_request(request)
            lossy = [name for name in rendered.dropped if not name.startswith("contents[")]
            assert lossy == [], case["id"]
            if not rendered.dropped:
                assert modelled(json.loads(rendered.body)) == modelled(body), case["id"]
            assert (
                DIALECT.parse_request(rendered.body, case["model"], case["stream"]).messages
                == request.messages
            )
            count += 1
    assert count > 10 * refused


def test_counts() -> None:
    skip_without()
    for case, _ in cases("countTokens"):
        if case["dialect"] != "gemini":
            continue
        data = json.dumps(case["request_body"]).encode()
        assert parse_count_request(data, "m").messages
        tokens = parse_count_answer(body_of(case))
        assert tokens == json.loads(body_of(case))["totalTokens"]
        assert parse_count_answer(render_count_answer(tokens)) == tokens
