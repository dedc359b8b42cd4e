"""Whatever fails, and whoever leaves when, each request is settled once and leaves nothing behind.

Many clients at once, upstreams whose every answer is drawn from all that can go wrong. Real sockets at
both ends. LLMGW_STORM_S, LLMGW_STORM_SEED: for how long, and drawn from what, when run by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from typing import Any

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat, request
from tests.fakes.upstream import (
    ScriptedUpstream,
    Step,
    UpstreamConnection,
    chunk,
    cut,
    delay,
    end,
    event,
    flood,
    hang,
    headers,
    json_reply,
    pieces,
    raw,
    reset,
    sse_head,
)

SECONDS = float(os.environ.get("LLMGW_STORM_S", "4"))
SEED = int(os.environ.get("LLMGW_STORM_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
CLIENTS = 24
QUICK = "{connect: 500ms, first_byte: 300ms, idle: 300ms, total: 1s, keep_alive: 60ms}"
BREAKER = "{min_calls: 4, failure_ratio: 0.7, window: 2s, open_for: 100ms}"
MODELS = f"""
lone:
  targets: [{{provider: up, model: a}}]
  timeouts: {QUICK}
  breaker: {BREAKER}
  retry: {{base: 10ms, max: 100ms}}
hedged:
  targets: [{{provider: up, model: b}}, {{provider: two, model: c}}, {{provider: gone, model: x}}]
  hedge: {{after: 30ms}}
  timeouts: {QUICK}
  breaker: {BREAKER}
  retry: {{base: 10ms, max: 100ms, attempts: 4}}
spread:
  strategy: weighted
  targets: [{{provider: up, model: d}}, {{provider: two, model: e}}, {{provider: other, model: f}}]
  timeouts: {QUICK}
  breaker: {BREAKER}
  fallbacks: [{{model: kept}}]
  retry: {{base: 10ms, max: 100ms}}
kept:
  targets: [{{provider: two, model: g}}]
  timeouts: {QUICK}
  breaker: {BREAKER}
  redaction: {{requests: [email], responses: [email]}}
busy:
  strategy: least_inflight
  targets: [{{provider: gone, model: h}}, {{provider: up, model: i}}]
  timeouts: {QUICK}
  breaker: {BREAKER}
  hedge: {{after: 20ms}}
  retry: {{base: 10ms, max: 100ms}}
"""
LIMITS = """
limits: {global: off, per_tenant: off, per_user: off}
quotas: [{per: tenant, tokens: 1G, window: day}]
"""


def delta(text: str, **more: object) -> Step:
    return event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, **more}]})


def whole(text: str = "hello") -> Step:
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    return json_reply({"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})


def failure(status: int, code: str | None = None, fields: dict[str, str] | None = None) -> Step:
    return json_reply({"error": {"message": "no", "type": "t", "code": code}}, status, fields)


LAST = delta("", finish_reason="stop")
USED = event({"id": "c", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}})
DONE = (LAST, USED, event("[DONE]"), end())
ERROR = event({"error": {"message": "busy", "type": "server_error", "code": "overloaded"}})


def answers(draw: random.Random, streamed: bool) -> list[Step]:
    """One of everything that an upstream may do."""
    wait = delay(draw.choice([0, 0, 0.01, 0.05, 0.15, 0.5]))
    good = [sse_head(), delta("He"), wait, delta("llo"), *DONE] if streamed else [wait, whole()]
    any_of: list[list[Step]] = [
        good,
        good,
        good,
        [wait, failure(draw.choice([400, 401, 403, 404, 413, 422, 500, 502, 503, 504, 520, 529]))],
        [wait, failure(429, None, {"retry-after": draw.choice(["0", "1", "600", "x", "-5", "0.05"])})],
        [failure(429, "insufficient_quota", {"retry-after-ms": "20"})],
        [wait, reset()],
        [wait, cut()],
        [hang()],
        [raw(b"HTTP/1.1 100 Continue\r\n\r\n" * draw.choice([1, 3, 5000])), *good],
        [raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), cut()],
        [raw(b"not http\r\n\r\n")],
        [json_reply({"half": 1}), json_reply({"another": 2})],
        [raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n{]}")],
        [headers(200, {"content-type": "text/html"}), chunk(b"<html>"), end()],
        [headers(200), hang()],
        [sse_head(), hang()],
        [sse_head(), ERROR, end()],
        [sse_head(), chunk(b'data: {"error": {"message": "no", "code": "overloaded"}}'), end()],
        [sse_head(), delta("He"), ERROR, end()],
        [sse_head(), delta("He"), wait, cut()],
        [sse_head(), delta("He"), wait, reset()],
        [sse_head(), delta("He"), end()],
        [sse_head(), delta("He"), hang()],
        [sse_head(), delta("He"), chunk(b'data: {"choi'), wait, draw.choice([end(), cut(), reset()])],
        [sse_head(), delta("He"), *DONE[:-1], draw.choice([hang(), cut(), reset(), end()])],
        [sse_head(), delta("He"), LAST, USED, USED, event("[DONE]"), event("[DONE]"), delta("after"), end()],
        [sse_head(), *[chunk(b": ping\r\n\r\n"), delay(0.05)] * 12, *DONE],
        [
            sse_head(),
            flood(
                b'2000\r\ndata: {"choices":[{"delta":{"content":"%b"}}]}\n\n\r\n' % (b"x" * (8192 - 47)), 200
            ),
            *DONE,
        ],
        [sse_head(), pieces(b"6\r\ndata: \r\n8\r\n[DONE]\n\n\r\n0\r\nx-trailer: 1\r\n\r\n", 3, 0.001)],
    ]
    return draw.choice(any_of)


class Sick(ScriptedUpstream):
    """Draws what it does for each request."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._draw = draw
        self.default(self._any)

    async def _any(self, connection: UpstreamConnection) -> None:
        body = self.requests[-1].body
        for step in answers(self._draw, b'"stream":true' in body.replace(b" ", b"")):
            if connection.closed.is_set():
                return
            await step(connection)


