"""The chat completions dialect on recorded exchanges, where there are any."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.core.events import ChatEvent
from llmgw.dialects.base import AUTH, INVALID, NOT_FOUND, RATE_LIMIT, Dialect
from llmgw.dialects.openai_chat import DIALECT, dialect_for
from tests.dialects.recordings import body_of, cases, differences, gather, of_answer, skip_without

API = "chat.completions"
BEYOND_THE_WHOLE = {
    "xai-chat_completions-x411ed8224": {"output_total": 322},
    "openrouter-chat_completions-c9ae27d40d": {"reasoning": 10},
    "azure-chat_completions-38a67c0c5a": {"cached": 24},
    "azure-chat_completions-4a276beecb": {"cached": 81},
    "azure-chat_completions-59ce462aef": {"cached": 29},
}
"""Recordings that count more reasoning than output, or more cached than input.

Inclusive usage cannot: a part is clamped to its whole. But xAI's total says that its reasoning
comes on top of the output.
"""
OPENAI_LIKE = ("openai", "azure")


def decoded(dialect: Dialect, body: bytes, sizes: list[int]) -> list[ChatEvent]:
    decoder = dialect.decoder()
    events: list[ChatEvent] = []
    at = 0
    for size in sizes:
        events.extend(decoder.feed(body[at : at + size]))
        at += size
    return events + decoder.feed(body[at:]) + decoder.close()


def expected(reference: dict[str, Any]) -> list[dict[str, Any]]:
    """The reference of each choice, as inclusive usage has it."""
    usage = reference["usage"]
    if usage is not None:
        usage = usage | BEYOND_THE_WHOLE.get(reference["id"], {})
    choices = reference["choices"] or [reference]
    wanted = []
    for choice in choices:
        finish = choice["finish_reason"] or None
        wanted.append({**reference, **choice, "finish_reason_openai": finish, "usage": usage})
    return wanted


def exchanges(*, stream: bool) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found = [(c, r) for c, r in cases(API) if c["status"] == 200 and bool(c["stream"]) is stream]
    assert found
    return found


def test_whole_answers() -> None:
    skip_without()
    wrong = []
    for case, reference in exchanges(stream=False):
        answer = DIALECT.parse_answer(body_of(case))
        again = DIALECT.parse_answer(DIALECT.render_answer(answer))
        for index, wanted in enumerate(expected(reference)):
            got = of_answer(answer, index)
            wrong.extend(f"{case['id']} {line}" for line in differences(got, wanted))
            if got.stop is not None:
                wrong.extend(
                    f"{case['id']} again {line}" for line in differences(of_answer(again, index), wanted)
                )
        assert answer.id == reference["response_id"]
        assert answer.model == reference["model"]

    assert wrong == []


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_streams(way: str) -> None:
    skip_without()
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    wrong = []
    for case, reference in exchanges(stream=True):
        body = body_of(case)
        sizes = {
            "whole": [],
            "bytes": [1] * len(body),
            "random": [rng.randint(1, 200) for _ in range(len(body) // 100)],
        }[way]
        events = decoded(DIALECT, body, sizes)
        for index, wanted in enumerate(expected(reference)):
            got = gather(events, index)
            assert got.finished, case["id"]
            assert got.failed is None, case["id"]
            wrong.extend(f"{case['id']} {line}" for line in differences(got, wanted))
        assert got.model == reference["model"]

    assert wrong == []


def test_streams_written_again_say_the_same() -> None:
    """What a client of this dialect gets from our encoder is what the provider's stream says."""
    skip_without()
    wrong = []
    for case, reference in exchanges(stream=True):
        encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "m", True)
        written = b"".join(encoder.feed(event) for event in decoded(DIALECT, body_of(case), []))
        events = decoded(DIALECT, written, [])
        for index, wanted in enumerate(expected(reference)):
            wrong.extend(f"{case['id']} {line}" for line in differences(gather(events, index), wanted))

    assert wrong == []


