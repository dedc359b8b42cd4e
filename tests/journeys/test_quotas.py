"""Quotas and budgets as clients and operators meet them.

Both ends are real sockets; the upstream's own list of requests is the truth to compare with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import (
    ScriptedUpstream,
    cut,
    delay,
    event,
    hang,
    headers,
    json_reply,
    raw,
    reset,
    sse_head,
)

NO_LIMITS = "limits: {global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}\n"


def answer(prompt: int = 10, completion: int = 5) -> dict[str, object]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "c", "choices": [], "usage": usage}


def quotas(*each: str) -> str:
    return NO_LIMITS + "quotas: [" + ", ".join("{" + one + "}" for one in each) + "]\n"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(answer()))
        yield up


async def test_g01_concurrent_reservations_against_a_budget(upstream: ScriptedUpstream) -> None:
    """1,000 requests at once, each reserving 0.10 USD of 5.00 USD: exactly 50 are dispatched."""
    upstream.default(hang())
    extra = quotas("per: tenant, cost: 5 USD, window: month")
    async with RunningGateway(upstream, extra=extra) as gateway:
        # Output at 8 USD/M, input at 2 USD/M: 12,500 tokens of output are 0.10 USD but for the input.
        body = chat(max_tokens=12_000)
        probe = await gateway.ask(body | {"max_tokens": 10**9})
        price = 2000 * gateway.estimate(body) + 8000 * 12_000
        body["max_tokens"] = 12_000 + (100_000_000 - price) // 8000
        clients = [await gateway.open(body) for _ in range(1000)]
        assert await upstream.received(50, within_s=10)
        done, _ = await asyncio.wait([asyncio.ensure_future(one.read_answer()) for one in clients], timeout=4)
        answers = [task.result() for task in done]

        assert probe.status == 429
        assert len(answers) == 950
        assert {one.status for one in answers} == {429}
        assert {one.json["error"]["code"] for one in answers} == {"quota_held"}
        assert len(upstream.requests) == 50
        for client in clients:
            await client.vanish()
        await gateway.quiet()
        assert gateway.held == 0


async def test_what_is_spent_refuses_until_the_period_ends(upstream: ScriptedUpstream) -> None:
    """429 `insufficient_quota`, not to be retried, with the wait to the end of the period."""
    clock = FakeClock("2026-11-24T12:00:00+00:00")
    extra = quotas("per: user, requests: 2, window: day, timezone: Europe/Paris")
    async with RunningGateway(upstream, extra=extra, clock=clock.clock) as gateway:
        assert [(await gateway.ask(chat())).status for _ in range(2)] == [200, 200]
        refused = await gateway.ask(chat())
        other = await gateway.ask(chat(), key="sk-rival")
        clock.sleep(int(refused.headers["retry-after"]) - 1)
        still = await gateway.ask(chat())
        clock.sleep(1)
        again = await gateway.ask(chat())

        assert refused.status == 429
        assert refused.json["error"]["code"] == "insufficient_quota"
        assert refused.json["error"]["type"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        # Midnight in Paris is 23:00 UTC in winter.
        assert refused.headers["retry-after"] == str(11 * 3600)
        assert "2026-11-24T23:00:00Z" in refused.json["message"]
        assert other.status == 200
        assert still.status == 429
        assert again.status == 200


async def test_a_refusal_by_a_quota_gives_the_rate_permits_back(upstream: ScriptedUpstream) -> None:
    """A refusal spends nothing anywhere."""
    extra = "limits: {concurrency: {in_flight: 5}}\nquotas: [{per: tenant, requests: 1, window: day}]\n"
    async with RunningGateway(upstream, extra=extra, clock=FakeClock().clock) as gateway:
        statuses = [(await gateway.ask(chat())).status for _ in range(6)]
        await gateway.quiet()

        assert statuses == [200] + [429] * 5
        assert gateway.used("per_user:") == gateway.used("per_tenant:") == gateway.used("global:") == 1
        assert gateway.in_flight == 0


async def test_g03_without_a_cap_the_configured_output_is_held(upstream: ScriptedUpstream) -> None:
    """What is held must fit before dispatch; the body is left alone unless the quota clamps."""
    extra = quotas("per: tenant, output_tokens: 5000, window: day, reserve_output: 3000")
    upstream.default(delay(0.3), json_reply(answer()))
    async with RunningGateway(upstream, extra=extra) as gateway:
        first = await gateway.open(chat())
        assert await upstream.received(1)
        held = gateway.held
        second = await gateway.ask(chat())
        huge = await gateway.ask(chat(max_tokens=10**9))
        assert (await first.read_answer()).status == 200

        assert held == 3000
        assert second.json["error"]["code"] == "quota_held"
        assert 1 <= int(second.headers["retry-after"]) <= 30
        assert "x-should-retry" not in second.headers
        assert huge.json["error"]["code"] == "insufficient_quota"
        assert len(upstream.requests) == 1
        assert "max_tokens" not in upstream.requests[0].json


async def test_g03_a_clamping_quota_writes_the_cap_into_the_request(upstream: ScriptedUpstream) -> None:
    """So that the provider cannot use more than was held. A caller's own cap stays as it is."""
    extra = quotas("per: tenant, output_tokens: 5000, window: day, reserve_output: 300, clamp: true")
    async with RunningGateway(upstream, extra=extra) as gateway:
        await gateway.ask(chat())
        await gateway.ask(chat(max_tokens=1000))

        assert upstream.requests[0].json["max_tokens"] == 300
        assert upstream.requests[1].json["max_tokens"] == 1000


