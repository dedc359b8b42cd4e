"""Idempotency keys over several workers and hosts, which die. The upstream's own list is the referee."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fakes.keyed import REPLAYED, keyed
from tests.fakes.process import GatewayProcess, rows, within
from tests.fakes.raw_client import Answer, RawClient, chat, request
from tests.fakes.redis import RedisServer, redis_server
from tests.fakes.upstream import ScriptedUpstream, Step, chunk, delay, end, hang, headers
from tests.journeys.test_workers import workers

CONFIG = """
version: 1
server: {{workers: {workers}, lame_duck: 100ms, drain_timeout: 10s}}
storage: {{redis: {redis}}}
providers:
  up: {{kind: openai_compatible, base_url: "{base_url}/v1", api_key: sk-up, allow_private: true}}
models:
  gpt-4o: {{targets: [{{provider: up, model: gpt-4o}}], retry: {{attempts: 1}}, breaker: off}}
limits: {{global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}}
tenants:
  acme: {{keys: [{{id: main, hash: "sha256:{digest}"}}]}}
idempotency: {{wait: {wait}}}
"""


def reply(pause_s: float = 0.0) -> tuple[Step, ...]:
    """An answer, some time later."""
    body = (
        b'{"id":"c","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":'
        b'{"role":"assistant","content":"once"}}],"usage":{"prompt_tokens":9,"completion_tokens":4}}'
    )
    return (delay(pause_s), headers(200), chunk(body), end())


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(*reply())
        yield up


def written(
    place: Path, upstream: ScriptedUpstream, workers: int, redis: str = "null", wait: str = "0s"
) -> Path:
    place.mkdir(exist_ok=True)
    digest = sha256(b"sk-test").hexdigest()
    text = CONFIG.format(workers=workers, redis=redis, base_url=upstream.base_url, digest=digest, wait=wait)
    (place / "llmgw.yaml").write_text(text)
    return place


async def ask(gateway: GatewayProcess, key: str | None, body: object = None) -> Answer:
    client = await RawClient.connect(gateway.port, host=gateway.host)
    try:
        await client.send(request(body or chat(), headers=keyed(key) if key is not None else {}))
        return await asyncio.wait_for(client.read_answer(), 20)
    finally:
        await client.vanish()


async def started(*gateways: GatewayProcess) -> ExitStack:
    stack = ExitStack()
    for gateway in gateways:
        await asyncio.to_thread(stack.enter_context, gateway)
    return stack


def rows_of(place: Path, count: int) -> list[str]:
    """The outcomes of all records, once there are so many."""
    found: list[str] = []

    def there() -> bool:
        found[:] = [str(one["outcome"]) for one in rows("usage", "tail", cwd=place)]
        return len(found) >= count

    assert within(10, there)
    return found


async def test_h04_duplicates_at_four_workers(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Ten rounds of 30 at once: one call each; the others are told to wait, and then get the answer."""
    gateway = GatewayProcess(written(tmp_path, upstream, 4))
    upstream.default(*reply(0.2))
    with await started(gateway):
        for round_ in range(1, 11):
            key = str(uuid4())
            answers = await asyncio.gather(*(ask(gateway, key) for _ in range(30)))

            found = [answer.status for answer in answers]
            assert set(found) <= {200, 409}
            assert found.count(200) - sum(REPLAYED in answer.headers for answer in answers) == 1
            again = await asyncio.gather(*(ask(gateway, key) for _ in range(10)))
            assert {(answer.status, answer.headers.get(REPLAYED)) for answer in again} == {(200, "true")}
            assert len(upstream.requests) == round_