async def one(gateway: RunningGateway, draw: random.Random, told: Counter[str]) -> None:
    """One request, and a client that leaves, dawdles or waits for it."""
    model = draw.choice(["lone", "hedged", "hedged", "spread", "kept", "busy"])
    streamed = draw.random() < 0.6
    fields = {"x-llmgw-timeout": draw.choice(["0.05", "0.2", "0.6"])} if draw.random() < 0.15 else {}
    more: dict[str, Any] = {"stream": True} if streamed else {}
    client = await gateway.connect(receive_buffer=4096 if draw.random() < 0.1 else None)
    try:
        await client.send(request(chat("mail a@example.com", model=model, **more), headers=fields))
        if draw.random() < 0.25:
            await asyncio.sleep(draw.random() * 0.3)
            told["left"] += 1
            return
        try:
            answer = await client.read_head()
            if answer.headers.get("transfer-encoding") == "chunked":
                dawdles = draw.random() < 0.05
                while piece := await client.read_chunk():
                    answer.body += piece
                    if dawdles:
                        await asyncio.sleep(0.02)
            else:
                answer.body = await client.reader.readexactly(int(answer.headers["content-length"]))
        except (EOFError, asyncio.IncompleteReadError, ConnectionError):
            told["cut"] += 1
            return
        told[str(answer.status)] += 1
        if answer.headers["content-type"].startswith("text/event-stream"):
            ends = b"data: [DONE]" in answer.body
            fails = b'"error"' in answer.body
            assert ends != fails, answer
            told["done" if ends else "failed"] += 1
        else:
            json.loads(answer.body)
    finally:
        await client.vanish(reset=draw.random() < 0.5)
        gateway._clients.remove(client)


async def test_whatever_fails_each_request_is_settled_once_and_leaves_nothing() -> None:
    draw = random.Random(SEED)
    print("seed", SEED)
    wrong: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    told: Counter[str] = Counter()
    async with Sick(draw) as up, Sick(draw) as two, Sick(draw) as away:
        closed = ScriptedUpstream()
        async with closed:
            port = closed.port
        providers = (
            f'two: {{kind: openai_compatible, base_url: "{two.base_url}/v1", allow_private: true}}\n'
            f'other: {{kind: anthropic, base_url: "{away.base_url}", api_key: k, allow_private: true}}\n'
            f'gone: {{kind: openai_compatible, base_url: "http://127.0.0.1:{port}/v1", allow_private: true}}'
        )
        async with RunningGateway(up, providers=providers, models=MODELS, extra=LIMITS) as gateway:
            until = loop.time() + SECONDS

            async def clients() -> None:
                while loop.time() < until:
                    await one(gateway, draw, told)

            healing = asyncio.ensure_future(heal(gateway))
            await asyncio.gather(*(clients() for _ in range(CLIENTS)))
            healing.cancel()
            await gateway.quiet(5)
            await asyncio.sleep(0.3)
            print(dict(sorted(told.items())), Counter(record.outcome for record in gateway.records))

            opened = {one.request_id for one in gateway.journal.entries if type(one).__name__ == "Opened"}
            assert Counter(record.request_id for record in gateway.records) == Counter(opened)
            assert gateway.heard.inside == 0
            assert gateway.in_flight == 0
            assert gateway.held == 0
            assert gateway.spent("tokens") == sum(
                record.input_tokens + record.output_tokens for record in gateway.records
            )
            road = gateway.road
            assert (road.repeats.active, road.repeats.repeating, road.streams) == (0, 0, {})
            for *name, health in gateway._resources.healths.all():
                assert (name, health.in_flight, health.state.probing) == (name, 0, False)
            transport = gateway._transport
            assert not transport._active
            for pool in transport._pools.values():
                assert pool._open == len(pool._connections) == len(pool.idle)
                assert not pool._waiting
                assert not pool._dials
    assert not wrong, wrong[:3]


async def heal(gateway: RunningGateway) -> None:
    """Forget what was held against targets now and then, so that there is always something to fail."""
    while True:
        await asyncio.sleep(0.1)
        for *_, health in gateway._resources.healths.all():
            health.state.cooled_until = health.credential.cooled_until = 0.0
