"""Copies of requests for a target on trial, and what of them nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, Step, delay, hang, json_reply

QUOTA = "quotas: [{per: tenant, requests: 100, window: day}]\n"
MODELS = """
all: {targets: [{provider: up, model: a}], mirror: {target: {provider: trial, model: b}, share: 100%}}
some: {targets: [{provider: up, model: a}], mirror: {target: {provider: trial, model: b}, share: 20%}}
"""


def completion(text: str) -> Step:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json_reply({"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(completion("from the target"))
        yield up


@pytest.fixture
async def trial() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(completion("from the trial"))
        yield up


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, trial: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    row = f'trial: {{kind: openai_compatible, base_url: "{trial.base_url}/v1", allow_private: true}}'
    async with RunningGateway(upstream, providers=row, models=MODELS, extra=QUOTA) as running:
        yield running
        running.road.mirrors.stop()
        assert not running.road.mirrors.under_way


async def copies_end(gateway: RunningGateway) -> None:
    async with asyncio.timeout(5):
        while gateway.road.mirrors.under_way:
            await asyncio.sleep(0.01)


async def test_the_client_has_the_targets_answer_and_the_copy_is_recorded_apart(
    gateway: RunningGateway, trial: ScriptedUpstream
) -> None:
    """Nothing of the copy is in the tenant's usage, limits or metrics."""
    answer = await gateway.ask(chat(model="all", stream=False))
    await copies_end(gateway)
    records = {record.tenant: record for record in await gateway.settled(2)}

    assert answer.json["choices"][0]["message"]["content"] == "from the target"
    assert trial.requests[0].json["model"] == "b"
    own, copy = records["acme"], records["_mirror"]
    assert (own.provider, copy.provider, copy.upstream_model) == ("up", "trial", "b")
    assert (copy.input_tokens, copy.output_tokens, copy.outcome) == (12, 5, "ok")
    assert copy.request_id != own.request_id
    assert copy.client_request_id == own.request_id
    assert gateway.spent("requests") == 1
    assert len(gateway.heard.reports) == 1


async def test_a_trial_that_hangs_or_fails_delays_nobody(
    gateway: RunningGateway, trial: ScriptedUpstream
) -> None:
    """Its copies are bounded, and end with the gateway."""
    trial.default(hang())

    async with asyncio.timeout(5):
        for _ in range(20):
            assert (await gateway.ask(chat(model="all"))).status == 200

    mirrors = gateway.road.mirrors
    assert (len(mirrors.under_way), mirrors.sent, mirrors.skipped) == (16, 16, 4)
    mirrors.stop()
    await copies_end(gateway)
    copies = [record for record in gateway.records if record.tenant == "_mirror"]
    assert {record.outcome for record in copies} == {"error"}
    assert mirrors.failed == len(copies) == 16


async def test_a_client_that_leaves_does_not_end_the_copy(
    gateway: RunningGateway, upstream: ScriptedUpstream, trial: ScriptedUpstream
) -> None:
    """They are two requests."""
    trial.default(delay(0.3), completion("late"))
    upstream.default(hang())
    client = await gateway.open(chat(model="all"))
    await asyncio.sleep(0.1)
    await client.vanish()
    await copies_end(gateway)
    await gateway.settled(2)

    outcomes = {record.tenant: record.outcome for record in gateway.records}
    (copy,) = [record for record in gateway.records if record.tenant == "_mirror"]
    assert outcomes["acme"] == "client_gone"
    assert (copy.outcome, copy.output_tokens) == ("ok", 5)


async def test_the_share_is_kept(gateway: RunningGateway) -> None:
    """One in five, of 150."""
    for _ in range(150):
        await gateway.ask(chat(model="some"))
    await copies_end(gateway)

    assert 10 <= gateway.road.mirrors.sent <= 55
