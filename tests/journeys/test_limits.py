"""Limits as clients meet them: who is refused, what the answer says, and what is left afterwards.

Both ends are real sockets; time is a fake clock where waiting is what is tested.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import Answer, RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, hang, json_reply

OK = {"id": "c", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}


def limits(**levels: str) -> str:
    """Only these levels."""
    given = dict.fromkeys(("global", "per_tenant", "per_user", "per_ip", "concurrency"), "off") | levels
    return "limits: {" + ", ".join(f"{name}: {rule}" for name, rule in given.items()) + "}\n"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(OK))
        yield up


async def ask_often(gateway: RunningGateway, times: int, connections: int, model: str = "echo") -> list[int]:
    """The statuses of so many requests, on so many connections at once."""
    statuses: list[int] = []

    async def one() -> None:
        client = await gateway.connect()
        for _ in range(times // connections):
            await client.send(request(chat(model=model)))
            statuses.append((await client.read_answer()).status)

    await asyncio.gather(*(one() for _ in range(connections)))
    return statuses


LEVELS = ["global", "per_tenant", "per_user", "per_key", "per_model", "per_ip"]


@pytest.mark.parametrize("algorithm", ["fixed_window", "sliding_window", "token_bucket"])
@pytest.mark.parametrize("level", LEVELS)
async def test_f01_burst_at_a_limit(upstream: ScriptedUpstream, level: str, algorithm: str) -> None:
    """1,000 requests against a limit of 100 an hour: exactly 100 are admitted, on every level."""
    rule = f"{{requests: 100, window: 1h, algorithm: {algorithm}"
    rule += ", exempt: []}" if level == "per_ip" else "}"
    async with RunningGateway(upstream, extra=limits(**{level: rule})) as gateway:
        statuses = await ask_often(gateway, 1000, 50)

        assert statuses.count(200) == 100
        assert statuses.count(429) == 900


async def test_f01_burst_at_the_concurrency_limit(upstream: ScriptedUpstream) -> None:
    """500 requests at once against 50 places: exactly 50 reach the provider, and all places return."""
    upstream.default(hang())
    async with RunningGateway(upstream, extra=limits(concurrency="{in_flight: 50}")) as gateway:
        clients = [await gateway.open(chat()) for _ in range(500)]
        assert await upstream.received(50)
        done, _ = await asyncio.wait([asyncio.ensure_future(one.read_answer()) for one in clients], timeout=2)
        answers = [task.result() for task in done]

        assert len(answers) == 450
        assert {answer.status for answer in answers} == {429}
        assert {answer.json["error"]["code"] for answer in answers} == {"concurrency_limit_exceeded"}
        assert {answer.headers["x-ratelimit-policy"] for answer in answers} == {"concurrency"}
        assert len(upstream.requests) == 50
        for client in clients:
            await client.vanish()
        await gateway.quiet()
        assert gateway.in_flight == 0


async def test_the_answer_names_the_policies_that_applied(upstream: ScriptedUpstream) -> None:
    """With the defaults, from loopback: the caller's own limit, its tenant's, everybody's."""
    async with RunningGateway(upstream, clock=FakeClock().clock) as gateway:
        answer = await gateway.ask(chat())

        assert answer.headers["x-ratelimit-policy"] == "per-user,per-tenant,global"
        assert answer.headers["ratelimit-policy"] == (
            '"per-user";q=100;w=60, "per-tenant";q=1000;w=3600, "global";q=10000;w=60'
        )
        assert answer.headers["ratelimit"] == '"per-user";r=99;t=60'
        assert answer.headers["x-ratelimit-limit-requests"] == "100"
        assert answer.headers["x-ratelimit-remaining-requests"] == "99"
        assert answer.headers["x-ratelimit-reset-requests"] == "1m0s"


async def test_c10_the_providers_own_limits_are_not_told(upstream: ScriptedUpstream) -> None:
    """Clients see our limits, never those of the account behind."""
    upstream.default(
        json_reply(OK, headers={"x-ratelimit-remaining-requests": "4242", "x-ratelimit-limit-tokens": "4242"})
    )
    async with RunningGateway(upstream) as gateway:
        answer = await gateway.ask(chat())

        assert "4242" not in json.dumps(answer.headers)