async def test_choices_are_held_each(upstream: ScriptedUpstream) -> None:
    """`n` answers may each be as long as the cap."""
    extra = quotas("per: tenant, output_tokens: 1000, window: day")
    async with RunningGateway(upstream, extra=extra) as gateway:
        assert (await gateway.ask(chat(max_tokens=300, n=3))).status == 200
        assert (await gateway.ask(chat(max_tokens=300, n=4))).status == 429


async def test_g04_an_overshoot_becomes_debt(upstream: ScriptedUpstream) -> None:
    """A provider that uses more than was held is charged in full, and the next request is refused."""
    upstream.default(json_reply(answer(completion=9000)))
    extra = quotas("per: tenant, output_tokens: 5000, window: day, reserve_output: 100")
    async with RunningGateway(upstream, extra=extra) as gateway:
        assert (await gateway.ask(chat())).status == 200
        await gateway.quiet()
        refused = await gateway.ask(chat(max_tokens=1))

        assert gateway.used("quota|") == 9000
        assert refused.json["error"]["code"] == "insufficient_quota"


async def test_g12_and_g18_balances_are_the_sum_of_the_records(upstream: ScriptedUpstream) -> None:
    """To the unit, in every unit, whatever became of the requests."""
    extra = quotas(
        *(f"per: tenant, {unit}: 100M, window: day" for unit in ("requests", "tokens", "input_tokens")),
        "per: user, output_tokens: 100M, window: day",
        "per: key, cost: 100 USD, window: day",
    )
    async with RunningGateway(upstream, extra=extra) as gateway:
        upstream.script(json_reply(answer(100, 20)))
        upstream.script(json_reply({"error": {"message": "no"}}, status=400))
        upstream.script(headers(200, {"content-type": "application/json"}, length=50), cut())
        upstream.script(sse_head(), event({"choices": [{"delta": {"content": "hello there"}}]}), cut())
        for stream in (False, False, False, True):
            client = await gateway.open(chat(stream=stream))
            if not stream:
                await client.read_answer()
                continue
            await client.read_head()
            with contextlib.suppress(EOFError):
                while await client.read_chunk():
                    pass
        await gateway.quiet()
        records = gateway.records

        assert len(records) == 4
        assert gateway.held == 0
        assert gateway.spent("requests") == 4
        assert gateway.spent("input_tokens") == sum(one.input_tokens for one in records)
        assert gateway.spent("output_tokens") == sum(one.output_tokens for one in records)
        assert gateway.spent("tokens") == sum(one.input_tokens + one.output_tokens for one in records)
        assert gateway.spent("cost") == sum(one.cost_nano_usd or 0 for one in records)


