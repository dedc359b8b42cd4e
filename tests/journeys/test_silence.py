"""What is said, and what not, before and between the words of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, delay, end, event, hang, pieces, sse_head

MODELS = """
kept: {targets: [{provider: up, model: a}], timeouts: {keep_alive: 100ms, idle: 2s}}
stalled: {targets: [{provider: up, model: a}], timeouts: {keep_alive: 100ms, idle: 500ms}}
pair: {targets: [{provider: up, model: a}, {provider: two, model: b}], retry: {base: 10ms}}
claude: {targets: [{provider: c, model: claude}, {provider: two, model: b}], retry: {base: 10ms}}
claude_alone: {targets: [{provider: c, model: claude}], retry: {attempts: 1}}
alone: {targets: [{provider: up, model: a}], retry: {attempts: 1}}
"""
COMMENT = b": keep-alive\n\n"
USAGE = {"prompt_tokens": 12, "completion_tokens": 5}


def delta(text: str) -> dict[str, object]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}


LAST = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}


@pytest.fixture
async def second() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(sse_head(), event(delta("from two")), event(LAST), event("[DONE]"), end())
        yield up


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, second: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    rows = (
        f'two: {{kind: openai_compatible, base_url: "{second.base_url}/v1", allow_private: true}}\n'
        f'c: {{kind: anthropic, base_url: "{upstream.base_url}", api_key: k, allow_private: true}}'
    )
    async with RunningGateway(upstream, providers=rows, models=MODELS) as running:
        yield running


async def test_k03_silence_is_bridged_between_events_only(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Comments before the first word and between two, never within an event that comes in pieces."""
    torn = f"data: {json.dumps(delta('torn'))}\n\n".encode()
    whole = b"%x\r\n%b\r\n" % (len(torn), torn)
    upstream.script(
        sse_head(),
        delay(0.35),
        event(delta("one")),
        delay(0.35),
        pieces(whole, 20, 0.12),
        event(LAST),
        event("[DONE]"),
        end(),
    )

    answer = await gateway.ask(chat(model="kept", stream=True))

    before, _, after = answer.body.partition(b"data: " + json.dumps(delta("one")).encode())
    assert 1 <= before.count(COMMENT) <= 4
    assert after.count(COMMENT) >= 1
    said = [part for part in answer.body.split(b"\n\n") if part and part != COMMENT.strip()]
    assert said[-1] == b"data: [DONE]"
    assert [json.loads(part[6:])["choices"][0]["delta"].get("content") for part in said[:-1]] == [
        "one",
        "torn",
        None,
    ]
    (record,) = await gateway.settled()
    assert record.outcome == "ok"
    assert record.first_byte_us is not None
    assert record.first_byte_us > 300_000


async def test_k03_comments_of_ours_are_no_progress(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The idle timeout still ends it, with an error."""
    upstream.script(sse_head(), event(delta("one")), hang())

    answer = await gateway.ask(chat(model="stalled", stream=True))

    assert COMMENT in answer.body
    assert b"upstream_timeout" in answer.body
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize(
    ("model", "failure"),
    [
        ("pair", {"error": {"message": "busy", "type": "server_error", "code": "overloaded"}}),
        ("claude", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ],
)
async def test_j23_a_stream_that_begins_with_an_error_fails_over(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, failure: dict[str, object]
) -> None:
    """Its 200 was not meant; the client has heard nothing."""
    upstream.script(sse_head(), event(failure), end())

    answer = await gateway.ask(chat(model=model, stream=True))

    assert (answer.status, answer.headers["x-llmgw-provider"]) == (200, "two")
    assert b"from two" in answer.body
    assert b"error" not in answer.body
    (record,) = await gateway.settled()
    assert (record.attempts, record.outcome) == (2, "ok")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}, 429),
        ({"message": "oh", "type": "server_error", "code": None}, 502),
    ],
)
async def test_j23_without_another_target_the_error_has_its_own_status(
    gateway: RunningGateway, upstream: ScriptedUpstream, error: dict[str, object], status: int
) -> None:
    upstream.script(sse_head(), event({"error": error}), end())

    answer = await gateway.ask(chat(model="alone", stream=True))

    assert answer.status == status
    assert error["message"] in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("model", "failure"),
    [
        ("alone", {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limited"}}),
        ("claude_alone", {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}),
    ],
)
async def test_j23_a_first_error_that_comes_in_pieces_is_read_whole(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, failure: dict[str, object]
) -> None:
    whole = f"event: error\ndata: {json.dumps(failure)}\n\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (whole[:5], whole[5:40], whole[40:]))
    upstream.script(sse_head(), pieces(body, 50, 0.02), end())

    answer = await gateway.ask(chat(model=model, stream=True))

    assert answer.status == 429
    assert "slow down" in answer.json["error"]["message"]


async def test_an_error_after_the_first_word_is_passed_on(
    gateway: RunningGateway, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), event(delta("one")), event({"error": {"message": "busy"}}), end())

    answer = await gateway.ask(chat(model="pair", stream=True))

    assert b"one" in answer.body
    assert b"busy" in answer.body
    assert second.requests == []
