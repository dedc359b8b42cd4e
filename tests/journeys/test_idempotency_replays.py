"""What is given again under an idempotency key: the same bytes, at no cost, within the limits.

Both ends are real sockets; the upstream keeps its own list of requests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.keyed import DONE, REPLAYED, STREAM, Events, keyed, piece, whole
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, event, hang, json_reply, raw, sse_head


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(whole()))
        yield up


async def test_h03_sequential_replay(upstream: ScriptedUpstream) -> None:
    """Byte for byte the same answer, told as a replay; the provider is asked and paid once."""
    quota = "quotas: [{per: tenant, tokens: 10k, window: month}, {per: tenant, requests: 9, window: month}]\n"
    async with RunningGateway(upstream, extra=quota) as gateway:
        events = Events(gateway)

        first = await gateway.ask(chat(), headers=keyed())
        await gateway.settled(1)
        spent = (gateway.spent("tokens"), gateway.spent("requests"))
        second = await gateway.ask(chat(), headers=keyed())

        assert (second.status, second.body) == (first.status, first.body) == (200, first.body)
        for name in ("content-type", "x-llmgw-provider", "x-llmgw-model", "cache-control", "vary"):
            assert second.headers[name] == first.headers[name]
        assert second.headers[REPLAYED] == "true"
        assert REPLAYED not in first.headers
        assert second.headers["x-request-id"] != first.headers["x-request-id"]
        assert "date" in second.headers
        assert len(upstream.requests) == 1
        records = await gateway.settled(2)
        assert [(one.outcome, one.input_tokens, one.output_tokens) for one in records] == [
            ("ok", 10, 5),
            ("replay", 0, 0),
        ]
        assert records[1].cost_nano_usd == 0
        assert (gateway.spent("tokens"), gateway.spent("requests")) == spent == (15, 1)
        assert gateway.held == 0
        assert events.ids(6003) == ["debug"]
        assert events.ids(6002) == ["info"]


async def test_g16_a_replay_still_counts_as_a_request(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream, extra="limits: {per_user: {requests: 2, window: 1m}}\n") as gateway:
        statuses = [(await gateway.ask(chat(), headers=keyed())).status for _ in range(3)]

        assert statuses == [200, 200, 429]


async def test_h10_a_stream_is_replayed_as_a_stream(upstream: ScriptedUpstream) -> None:
    upstream.script(*STREAM, *DONE)
    async with RunningGateway(upstream) as gateway:
        body = chat(stream=True, stream_options={"include_usage": True})
        first = await gateway.ask(body, headers=keyed())
        second = await gateway.ask(body, headers=keyed())

        assert second.body == first.body
        assert second.body.endswith(b"data: [DONE]\n\n")
        assert second.headers["content-type"] == "text/event-stream"
        assert second.headers["transfer-encoding"] == "chunked"
        assert second.headers[REPLAYED] == "true"
        assert len(upstream.requests) == 1


async def test_h10_lines_of_ollama_are_replayed_as_lines(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream) as gateway:
        body = chat(model="echo")
        first = await gateway.ask(body, path="/api/chat", headers=keyed())
        second = await gateway.ask(body, path="/api/chat", headers=keyed())

        assert first.headers["content-type"] == second.headers["content-type"] == "application/x-ndjson"
        assert second.body == first.body
        assert json.loads(second.body.splitlines()[-1])["done"] is True
        assert second.headers[REPLAYED] == "true"


async def test_a_body_that_came_in_bytes_is_replayed_in_bytes(upstream: ScriptedUpstream) -> None:
    """Audio: neither JSON nor a stream of events."""
    audio = bytes(range(256)) * 20
    upstream.script(
        raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: %d\r\n\r\n%b"
            % (len(audio), audio)
        )
    )
    async with RunningGateway(upstream) as gateway:
        body = {"model": "gpt-4o", "input": "hi", "voice": "alloy"}
        answers = [await gateway.ask(body, path="/v1/audio/speech", headers=keyed()) for _ in range(2)]

        assert [answer.body for answer in answers] == [audio, audio]
        assert answers[1].headers["content-type"] == "audio/mpeg"
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_h10_an_answer_that_is_too_long_is_never_paid_twice(
    upstream: ScriptedUpstream, streamed: bool
) -> None:
    if streamed:
        upstream.script(sse_head(), event(piece("x" * 3000)), event(piece(None, "stop")), *DONE)
    else:
        upstream.script(json_reply(whole("x" * 3000)))
    async with RunningGateway(upstream, extra="idempotency: {max_body: 2KiB}\n") as gateway:
        first = await gateway.ask(chat(stream=streamed), headers=keyed())
        second = await gateway.ask(chat(stream=streamed), headers=keyed())

        assert first.status == 200
        assert len(first.body) > 3000
        assert second.status == 409
        assert second.headers["x-llmgw-code"] == "idempotency_result_unavailable"
        assert second.headers["x-should-retry"] == "false"
        assert len(upstream.requests) == 1


async def test_what_the_provider_refuses_for_its_words_is_kept(upstream: ScriptedUpstream) -> None:
    """The same request would be refused again."""
    upstream.script(
        json_reply({"error": {"message": "bad temperature", "type": "invalid_request_error"}}, 400)
    )
    async with RunningGateway(upstream) as gateway:
        first = await gateway.ask(chat(), headers=keyed())
        second = await gateway.ask(chat(), headers=keyed())

        assert (second.status, second.body) == (first.status, first.body) == (400, first.body)
        assert second.headers[REPLAYED] == "true"
        assert len(upstream.requests) == 1


async def test_what_came_from_a_cache_is_kept_for_the_key(upstream: ScriptedUpstream) -> None:
    """And is the key's from then on, whatever becomes of the cache."""
    async with RunningGateway(upstream, extra="cache: {mode: exact}\n") as gateway:
        first = await gateway.ask(chat(temperature=0))
        hit = await gateway.ask(chat(temperature=0), headers=keyed())
        again = await gateway.ask(chat(temperature=0), headers=keyed(**{"cache-control": "no-cache"}))

        assert hit.headers["x-llmgw-cache"].startswith("hit")
        assert again.headers[REPLAYED] == "true"
        assert first.body == hit.body == again.body
        assert len(upstream.requests) == 1
        assert sorted(one.outcome for one in await gateway.settled(3)) == ["cache", "ok", "replay"]