@pytest.mark.parametrize(
    ("window", "zone", "before", "after"),
    [
        ("day", "UTC", "2026-11-24T23:59:59+00:00", "2026-11-25T00:00:00+00:00"),
        ("day", "Europe/Paris", "2026-03-29T23:59:59+02:00", "2026-03-30T00:00:00+02:00"),
        ("month", "UTC", "2028-02-29T23:59:59+00:00", "2028-03-01T00:00:00+00:00"),
        ("month", "America/New_York", "2026-10-31T23:59:59-04:00", "2026-11-01T00:00:00-04:00"),
        ("hour", "Europe/Paris", "2026-10-25T02:59:59+02:00", "2026-10-25T02:00:00+01:00"),
        ("week", "UTC", "2026-11-29T23:59:59+00:00", "2026-11-30T00:00:00+00:00"),
    ],
)
async def test_g13_requests_belong_to_the_period_of_their_admission(
    upstream: ScriptedUpstream, window: str, zone: str, before: str, after: str
) -> None:
    """One that straddles the boundary is settled where it began; the new period is whole."""
    clock = FakeClock(before)
    upstream.script(delay(0.2), json_reply(answer(100, 100)))
    extra = quotas(f"per: tenant, tokens: 10k, window: {window}, timezone: {zone}")
    async with RunningGateway(upstream, extra=extra, clock=clock.clock) as gateway:
        straddling = await gateway.open(chat(max_tokens=200))
        assert await upstream.received(1)
        clock.until(after)
        inside = await gateway.ask(chat(max_tokens=200))
        assert (await straddling.read_answer()).status == 200
        await gateway.quiet()
        spent = [spent for _, spent, _ in sorted(gateway.counters.balances())]

        assert inside.status == 200
        assert spent == [200, 15]
        assert gateway.held == 0


async def test_g15_one_reservation_for_a_request(upstream: ScriptedUpstream) -> None:
    """A stale connection that is retried reserves nothing twice."""
    extra = quotas("per: tenant, requests: 100, window: day")
    async with RunningGateway(upstream, extra=extra) as gateway:
        assert (await gateway.ask(chat())).status == 200
        upstream.script(reset())
        await gateway.ask(chat())
        await gateway.quiet()

        assert gateway.spent("requests") == len(gateway.records) == 2
        assert gateway.held == 0


async def test_g17_a_price_change_holds_for_requests_that_begin_after_it(upstream: ScriptedUpstream) -> None:
    """Each record keeps the price it was made with, and the budget follows the records."""
    extra = quotas("per: tenant, cost: 100 USD, window: day")
    upstream.default(json_reply(answer(1000, 1000)))
    async with RunningGateway(upstream, extra=extra) as gateway:
        await gateway.ask(chat())
        gateway.reload(extra, prices="{up/gpt-4o: {input: 4 USD/M, output: 16 USD/M}}")
        await gateway.ask(chat())
        await gateway.quiet()
        costs = [one.cost_nano_usd for one in gateway.records]

        assert costs == [10_000_000, 20_000_000]
        assert gateway.spent("cost") == 30_000_000


@pytest.mark.parametrize("bad", [-5, 10**12, "many", None, 1.5])
async def test_g19_absurd_usage_never_credits(upstream: ScriptedUpstream, bad: object) -> None:
    """A balance only ever grows, and by what can be believed."""
    usage = {"prompt_tokens": bad, "completion_tokens": bad, "total_tokens": bad}
    upstream.default(json_reply({"id": "c", "choices": [{"message": {"content": "hi"}}], "usage": usage}))
    extra = quotas("per: tenant, tokens: 1M, window: day")
    async with RunningGateway(upstream, extra=extra) as gateway:
        assert (await gateway.ask(chat())).status == 200
        await gateway.quiet()
        record = gateway.records[0]

        assert gateway.spent("tokens") == record.input_tokens + record.output_tokens > 0
        assert gateway.spent("tokens") < 1_000_000
        assert record.usage_source == "estimated"


async def test_g24_a_large_balance_is_no_way_around(upstream: ScriptedUpstream) -> None:
    """Everybody reserves alike."""
    upstream.default(delay(0.2), json_reply(answer()))
    async with RunningGateway(
        upstream, extra=quotas("per: tenant, cost: 1000000 USD, window: month")
    ) as gateway:
        client = await gateway.open(chat(max_tokens=1000))
        assert await upstream.received(1)
        held = gateway.held
        await client.read_answer()

        assert held >= 8_000_000


async def test_g25_several_quotas_all_or_none(upstream: ScriptedUpstream) -> None:
    """A refusal by one of seven leaves nothing held in the six others."""
    each = [
        f"per: {per}, tokens: 100k, window: {window}"
        for per in ("tenant", "user")
        for window in ("day", "week", "month")
    ]
    async with RunningGateway(upstream, extra=quotas(*each, "per: key, requests: 0, window: day")) as gateway:
        refused = await gateway.ask(chat())

        assert refused.status == 429
        assert gateway.held == 0
        assert gateway.used("quota|") == 0


