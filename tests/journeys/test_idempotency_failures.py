"""Idempotency keys of requests that fail, whose client leaves, or whose store is away.

Both ends are real sockets; the upstream keeps its own list of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from llmgw.core.errors import Unavailable
from llmgw.ports.idempotency import Found, Held
from llmgw.stores.idempotency_memory import MemoryIdempotency
from tests.fakes.gateway import RunningGateway
from tests.fakes.keyed import DONE, KEY, REPLAYED, STREAM, USED, Events, keyed, piece, whole
from tests.fakes.raw_client import Answer, chat, request
from tests.fakes.upstream import ScriptedUpstream, cut, delay, event, hang, json_reply, sse_head


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(whole()))
        yield up


async def test_h08_what_failed_before_dispatch_runs_again(upstream: ScriptedUpstream) -> None:
    """A bad key, a spent quota, a limit, a broken body: the same key is good afterwards."""
    quota = "quotas: [{per: tenant, requests: 1, window: month}]\n"
    async with RunningGateway(upstream, extra=quota) as gateway:
        assert (await gateway.ask(chat(), key="sk-wrong", headers=keyed())).status == 401
        assert (await gateway.ask(b"{", headers=keyed())).status == 400
        assert (await gateway.ask(chat(), headers=keyed(str(uuid4())))).status == 200
        assert (await gateway.ask(chat(), headers=keyed())).status == 429

        gateway.reload("")
        answer = await gateway.ask(chat(), headers=keyed())

        assert answer.status == 200
        assert REPLAYED not in answer.headers


@pytest.mark.parametrize("status", [429, 500, 503, 504])
async def test_h09_failures_of_the_provider_are_not_kept(upstream: ScriptedUpstream, status: int) -> None:
    upstream.script(json_reply({"error": {"message": "not now"}}, status))
    async with RunningGateway(upstream) as gateway:
        first = await gateway.ask(chat(), headers=keyed())
        second = await gateway.ask(chat(), headers=keyed())

        assert first.status >= 400
        assert (second.status, REPLAYED in second.headers) == (200, False)
        assert len(await gateway.settled(2)) == 2


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"},
        {"message": "Incorrect API key provided", "code": "invalid_api_key"},
    ],
)
async def test_h09_a_400_about_the_account_is_not_kept(
    upstream: ScriptedUpstream, error: dict[str, str]
) -> None:
    """Some say so with the status of a bad request; the next call may find the bill paid."""
    upstream.script(json_reply({"error": {"type": "invalid_request_error", **error}}, 400))
    async with RunningGateway(upstream) as gateway:
        first = await gateway.ask(chat(), headers=keyed())
        second = await gateway.ask(chat(), headers=keyed())

        assert first.status == 400
        assert REPLAYED not in second.headers
        assert second.body != first.body


async def test_h09_a_stream_that_was_cut_is_not_kept(upstream: ScriptedUpstream) -> None:
    """Both calls are billed for what they delivered."""
    upstream.script(sse_head(), event(piece("Hel")), cut())
    upstream.script(*STREAM, *DONE)
    async with RunningGateway(upstream) as gateway:
        first = await gateway.ask(chat(stream=True), headers=keyed())
        second = await gateway.ask(chat(stream=True), headers=keyed())

        assert b'"error"' in first.body
        assert second.body.endswith(b"data: [DONE]\n\n")
        assert REPLAYED not in second.headers
        assert sorted(one.outcome for one in await gateway.settled(2)) == ["ok", "upstream_truncated"]


@pytest.mark.parametrize("reset", [False, True])
async def test_h11_the_call_goes_on_without_its_client(upstream: ScriptedUpstream, reset: bool) -> None:
    """It is finished, kept and billed whole; who asks again gets all of it."""
    upstream.script(STREAM[0], STREAM[1], delay(0.3), *STREAM[2:], *DONE)
    async with RunningGateway(upstream) as gateway:
        client = await gateway.open(chat(stream=True), headers=keyed())
        await client.read_head()
        await client.read_chunk()

        await client.vanish(reset=reset)

        records = await gateway.settled(1)
        assert (records[0].outcome, records[0].input_tokens, records[0].output_tokens) == ("ok", 7, 3)
        answer = await gateway.ask(chat(stream=True), headers=keyed())
        assert answer.body.count(b"data: ") == 4
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert answer.headers[REPLAYED] == "true"
        assert len(upstream.requests) == 1


async def test_h11_a_client_that_reads_nothing_and_leaves(upstream: ScriptedUpstream) -> None:
    """The upstream was paused for it, and goes on when it is gone."""
    text = "x" * 40_000
    upstream.script(sse_head(), *[event(piece(text))] * 400, event(piece(None, "stop")), event(USED), *DONE)
    async with RunningGateway(upstream, extra="idempotency: {max_body: 32MiB}\n") as gateway:
        client = await gateway.connect(receive_buffer=4096)
        await client.send(request(chat(stream=True), headers=keyed()))
        await client.read_head()
        client.writer.transport.pause_reading()
        await asyncio.sleep(0.5)
        assert gateway.gateway.under_way

        await client.vanish(reset=True)

        assert (await gateway.settled(1, within_s=10))[0].outcome == "ok"
        answer = await gateway.ask(chat(stream=True), headers=keyed())
        assert answer.headers[REPLAYED] == "true"
        assert answer.body.count(text.encode()) == 400


async def test_h11_before_the_answer_began(upstream: ScriptedUpstream) -> None:
    upstream.script(delay(0.3), json_reply(whole("late")))
    async with RunningGateway(upstream) as gateway:
        client = await gateway.open(chat(), headers=keyed())
        await upstream.received(1)
        await client.vanish(reset=True)
        await gateway.settled(1)

        answer = await gateway.ask(chat(), headers=keyed())

        assert answer.json["choices"][0]["message"]["content"] == "late"
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("more", [{}, {"expect": "100-continue"}])
async def test_h11_bodies_of_clients_that_left_are_still_counted(
    upstream: ScriptedUpstream, more: dict[str, str]
) -> None:
    """Until their calls have ended."""
    size = 3 * 1024 * 1024
    upstream.default(delay(0.5), json_reply(whole()))
    async with RunningGateway(upstream, max_body=2 * size) as gateway:
        bodies = gateway.gateway.bodies
        client = await gateway.open(chat("x" * size), headers=keyed(KEY, **more))
        await upstream.received(1)

        await client.vanish(reset=True)
        await asyncio.sleep(0.1)

        assert size < bodies.held < 1.1 * size
        await gateway.settled(1, within_s=10)
        assert bodies.held == 0


async def test_h11_on_a_path_that_names_the_model(upstream: ScriptedUpstream) -> None:
    """Which comes another way in, and is translated on the way out."""
    upstream.script(STREAM[0], STREAM[1], delay(0.3), *STREAM[2:], *DONE)
    path = "/v1beta/models/gpt-4o:streamGenerateContent?alt=sse"
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    async with RunningGateway(upstream) as gateway:
        client = await gateway.open(body, path=path, headers=keyed())
        await client.read_head()
        await client.read_chunk()
        await client.vanish(reset=True)

        assert (await gateway.settled(1))[0].outcome == "ok"
        answers = [await gateway.ask(body, path=path, headers=keyed()) for _ in range(2)]

        assert answers[0].headers[REPLAYED] == "true"
        assert answers[0].body == answers[1].body
        assert b'"finishReason":"STOP"' in answers[0].body
        assert len(upstream.requests) == 1
        other = path.replace("gpt-4o", "renamed")
        assert (await gateway.ask(body, path=other, headers=keyed())).status == 422


async def test_h11_the_call_does_not_go_on_for_ever(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is cancelled, billed for what was delivered, and the key is free."""
    monkeypatch.setattr("llmgw.policies.idempotency._Keeping.outlasts_s", 0.2)
    upstream.script(sse_head(), event(piece("Hel")), hang())
    async with RunningGateway(upstream) as gateway:
        client = await gateway.open(chat(stream=True), headers=keyed())
        await client.read_head()
        await client.read_chunk()
        await client.vanish(reset=True)

        records = await gateway.settled(1)
        assert records[0].outcome == "client_gone"
        assert records[0].usage_source == "estimated"
        assert (await gateway.ask(chat(stream=True), headers=keyed())).status == 200


