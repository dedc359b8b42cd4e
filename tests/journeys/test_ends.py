"""Requests that end where nobody expects it, and what is told and paid then. Real sockets at both ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from llmgw.core.exchange import Exchange
from llmgw.policies.redact import Redaction
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat, request
from tests.fakes.upstream import (
    ScriptedUpstream,
    Step,
    UpstreamConnection,
    chunk,
    delay,
    end,
    event,
    hang,
    headers,
    json_reply,
    raw,
    sse_head,
)

MODELS = """
hedged:
  targets: [{provider: up, model: a}, {provider: two, model: b}]
  hedge: {after: 100ms}
  timeouts: {keep_alive: 200ms}
  retry: {base: 10ms}
pair:
  targets: [{provider: up, model: a}, {provider: two, model: b}]
  retry: {base: 10ms}
home:
  targets: [{provider: up, model: home}]
  retry: {attempts: 2}
  fallbacks: [{model: abroad}]
abroad:
  targets: [{provider: two, model: abroad}]
  redaction: {requests: [email]}
  retry: {attempts: 1}
  breaker: {min_calls: 1, failure_ratio: 0.5, window: 10s, open_for: 100ms}
slow: {targets: [{provider: up, model: slow}], retry: {base: 5s, max: 5s}}
limited:
  targets: [{provider: up, model: l}]
  retry: {attempts: 2}
  fallbacks: [{model: wide, on: [rate_limit]}]
wide: {targets: [{provider: two, model: b}]}
strange: {targets: [{provider: up, model: s}], retry: {base: 10ms}, fallbacks: [{model: claude}]}
claude: {targets: [{provider: other, model: c}]}
alone: {targets: [{provider: up, model: alone}], retry: {attempts: 1}, breaker: off}
idle: {targets: [{provider: up, model: i}], retry: {attempts: 1}, timeouts: {idle: 300ms, total: 3s}}
"""


def completion(text: str) -> Step:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json_reply({"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})


def delta(text: str) -> Step:
    return event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})


def failure(status: int, fields: dict[str, str] | None = None) -> Step:
    return json_reply({"error": {"message": "no", "type": "t", "code": None}}, status, fields)


DONE = (
    event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    event({"id": "c", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}}),
    event("[DONE]"),
    end(),
)


@pytest.fixture
async def second() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, second: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    others = (
        f'two: {{kind: openai_compatible, base_url: "{second.base_url}/v1", allow_private: true}}\n'
        f'other: {{kind: anthropic, base_url: "{second.base_url}", api_key: k, allow_private: true}}'
    )
    async with RunningGateway(upstream, providers=others, models=MODELS) as running:
        yield running
        await running.quiet()
        assert running.heard.inside == 0
        assert (running.road.repeats.active, running.road.repeats.repeating) == (0, 0)
        for *_, health in running._resources.healths.all():
            assert (health.in_flight, health.state.probing) == (0, False)


async def test_a_client_that_leaves_a_hedge_whose_first_target_has_failed_is_gone(
    gateway: RunningGateway, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """Nothing is asked again for nobody."""
    # What is loaded by the first request would delay the second target.
    upstream.script(completion("hello"))
    await gateway.ask(chat(model="alone"))
    failed = asyncio.Event()

    async def after(_: UpstreamConnection) -> None:
        failed.set()

    upstream.script(delay(0.2), failure(500), after)
    second.script(hang())
    second.default(completion("for nobody"))
    upstream.default(completion("for nobody"))
    client = await gateway.open(chat(model="hedged"))
    assert await second.received(within_s=5)
    await asyncio.wait_for(failed.wait(), 5)
    await asyncio.sleep(0.5)
    await client.vanish()

    _, record = await gateway.settled(2)
    assert (record.outcome, record.attempts) == ("client_gone", 2)
    assert (len(upstream.requests), len(second.requests)) == (2, 1)


async def test_our_comment_is_no_word_of_a_hedged_target(
    gateway: RunningGateway, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), hang())
    second.script(sse_head(), delay(0.7), delta("two"), delay(0.5), *DONE)

    answer = await gateway.ask(chat(model="hedged", stream=True))

    assert (answer.status, answer.headers["x-llmgw-provider"]) == (200, "two")
    assert b"two" in answer.body
    assert b": keep-alive" in answer.body
    await gateway.settled()


async def test_j10_a_probe_that_ends_before_it_is_sent_is_given_back(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    second: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client leaves while its words are taken out of the request."""
    second.script(failure(500))
    assert (await gateway.ask(chat(model="abroad"))).status == 500
    await asyncio.sleep(0.15)
    upstream.default(failure(500))
    before = Redaction.request

    def slowly(self: Redaction, ex: Exchange) -> None:
        time.sleep(0.3)
        before(self, ex)

    monkeypatch.setattr(Redaction, "request", slowly)
    client = await gateway.open(chat(model="home"))
    assert await upstream.received()
    await asyncio.sleep(0.1)
    await client.vanish()
    await gateway.settled(2)
    monkeypatch.undo()
    second.script(completion("well again"))

    assert (await gateway.ask(chat(model="abroad"))).status == 200