async def test_the_most_specific_quota_of_a_kind_replaces(upstream: ScriptedUpstream) -> None:
    """A user's own daily requests replace those of all users; other kinds add up."""
    extra = quotas("per: user, requests: 1, window: day", "per: tenant, requests: 4, window: day")
    acme = "users: {alice: {quotas: [{requests: 3, window: day}]}}"
    async with RunningGateway(upstream, extra=extra, acme=acme) as gateway:
        alice = [(await gateway.ask(chat())).status for _ in range(4)]
        rival = [(await gateway.ask(chat(), key="sk-rival")).status for _ in range(2)]

        assert alice == [200, 200, 200, 429]
        assert rival == [200, 429]


async def test_a_quota_within_models_counts_only_those(upstream: ScriptedUpstream) -> None:
    """`model` is a pattern: all that match share one balance."""
    extra = quotas('per: tenant, model: "gpt-*", requests: 1, window: day')
    async with RunningGateway(upstream, extra=extra) as gateway:
        statuses = [
            (await gateway.ask(chat(model=model))).status for model in ("gpt-4o", "gpt-4o", "echo", "echo")
        ]

        assert statuses == [200, 429, 200, 200]


@pytest.mark.parametrize(("mode", "word"), [("on_exceed: warn", "warn"), ("mode: shadow", "shadow")])
async def test_who_is_only_warned_or_watched_goes_on(
    upstream: ScriptedUpstream, mode: str, word: str
) -> None:
    """The balance stays the sum of what was used; the log says what would have been refused."""
    extra = quotas(f"per: tenant, requests: 1, window: day, {mode}")
    async with RunningGateway(upstream, extra=extra) as gateway:
        statuses = [(await gateway.ask(chat())).status for _ in range(3)]
        await gateway.quiet()

        assert statuses == [200, 200, 200]
        assert gateway.spent("requests") == 3
        assert [report.limited for report in gateway.reports] == [
            (),
            (("quota-tenant-requests-day", word),),
            (("quota-tenant-requests-day", word),),
        ]


async def test_thresholds_are_told_once_each(upstream: ScriptedUpstream) -> None:
    """At 50 % and at 100 %, whoever crosses them."""
    extra = quotas("per: tenant, requests: 4, window: day, alert_at: [50%, 100%]")
    async with RunningGateway(upstream, extra=extra) as gateway:
        for _ in range(5):
            await gateway.ask(chat())
        await gateway.quiet()

        assert [(one.threshold_ppm, one.used, one.limit) for one in gateway.alerts] == [
            (500_000, 2, 4),
            (1_000_000, 4, 4),
        ]
        assert gateway.alerts[0].subject == {"tenant": "acme"}


async def test_the_answer_says_what_is_left_of_the_budget(upstream: ScriptedUpstream) -> None:
    """In USD, after what this request may still cost."""
    async with RunningGateway(upstream, extra=quotas("per: tenant, cost: 1 USD, window: month")) as gateway:
        answered = await gateway.ask(chat(max_tokens=1000))

        assert answered.headers["x-llmgw-budget-remaining"].startswith("0.991")


async def test_a_budget_needs_a_known_price(upstream: ScriptedUpstream) -> None:
    """Unknown is not free: the request is refused before it is dispatched, saying what is missing."""
    async with RunningGateway(upstream, extra=quotas("per: tenant, cost: 1 USD, window: month")) as gateway:
        refused = await gateway.ask(chat(model="renamed"))

        assert refused.status == 403
        assert refused.json["error"]["code"] == "price_unknown"
        assert not upstream.requests