def test_a_stream_that_is_cut_is_never_finished() -> None:
    """Cut anywhere before its last choice ended, no recorded stream looks complete."""
    skip_without()
    for case, reference in exchanges(stream=True):
        body = body_of(case)
        end = list(re.finditer(rb'"finish_reason": ?"', body))[len(expected(reference)) - 1]
        for size in range(0, end.start(), 97):
            events = decoded(DIALECT, body[:size], [])
            assert not gather(events).finished, (case["id"], size)


def test_failures() -> None:
    skip_without()
    wanted = {400: INVALID, 401: AUTH, 404: NOT_FOUND, 429: RATE_LIMIT}
    count = 0
    for case, reference in cases(API):
        if case["status"] == 200:
            continue
        count += 1
        failure = DIALECT.parse_failure(case["status"], body_of(case))
        error = reference["error"]

        assert failure.code == wanted[case["status"]]
        assert failure.message == (error if isinstance(error, str) else error["message"])
        assert failure.param == (error.get("param") if isinstance(error, dict) else None)
    assert count > 0


def plain(request: dict[str, Any]) -> dict[str, Any]:
    """A request with its several ways of saying the same said in one."""
    request = {name: value for name, value in request.items() if value is not None and value != []}
    for old, new in (("max_completion_tokens", "max_tokens"), ("random_seed", "seed")):
        if old in request:
            request[new] = request.pop(old)
    if not request.get("stream"):
        request.pop("stream", None)
    request.pop("stream_options", None)
    if request.get("n") == 1:
        del request["n"]
    if isinstance(request.get("stop"), str):
        request["stop"] = [request["stop"]]
    if request.get("response_format") == {"type": "text"}:
        del request["response_format"]
    if request.get("tool_choice") == "any":
        request["tool_choice"] = "required"
    if not request.get("tools") and request.get("tool_choice") in ("auto", "none"):
        del request["tool_choice"]
    if request.pop("enable_thinking", None) is False:
        request["reasoning_effort"] = "none"
    tools = [{**tool, "function": without_nulls(tool["function"])} for tool in request.get("tools", [])]
    system: list[str] = []
    messages = []
    for message in request["messages"]:
        message = without_nulls(message)
        message.pop("annotations", None)
        thoughts = message.pop("reasoning", None) or message.pop("reasoning_content", None)
        message.pop("reasoning_content", None)
        if thoughts:
            message["thoughts"] = thoughts
        content = message.get("content", "")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts = [without_nulls(part) for part in parts]
        if message["role"] in ("system", "developer"):
            system.extend(part["text"] for part in parts)
            continue
        if "tool_calls" in message and parts == [{"type": "text", "text": ""}]:
            parts = []
        messages.append({**message, "content": parts})
    return {**request, "messages": messages, "tools": tools, "system": system}


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in value.items() if entry is not None}


def dialect_of(case: dict[str, Any]) -> Dialect:
    return DIALECT if case["provider"] in OPENAI_LIKE else dialect_for(case["provider"])


def test_requests_come_back() -> None:
    """A request read and written for the service it was sent to says the same, in all that we model.

    What we do not model is in `extra` and named as dropped.
    """
    skip_without()
    wrong = []
    count = 0
    for case, _ in cases(API):
        body = case["request_body"]
        if not body:
            continue
        count += 1
        body = json.loads(body) if isinstance(body, str) else body
        dialect = dialect_of(case)
        request = dialect.parse_request(json.dumps(body).encode(), "", False)
        rendered = dialect.render_request(request)
        have, want = plain(json.loads(rendered.body)), plain(body)
        for name in rendered.dropped:
            want.pop("thinking" if name == "reasoning.enabled" else name, None)
        for message in [*want["messages"], *have["messages"]]:
            if "thinking" in rendered.dropped:
                message.pop("thoughts", None)
            if case["provider"] == "writer":  # calls and results without ids are given some
                message.pop("tool_call_id", None)
                for call in message.get("tool_calls", []):
                    call.pop("id", None)
        if have != want:
            wrong.append((case["id"], rendered.dropped, have, want))

    assert wrong == []
    assert count > 0