async def test_a_fallback_for_rate_limits_holds_as_long_as_the_limit(
    gateway: RunningGateway, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.default(failure(429, {"retry-after": "40"}))
    second.default(completion("two"))

    answers = [await gateway.ask(chat(model="limited")) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len(upstream.requests) == 1


async def test_a_client_that_leaves_while_nothing_is_asked_pays_nothing(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.default(failure(500))
    client = await gateway.open(chat(model="slow"))
    await upstream.received()
    await asyncio.sleep(0.1)
    await client.vanish()

    (record,) = await gateway.settled()
    assert record.outcome == "client_gone"
    assert (record.input_tokens, record.output_tokens) == (0, 0)


async def test_j24_a_fallback_that_cannot_read_the_request_does_not_hide_the_failure(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.default(failure(503))
    body = {"model": "strange", "messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}

    answer = await gateway.ask(body)

    assert answer.status == 503


async def test_j17_what_comes_too_late_to_be_answered_is_not_asked(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The caller's deadline counts from its first byte."""
    whole = request(chat(model="alone"), headers={"x-llmgw-timeout": "0.1"})
    client = await gateway.connect()
    await client.send(whole[:-5])
    await asyncio.sleep(0.3)
    await client.send(whole[-5:])

    answer = await client.read_answer()

    assert (answer.status, upstream.requests) == (504, [])


async def test_the_target_that_may_be_asked_again_is_though_an_earlier_one_may_not(
    gateway: RunningGateway, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.script(failure(429, {"retry-after": "40"}))
    second.script(failure(500))
    second.script(completion("two"))

    answer = await gateway.ask(chat(model="pair"))

    assert (answer.status, len(upstream.requests), len(second.requests)) == (200, 1, 2)


async def test_a_callers_mistake_that_the_first_of_a_hedge_finds_is_told(
    gateway: RunningGateway, upstream: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    upstream.script(delay(0.3), failure(400))
    second.script(failure(500))

    answer = await gateway.ask(chat(model="hedged"))

    assert (answer.status, len(upstream.requests), len(second.requests)) == (400, 1, 1)


@pytest.mark.parametrize("after", ["", "\n"])
async def test_j23_a_first_error_whose_event_is_never_closed_is_told_as_an_error(
    gateway: RunningGateway, upstream: ScriptedUpstream, after: str
) -> None:
    error = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    upstream.script(sse_head(), chunk(f"data: {json.dumps(error)}{after}".encode()), end())

    answer = await gateway.ask(chat(model="alone", stream=True))

    assert answer.status == 429
    assert answer.json["error"]["message"] == "slow down"


async def test_k03_comments_with_any_line_end_are_no_progress(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    pings = [step for _ in range(40) for step in (chunk(b": ping - 2026-01-01\r\n\r\n"), delay(0.1))]
    upstream.script(sse_head(), delta("He"), *pings, hang())
    began = time.monotonic()

    answer = await gateway.ask(chat(model="idle", stream=True))

    assert b"He" in answer.body
    assert time.monotonic() - began < 2
    assert b"comments" in answer.body


async def test_j12_a_document_without_end_is_not_gathered_for_a_stream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(headers(200), *[chunk(b"x" * 1024 * 1024)] * 80, end())

    answer = await gateway.ask(chat(model="alone", stream=True))

    assert answer.status == 502
    assert "larger than" in answer.json["error"]["message"]


async def test_j12_an_event_in_tiny_chunks_costs_no_more_than_its_bytes(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    big = json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * 400_000}}]}).encode()
    tiny = b"".join(b"1\r\n%c\r\n" % byte for byte in b"data: " + big + b"\n\n")
    upstream.script(sse_head(), raw(tiny), *DONE)
    began = time.monotonic()

    answer = await gateway.ask(chat(model="alone", stream=True))

    assert b"[DONE]" in answer.body
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "after",
    ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Fri, 01 Jan 2027 00:00:00 +99999999999999999999"],
)
async def test_j05_a_date_that_is_none_is_no_wait(
    gateway: RunningGateway, upstream: ScriptedUpstream, after: str
) -> None:
    upstream.script(failure(429, {"retry-after": after}))

    answer = await gateway.ask(chat(model="alone"))

    assert answer.status == 429
    assert "retry-after" not in answer.headers