async def test_h04_duplicates_that_wait_at_four_workers(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    gateway = GatewayProcess(written(tmp_path, upstream, 4, wait="10s"))
    upstream.default(*reply(0.3))
    with await started(gateway):
        key = str(uuid4())
        answers = await asyncio.gather(*(ask(gateway, key) for _ in range(30)))

        assert {answer.status for answer in answers} == {200}
        assert sum(REPLAYED in answer.headers for answer in answers) == 29
        assert len(upstream.requests) == 1


async def test_h07_kill_9_of_the_worker_that_holds_the_key(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """The next try runs. Both calls are in the ledger, the first one as lost."""
    gateway = GatewayProcess(written(tmp_path, upstream, 2))
    with await started(gateway):
        assert within(10, lambda: len(workers(gateway)) == 2)
        key = str(uuid4())
        await _killed(gateway, upstream, key)

        answer = await _answered(gateway, key)

        assert (answer.status, REPLAYED in answer.headers) == (200, False)
        assert len(upstream.requests) == 2
    assert sorted(rows_of(tmp_path, 2)) == ["lost", "ok"]


async def _killed(gateway: GatewayProcess, upstream: ScriptedUpstream, key: str) -> None:
    """A request whose worker is killed while its provider thinks."""
    upstream.script(hang())
    request = asyncio.create_task(ask(gateway, key))
    await upstream.received(1)
    for pid in workers(gateway):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises((EOFError, asyncio.IncompleteReadError, ConnectionError)):
        await request


async def _answered(gateway: GatewayProcess, key: str) -> Answer:
    """An answer of whoever follows those that were killed."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ask(gateway, key)
            except (EOFError, asyncio.IncompleteReadError, ConnectionError):
                await asyncio.sleep(0.1)


async def test_h03_a_replay_after_kill_9_and_a_restart(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The embedded default keeps answers on disk; a quota that was charged once stays so."""
    place = written(tmp_path, upstream, 1)
    with (place / "llmgw.yaml").open("a") as file:
        file.write("quotas: [{per: tenant, requests: 100, window: month}]\n")
    key = str(uuid4())
    gateway = GatewayProcess(place)
    with await started(gateway):
        first = await ask(gateway, key)
        assert rows_of(place, 1) == ["ok"]
        await asyncio.to_thread(gateway.kill)
    with await started(gateway):
        second = await ask(gateway, key)
        third = await ask(gateway, key)
        (quota,) = await asyncio.to_thread(lambda: rows("quota", "show", "--tenant", "acme", cwd=place))
        await asyncio.to_thread(gateway.kill)
    with await started(gateway):
        (later,) = await asyncio.to_thread(lambda: rows("quota", "show", "--tenant", "acme", cwd=place))
        verified = await asyncio.to_thread(lambda: rows("usage", "verify", cwd=place))

    assert (second.body, second.headers[REPLAYED]) == (first.body, "true")
    assert third.body == first.body
    assert len(upstream.requests) == 1
    assert quota["used"] == later["used"] == 1
    assert verified == []
    report = {row["outcome"]: row for row in rows("usage", "report", "--by", "outcome", cwd=place)}
    assert (report["replay"]["requests"], report["replay"]["input_tokens"], report["replay"]["errors"]) == (
        2,
        0,
        0,
    )
    assert (report["ok"]["requests"], report["ok"]["input_tokens"]) == (1, 9)


async def test_h11_a_stop_waits_for_a_call_without_its_client(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    gateway = GatewayProcess(written(tmp_path, upstream, 1))
    upstream.script(*reply(1.5))
    key = str(uuid4())
    with await started(gateway):
        client = await RawClient.connect(gateway.port)
        await client.send(request(chat(), headers=keyed(key)))
        await upstream.received(1)
        await client.vanish(reset=True)
        assert await asyncio.to_thread(gateway.stop) == 0
    with await started(gateway):
        answer = await ask(gateway, key)

    assert answer.headers[REPLAYED] == "true"
    assert len(upstream.requests) == 1


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def test_h04_duplicates_at_two_hosts(
    upstream: ScriptedUpstream, tmp_path: Path, redis: RedisServer
) -> None:
    """Ten rounds of 50 at once, two workers a host: one call each, and one answer for all."""
    upstream.default(*reply(0.2))
    url = f"{redis.url}?budget=2000ms"
    gateways = [
        GatewayProcess(written(tmp_path / name, upstream, 2, redis=url, wait="10s"), host=host)
        for name, host in (("a", "127.0.0.1"), ("b", "127.0.0.2"))
    ]
    with await started(*gateways):
        for round_ in range(1, 11):
            key = str(uuid4())
            answers = await asyncio.gather(*(ask(gateways[at % 2], key) for at in range(50)))

            assert {answer.status for answer in answers} == {200}
            assert len({answer.body for answer in answers}) == 1
            assert sum(REPLAYED in answer.headers for answer in answers) == 49
            assert len(upstream.requests) == round_


async def test_h07_kill_9_of_the_host_that_holds_the_key(
    upstream: ScriptedUpstream, tmp_path: Path, redis: RedisServer
) -> None:
    """The other host refuses the key until its lease is over, and then runs it."""
    url = f"{redis.url}?budget=2000ms"
    one, other = (
        GatewayProcess(written(tmp_path / name, upstream, 2, redis=url), host=host)
        for name, host in (("a", "127.0.0.1"), ("b", "127.0.0.2"))
    )
    with await started(one, other):
        assert within(10, lambda: len(workers(one)) == 2)
        key = str(uuid4())
        await _killed(one, upstream, key)
        (name,) = redis.call("KEYS", "idempotency:*")
        assert 20_000 < redis.call("PTTL", name) <= 30_000
        assert (await ask(other, key)).status == 409
        redis.call("PEXPIRE", name, 1)
        await asyncio.sleep(0.05)

        answers = await asyncio.gather(*(ask(other, key) for _ in range(5)))

        assert sorted({answer.status for answer in answers}) in ([200], [200, 409])
        assert (await _answered(one, key)).headers[REPLAYED] == "true"
        assert len(upstream.requests) == 2


async def test_h03_a_spent_quota_of_all_hosts_does_not_stop_a_replay(
    upstream: ScriptedUpstream, tmp_path: Path, redis: RedisServer
) -> None:
    place = written(tmp_path / "a", upstream, 1, redis=f"{redis.url}?budget=2000ms")
    # Limits and quotas are taken in one trip, but not for a request with a key.
    text = (
        (place / "llmgw.yaml")
        .read_text()
        .replace("per_tenant: off", "per_tenant: {requests: 99, window: 1h}")
    )
    (place / "llmgw.yaml").write_text(text + "quotas: [{per: tenant, requests: 2, window: month}]\n")
    gateway = GatewayProcess(place)
    with await started(gateway):
        first, second = str(uuid4()), str(uuid4())
        keys = [first, first, second, str(uuid4()), first]
        statuses = [(await ask(gateway, key)).status for key in keys]
        (quota,) = await asyncio.to_thread(lambda: rows("quota", "show", "--tenant", "acme", cwd=place))

    assert statuses == [200, 200, 200, 429, 200]
    assert (quota["used"], quota["held"]) == (2, 0)
    assert len(upstream.requests) == 2


async def test_h01_a_missing_key_holds_nothing_of_the_quotas_of_all_hosts(
    upstream: ScriptedUpstream, tmp_path: Path, redis: RedisServer
) -> None:
    """Limits and quotas are taken in one trip, but not for a request that is refused between them."""
    place = written(tmp_path / "a", upstream, 1, redis=f"{redis.url}?budget=2000ms")
    text = (place / "llmgw.yaml").read_text()
    text = text.replace("idempotency: {", "idempotency: {mode: required, ")
    text = text.replace("per_tenant: off", "per_tenant: {requests: 99, window: 1h}")
    (place / "llmgw.yaml").write_text(text + "quotas: [{per: tenant, requests: 2, window: month}]\n")
    gateway = GatewayProcess(place)
    with await started(gateway):
        statuses = [(await ask(gateway, None)).status for _ in range(3)]
        statuses.append((await ask(gateway, str(uuid4()))).status)
        (quota,) = await asyncio.to_thread(lambda: rows("quota", "show", "--tenant", "acme", cwd=place))

    assert statuses == [400, 400, 400, 200]
    assert (quota["used"], quota["held"]) == (1, 0)


async def test_h12_redis_gone(upstream: ScriptedUpstream, tmp_path: Path, redis: RedisServer) -> None:
    """Keyed requests are refused at once and the others served; when it is back, all is as before."""
    gateway = GatewayProcess(written(tmp_path / "a", upstream, 1, redis=f"{redis.url}?budget=500ms"))
    with await started(gateway):
        assert (await ask(gateway, str(uuid4()))).status == 200
        redis.stop()
        await asyncio.sleep(0.2)
        began = time.monotonic()

        refused = [await ask(gateway, str(uuid4())) for _ in range(10)]

        took_s = time.monotonic() - began
        client = await RawClient.connect(gateway.port)
        await client.send(request(chat()))
        unkeyed = await client.read_answer()
        await client.vanish()
        redis.start()
        assert {answer.status for answer in refused} == {503}
        assert refused[0].headers["x-llmgw-code"] == "store_unavailable"
        assert took_s < 2
        assert unkeyed.status == 200
        end_at = time.monotonic() + 20
        while (await ask(gateway, str(uuid4()))).status != 200:
            assert time.monotonic() < end_at
            await asyncio.sleep(0.1)
        for name in ("idempotency_store_unreachable", "idempotency_store_answers_again"):
            assert await asyncio.to_thread(within, 5, lambda name=name: len(gateway.events(name)) == 1), name