@pytest.mark.parametrize("algorithm", ["fixed_window", "sliding_window", "token_bucket"])
async def test_f06_a_client_that_sleeps_as_told_is_admitted(
    upstream: ScriptedUpstream, algorithm: str
) -> None:
    """Every field points at one instant, in whole seconds, and at that instant there is room."""
    clock = FakeClock()
    rule = f"{{requests: 3, window: 1m, algorithm: {algorithm}}}"
    async with RunningGateway(upstream, extra=limits(per_user=rule), clock=clock.clock) as gateway:
        client = await gateway.connect()
        for _ in range(12):
            answer = await _ask(client)
            if answer.status == 429:
                wait = int(answer.headers["retry-after"])
                assert wait >= 1
                assert answer.json["retryAfterSeconds"] == wait
                assert answer.headers["ratelimit"] == f'"per-user";r=0;t={wait}'
                assert answer.headers["x-ratelimit-reset-requests"] == _go(wait)
                clock.sleep(wait)
                answer = await _ask(client)
            assert answer.status == 200
            clock.sleep(0.7)


def _go(seconds: int) -> str:
    return f"{seconds // 60}m{seconds % 60}s" if seconds >= 60 else f"{seconds}s"


async def _ask(client: RawClient, **how: str) -> Answer:
    await client.send(request(chat(), **how))
    return await client.read_answer()


async def test_f07_a_refusal_takes_no_permit_of_other_levels(upstream: ScriptedUpstream) -> None:
    """Who is refused by one level has spent nothing of the others."""
    extra = limits(
        **{
            "global": "{requests: 100, window: 1h}",
            "per_tenant": "{requests: 50, window: 1h}",
            "per_user": "{requests: 2, window: 1h}",
            "concurrency": "{in_flight: 10}",
        }
    )
    async with RunningGateway(upstream, extra=extra, clock=FakeClock().clock) as gateway:
        for _ in range(20):
            refused = await gateway.ask(chat())
        other = await gateway.ask(chat(), key="sk-rival")

        assert refused.status == 429
        assert refused.headers["x-ratelimit-policy"] == "per-user,per-tenant,global"
        assert refused.headers["ratelimit"].startswith('"per-user";r=0;')
        assert other.status == 200
        assert gateway.used("global:") == 3
        assert gateway.used("per_tenant:", "acme") == 2
        assert gateway.in_flight == 0


async def test_f08_refused_requests_do_not_extend_the_wait(upstream: ScriptedUpstream) -> None:
    """A client that keeps knocking is let in when it would have been anyway."""
    clock = FakeClock()
    extra = limits(per_user="{requests: 1, window: 1m, algorithm: sliding_window, segments: 6}")
    async with RunningGateway(upstream, extra=extra, clock=clock.clock) as gateway:
        client = await gateway.connect()
        assert (await _ask(client)).status == 200
        first = int((await _ask(client)).headers["retry-after"])
        for _ in range(first - 1):
            clock.sleep(1)
            assert (await _ask(client)).status == 429
        clock.sleep(1)

        assert (await _ask(client)).status == 200


async def test_f14_a_changed_limit_keeps_what_was_used(upstream: ScriptedUpstream) -> None:
    """100, then 50, then 100 again: the uses carry over, and never more than the limit pass."""

    def rule(requests: int) -> str:
        return limits(per_user=f"{{requests: {requests}, window: 1h}}")

    async with RunningGateway(upstream, extra=rule(100)) as gateway:
        first = await ask_often(gateway, 40, 4)
        gateway.reload(rule(50))
        second = await ask_often(gateway, 40, 4)
        gateway.reload(rule(100))
        third = await ask_often(gateway, 80, 4)

        assert (first.count(200), second.count(200), third.count(200)) == (40, 10, 50)


async def test_f15_a_limit_of_zero_blocks(upstream: ScriptedUpstream) -> None:
    """Nothing passes, and the client is told that trying again does not help."""
    async with RunningGateway(upstream, extra=limits(per_user="{requests: 0, window: 1m}")) as gateway:
        answer = await gateway.ask(chat())

        assert answer.status == 429
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after"]) >= 1


async def test_f16_a_flood_of_bad_keys_spends_no_budget(upstream: ScriptedUpstream) -> None:
    """Only the address's and everybody's permits move; then the flood is told 429, not 401."""
    extra = limits(
        **{
            "global": "{requests: 1000, window: 1h}",
            "per_tenant": "{requests: 50, window: 1h}",
            "per_user": "{requests: 50, window: 1h}",
            "per_ip": "{requests: 30, window: 1h, exempt: [], apply_to: unauthenticated}",
        }
    )
    async with RunningGateway(upstream, extra=extra, clock=FakeClock().clock) as gateway:
        statuses = [(await gateway.ask(chat(), key="sk-wrong")).status for _ in range(40)]
        good = await gateway.ask(chat())

        assert statuses == [401] * 30 + [429] * 10
        assert good.status == 200
        assert gateway.used("per_tenant:", "acme") == 1
        assert gateway.used("per_user:", "acme") == 1
        assert gateway.used("global:") == 31