async def test_without_a_key_the_upstream_is_cancelled(upstream: ScriptedUpstream) -> None:
    upstream.script(sse_head(), event(piece("Hel")), hang())
    async with RunningGateway(upstream) as gateway:
        client = await gateway.open(chat(stream=True))
        await client.read_head()
        await client.read_chunk()
        await client.vanish(reset=True)

        assert (await gateway.settled(1))[0].outcome == "client_gone"


class BrokenStore(MemoryIdempotency):
    """Fails from the moment `broken` is set."""

    broken = False

    async def claim(self, held: Held) -> Found | None:
        if self.broken:
            raise Unavailable("idempotency keys cannot be looked up at the moment", retry_after_s=1)
        return await super().claim(held)

    async def keep(self, held: Held, answer: bytes, ttl_s: float) -> bool:
        if self.broken:
            raise Unavailable("idempotency keys cannot be looked up at the moment", retry_after_s=1)
        return await super().keep(held, answer, ttl_s)


async def test_h12_store_down(upstream: ScriptedUpstream) -> None:
    """Keyed requests are refused, the others go on; trouble is told once."""
    async with RunningGateway(upstream) as gateway:
        events = Events(gateway)
        store = events.names._store = BrokenStore()
        store.broken = True

        refused = [await gateway.ask(chat(), headers=keyed()) for _ in range(2)]
        unkeyed = await gateway.ask(chat())
        store.broken = False
        again = await gateway.ask(chat(), headers=keyed())

        assert {answer.status for answer in refused} == {503}
        assert refused[0].headers["x-llmgw-code"] == "store_unavailable"
        assert refused[0].headers["retry-after"] == "1"
        assert unkeyed.status == again.status == 200
        assert [name for _, name, _ in events.told[:2]] == [
            "idempotency_store_unreachable",
            "idempotency_store_answers_again",
        ]
        assert len(upstream.requests) == 2


async def test_h12_an_answer_is_kept_when_the_store_comes_back(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has its answer meanwhile; the key stays taken until the answer is there."""
    monkeypatch.setattr("llmgw.policies.idempotency._TRIED_EACH_S", 0.05)
    upstream.script(delay(0.1), json_reply(whole()))
    async with RunningGateway(upstream) as gateway:
        events = Events(gateway)
        store = events.names._store = BrokenStore()
        client = await gateway.open(chat(), headers=keyed())
        await upstream.received(1)
        store.broken = True

        first = await client.read_answer()
        store.broken = False
        second = await _until_replayed(gateway)

        assert first.status == 200
        assert second.body == first.body
        assert len(upstream.requests) == 1


async def _until_replayed(gateway: RunningGateway) -> Answer:
    async with asyncio.timeout(5):
        while True:
            answer = await gateway.ask(chat(), headers=keyed())
            if answer.status != 409:
                return answer
            await asyncio.sleep(0.02)