async def test_k12_last_event_id_means_nothing(upstream: ScriptedUpstream) -> None:
    """Without a key a stream is generated anew only because it was asked for anew."""
    upstream.default(*STREAM, *DONE)
    async with RunningGateway(upstream) as gateway:
        await gateway.ask(chat(stream=True), headers=keyed())
        resumed = await gateway.ask(chat(stream=True), headers=keyed(**{"last-event-id": "3"}))

        assert resumed.headers[REPLAYED] == "true"
        assert len(upstream.requests) == 1


async def test_h14_credentials_and_limits_come_before_a_replay(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream) as gateway:
        await gateway.ask(chat(), headers=keyed())

        assert (await gateway.ask(chat(), key="sk-wrong", headers=keyed())).status == 401
        gateway.reload("", replaced=("deny_models: [forbidden]", "deny_models: [gpt-4o]"))
        assert (await gateway.ask(chat(), headers=keyed())).status == 403
        gateway.reload("limits: {per_tenant: {requests: 1, window: 1h}}\n")
        assert (await gateway.ask(chat(), headers=keyed())).status == 429


async def test_a_spent_quota_does_not_stop_a_replay(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(
        upstream, extra="quotas: [{per: tenant, requests: 1, window: month}]\n"
    ) as gateway:
        await gateway.ask(chat(), headers=keyed())
        await gateway.settled(1)

        assert (await gateway.ask(chat())).status == 429
        assert (await gateway.ask(chat(), headers=keyed())).status == 200


@pytest.mark.parametrize("limits", ["", "limits: {per_tenant: {requests: 1, window: 1h}}\n"])
async def test_h15_the_model_was_removed_meanwhile(upstream: ScriptedUpstream, limits: str) -> None:
    """What was answered is given again, within the limits; a new request is refused, and may come again."""
    async with RunningGateway(upstream) as gateway:
        first = await gateway.ask(chat(model="renamed"), headers=keyed())
        gateway.reload(limits, replaced=("  renamed:", "  other:"))

        second = await gateway.ask(chat(model="renamed"), headers=keyed())
        new = [await gateway.ask(chat(model="renamed"), headers=keyed(str(uuid4()))) for _ in range(2)]

        if limits:
            assert second.status == 429
        else:
            assert (second.status, second.body) == (200, first.body)
            assert second.headers[REPLAYED] == "true"
            assert {answer.headers["x-llmgw-code"] for answer in new} == {"model_not_found"}
        assert len(upstream.requests) == 1


async def test_a_duplicate_waits_no_longer_than_its_deadline(upstream: ScriptedUpstream) -> None:
    """Nor is the provider asked for it once the deadline has passed."""
    upstream.script(*STREAM[:2], hang())
    async with RunningGateway(upstream, extra="idempotency: {wait: 60s}\n") as gateway:
        first = await gateway.open(chat(stream=True), headers=keyed())
        await first.read_head()

        second = await gateway.ask(chat(stream=True), headers=keyed(**{"x-llmgw-timeout": "0.2s"}))

        assert (second.status, second.headers["x-llmgw-code"]) == (409, "idempotency_key_in_use")
        assert len(upstream.requests) == 1