async def test_the_flat_body_off_the_dialect_paths(upstream: ScriptedUpstream) -> None:
    """Where no dialect is spoken the body has exactly three members."""
    extra = limits(per_ip="{requests: 1, window: 1m, exempt: []}")
    async with RunningGateway(upstream, extra=extra, clock=FakeClock().clock) as gateway:
        assert (await gateway.ask(path="/nowhere", method="GET")).status == 404
        answer = await gateway.ask(path="/nowhere", method="GET")

        assert answer.status == 429
        assert answer.body == (
            b'{"error":"Too Many Requests","message":"Rate limit exceeded. Please retry after the specified '
            b'delay.","retryAfterSeconds":60}'
        )
        assert answer.headers["retry-after"] == "60"
        assert answer.headers["x-llmgw-code"] == "rate_limit_exceeded"
        assert answer.headers["x-ratelimit-policy"] == "per-ip"


async def test_the_flat_body_everywhere_when_the_operator_wants_it(upstream: ScriptedUpstream) -> None:
    """`errors.format: flat` holds on the dialects' paths too."""
    extra = limits(per_user="{requests: 0, window: 1m}") + "errors: {format: flat}\n"
    async with RunningGateway(upstream, extra=extra) as gateway:
        answer = await gateway.ask(chat())

        assert list(answer.json) == ["error", "message", "retryAfterSeconds"]