@pytest.mark.parametrize(
    "ending",
    ["finish", "refused", "broken", "timeout", "malformed", "leave before", "leave midway", "stream cut"],
)
async def test_f09_and_g14_every_ending_gives_back_what_was_taken(
    upstream: ScriptedUpstream, ending: str
) -> None:
    """10,000 requests, eight endings: places and holds return to exactly 0, nothing is spent twice."""
    endings = {
        "finish": [json_reply(answer())],
        "refused": [json_reply({"error": {}}, status=400)],
        "broken": [reset()],
        "timeout": [hang()],
        "malformed": [headers(200, {"content-type": "application/json"}, length=3), *[cut()]],
        "leave before": [hang()],
        "leave midway": [sse_head(), event({"choices": [{"delta": {"content": "x"}}]}), hang()],
        "stream cut": [sse_head(), event({"choices": [{"delta": {"content": "x"}}]}), cut()],
    }
    upstream.default(*endings[ending])
    stream = ending in ("leave midway", "stream cut")
    extra = (
        "limits: {concurrency: {in_flight: 125}, per_user: off, per_tenant: off}\n"
        "quotas: [{per: tenant, cost: 100 USD, window: day}, {per: user, tokens: 100M, window: day}]\n"
    )
    timeouts = "{connect: 5s, first_byte: 500ms, idle: 500ms, total: 700ms}"
    async with RunningGateway(upstream, extra=extra, timeouts=timeouts) as gateway:
        for _ in range(10):
            clients = [await gateway.open(chat(stream=stream)) for _ in range(125)]
            if ending.startswith("leave"):
                if stream:
                    await asyncio.gather(*(client.read_head() for client in clients))
                for client in clients:
                    await client.vanish(reset=stream)
            else:
                await asyncio.gather(*(client.reader.read(20) for client in clients))
            await gateway.quiet()

            assert gateway.in_flight == 0
            assert gateway.held == 0
        assert gateway.spent("tokens") == sum(one.input_tokens + one.output_tokens for one in gateway.records)
        assert gateway.spent("cost") == sum(one.cost_nano_usd or 0 for one in gateway.records)


async def test_images_are_held_by_what_they_cost_not_by_their_length(upstream: ScriptedUpstream) -> None:
    """A megabyte of base64 is one picture."""
    picture = "data:image/png;base64," + "A" * 900_000
    body = chat(max_tokens=10)
    body["messages"] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}]
    async with RunningGateway(upstream, extra=quotas("per: tenant, tokens: 10k, window: day")) as gateway:
        assert (await gateway.ask(json.dumps(body).encode())).status == 200


async def test_a_price_by_the_request_is_spent_without_any_usage(upstream: ScriptedUpstream) -> None:
    """Pictures are billed by the piece: their answer may say nothing of tokens, and costs all the same."""
    upstream.default(json_reply({"created": 1, "data": [{"url": "x"}]}))
    upstream.script(json_reply({"error": {"message": "no"}}, 400))
    body = {"model": "gpt-4o", "prompt": "a dot"}
    prices = "{up/gpt-4o: {input: 0 USD/M, output: 0 USD/M, request: 0.04 USD}}"
    extra = quotas("per: tenant, cost: 0.10 USD, window: month")
    async with RunningGateway(upstream, extra=extra) as gateway:
        gateway.reload(extra, prices=prices)
        statuses = [(await gateway.ask(body, path="/v1/images/generations")).status for _ in range(5)]
        costs = [one.cost_nano_usd for one in gateway.records]

        assert statuses == [400, 200, 200, 429, 429]
        assert costs == [0, 40_000_000, 40_000_000]
        assert gateway.spent("cost") == 80_000_000


async def test_g14_a_client_may_leave_at_any_moment(upstream: ScriptedUpstream) -> None:
    """At whatever wait a request is interrupted, in line for a place too, nothing stays held."""
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    piece = event({"choices": [{"delta": {"content": "x"}}]})
    upstream.default(
        delay(0.01), sse_head(), piece, delay(0.01), piece, delay(0.01), raw(b"data: [DONE]\n\n")
    )
    extra = (
        "limits: {per_user: off, per_tenant: off, "
        "concurrency: {in_flight: 20, queue: 100, queue_wait: 100ms}}\n"
        "quotas: [{per: tenant, cost: 100 USD, window: day}, {per: user, tokens: 100M, window: day}]\n"
    )
    async with RunningGateway(upstream, extra=extra) as gateway:

        async def one() -> None:
            client = await gateway.open(chat(stream=True))
            await asyncio.sleep(moments.uniform(0, 0.06))
            await client.vanish(reset=moments.random() < 0.5)

        for _ in range(20):
            await asyncio.gather(*(one() for _ in range(50)))
        await gateway.quiet()
        records = gateway.records

        assert (gateway.in_flight, gateway.held) == (0, 0), seed
        assert gateway.spent("tokens") == sum(one.input_tokens + one.output_tokens for one in records), seed
        assert gateway.spent("cost") == sum(one.cost_nano_usd or 0 for one in records), seed