async def test_the_dialects_error_has_the_wait_beside_it(upstream: ScriptedUpstream) -> None:
    """SDKs read `error`; people and other clients read what stands beside it."""
    extra = limits(per_tenant="{requests: 0, window: 1m}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        answer = await gateway.ask(chat())

        assert answer.json == {
            "error": {
                "message": "Rate limit exceeded. Please retry after the specified delay.",
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limit_exceeded",
            },
            "message": "Rate limit exceeded. Please retry after the specified delay.",
            "retryAfterSeconds": 60,
        }


async def test_shadow_mode_refuses_nobody_and_says_so_in_the_log(upstream: ScriptedUpstream) -> None:
    """What would have been refused is counted; the clients notice nothing."""
    extra = limits(per_user="{requests: 2, window: 1h, mode: shadow}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        statuses = await ask_often(gateway, 5, 1)
        await gateway.quiet()

        assert statuses == [200] * 5
        assert [report.limited for report in gateway.reports] == [(), ()] + [(("per-user", "shadow"),)] * 3


async def test_tokens_in_a_window(upstream: ScriptedUpstream) -> None:
    """What a request asks for is taken first, and corrected to what it used."""
    extra = limits(per_model="[{tokens: 1000, window: 1h}]")
    async with RunningGateway(upstream, extra=extra) as gateway:
        big = await gateway.ask(chat(max_tokens=995))
        first = await gateway.ask(chat(max_tokens=900))
        await gateway.quiet()
        after = gateway.used("per_model:tokens")
        second = await gateway.ask(chat(max_tokens=900))

        assert big.status == 429
        assert big.headers["x-should-retry"] == "false"
        assert first.status == 200
        assert first.headers["x-ratelimit-limit-tokens"] == "1000"
        assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100
        assert after == 15
        assert second.status == 200


async def test_overrides_replace_and_inherit(upstream: ScriptedUpstream) -> None:
    """A user's limit is its own number, on the window and the algorithm of all."""
    extra = limits(per_user="{requests: 1, window: 1h, algorithm: fixed_window}")
    acme = "users: {alice: {limits: {per_user: {requests: 3}}}}"
    async with RunningGateway(upstream, extra=extra, acme=acme, clock=FakeClock().clock) as gateway:
        alice = [(await gateway.ask(chat())) for _ in range(5)]
        rival = [(await gateway.ask(chat(), key="sk-rival")) for _ in range(3)]

        assert [answer.status for answer in alice] == [200, 200, 200, 429, 429]
        assert [answer.status for answer in rival] == [200, 429, 429]
        assert alice[0].headers["ratelimit-policy"] == '"per-user";q=3;w=3600'


async def test_c05_addresses_behind_a_trusted_proxy_are_apart(upstream: ScriptedUpstream) -> None:
    """A load balancer is not one caller; what a caller writes itself is not believed."""
    extra = limits(per_ip="{requests: 1, window: 1h, exempt: []}")
    extra += "server: {trusted_proxies: [127.0.0.0/8]}\n"
    async with RunningGateway(upstream, extra=extra) as gateway:

        async def ask(forwarded: str) -> int:
            return (await gateway.ask(chat(), headers={"x-forwarded-for": forwarded})).status

        assert await ask("198.51.100.1") == 200
        assert await ask("198.51.100.1") == 429
        assert await ask("203.0.113.9, 198.51.100.1") == 429
        assert await ask("198.51.100.2, 127.0.0.9") == 200
        assert await ask("2001:db8::1") == 200
        assert await ask("2001:db8::2") == 429


async def test_a_line_for_places_is_fair_between_tenants(upstream: ScriptedUpstream) -> None:
    """One tenant's crowd waits for itself: the other's request has its turn after one of theirs."""
    held = asyncio.Event()

    async def wait(connection: object) -> None:
        await held.wait()

    upstream.default(wait, json_reply(OK))
    extra = limits(concurrency="{in_flight: 1, queue: 10, queue_wait: 20s}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        first = await gateway.open(chat())
        assert await upstream.received(1)
        crowd = [await gateway.open(chat()) for _ in range(5)]
        await asyncio.sleep(0.05)
        other = await gateway.open(chat(), key="sk-rival")
        await asyncio.sleep(0.05)
        held.set()
        order: list[str] = []

        async def read(name: str, client: RawClient) -> None:
            assert (await client.read_answer()).status == 200
            order.append(name)

        await asyncio.gather(
            read("first", first), read("other", other), *(read("crowd", client) for client in crowd)
        )

        assert order.index("other") == 2
        await gateway.quiet()
        assert gateway.in_flight == 0


async def test_the_line_has_an_end_and_a_longest_wait(upstream: ScriptedUpstream) -> None:
    """Who finds the line full is refused at once; who waits too long is refused then."""
    upstream.default(hang())
    extra = limits(concurrency="{in_flight: 1, queue: 1, queue_wait: 300ms}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        await gateway.open(chat())
        assert await upstream.received(1)
        waiting = await gateway.open(chat())
        await asyncio.sleep(0.05)
        refused = await gateway.ask(chat())
        given_up = await waiting.read_answer()

        assert refused.status == given_up.status == 429
        assert refused.headers["retry-after"] == "1"


async def test_who_leaves_the_line_takes_nothing(upstream: ScriptedUpstream) -> None:
    """A client that goes while it waits holds no place, and the next has its turn."""
    held = asyncio.Event()

    async def wait(connection: object) -> None:
        await held.wait()

    upstream.default(wait, json_reply(OK))
    extra = limits(concurrency="{in_flight: 1, queue: 5, queue_wait: 5s}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        first = await gateway.open(chat())
        assert await upstream.received(1)
        leaving = await gateway.open(chat())
        staying = await gateway.open(chat())
        await asyncio.sleep(0.05)
        await leaving.vanish()
        await asyncio.sleep(0.05)
        held.set()

        assert (await first.read_answer()).status == 200
        assert (await staying.read_answer()).status == 200
        await gateway.quiet()
        assert len(upstream.requests) == 2
        assert gateway.in_flight == 0


async def test_models_are_listed_within_the_limits(upstream: ScriptedUpstream) -> None:
    """Listing spends the caller's permits too, and its answers carry the fields."""
    extra = limits(per_user="{requests: 1, window: 1h}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        listed = await gateway.ask(path="/v1/models", method="GET")
        refused = await gateway.ask(path="/v1/models", method="GET")

        assert listed.status == 200
        assert listed.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.status == 429
        assert refused.headers["retry-after"]


async def test_f04_l16_a_wall_clock_that_jumps_changes_nothing(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set forward or back by an hour, nobody gets a second allowance and nobody is locked out."""
    extra = (
        limits(per_user="{requests: 3, window: 1h}") + "quotas: [{per: tenant, requests: 5, window: hour}]\n"
    )
    async with RunningGateway(upstream, extra=extra) as gateway:
        assert await ask_often(gateway, 2, 1) == [200, 200]
        real = time.time()
        for jump in (3600, -3600):
            monkeypatch.setattr("time.time_ns", lambda jump=jump: int((real + jump) * 1e9))
            monkeypatch.setattr("time.time", lambda jump=jump: real + jump)
            statuses = await ask_often(gateway, 2, 1)
            assert statuses == ([200, 429] if jump > 0 else [429, 429])
