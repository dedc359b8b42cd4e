"""Requests that refer to what a provider stores, on their way from a tenant's own account to a shared one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, json_reply

RESPONSE = {
    "id": "resp_rival",
    "object": "response",
    "status": "completed",
    "output": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}
LOST = {"error": {"message": "not here", "type": "invalid_request_error", "code": "model_not_found"}}
TENANT = """
providers:
  mine: {{kind: openai_compatible, base_url: "{url}/v1", allow_private: true}}
models:
  tuned: {{targets: [{{provider: mine, model: t}}], fallbacks: [{{model: gpt-4o}}], retry: {{base: 10ms}}}}
  tried:
    targets: [{{provider: mine, model: t}}]
    mirror: {{target: {{provider: up, model: trial}}, share: 100%}}
"""
REFERENCES = [
    {"input": "go on", "previous_response_id": "resp_rival"},
    {"input": "go on", "conversation": "conv_rival"},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-rival"}]}]},
]


@pytest.fixture
async def shared() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(RESPONSE))
        yield up


@pytest.fixture
async def own() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(RESPONSE | {"id": "resp_mine"}))
        yield up


@pytest.fixture
async def gateway(shared: ScriptedUpstream, own: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(shared, acme=TENANT.format(url=own.base_url)) as running:
        yield running
        running.road.mirrors.stop()


@pytest.mark.parametrize("body", REFERENCES, ids=lambda body: list(body)[-1])
async def test_a_fallback_to_a_shared_account_does_not_take_what_is_another_tenants(
    gateway: RunningGateway, shared: ScriptedUpstream, own: ScriptedUpstream, body: dict[str, Any]
) -> None:
    """The tenant's own account does not know it, and whose it is in the shared one nobody can say."""
    turn = {"model": "gpt-4o", "input": "a secret"}
    assert (await gateway.ask(turn, path="/v1/responses", key="sk-rival")).status == 200
    own.default(json_reply(LOST, 404))

    answer = await gateway.ask({"model": "tuned"} | body, path="/v1/responses")

    assert answer.status == 404
    assert (len(own.requests), len(shared.requests)) == (1, 1)


async def test_a_fallback_takes_what_refers_to_nothing(
    gateway: RunningGateway, shared: ScriptedUpstream, own: ScriptedUpstream
) -> None:
    own.default(json_reply(LOST, 404))

    answer = await gateway.ask({"model": "tuned", "input": "hi"}, path="/v1/responses")

    assert answer.status == 200
    assert (len(own.requests), len(shared.requests)) == (1, 1)


@pytest.mark.parametrize("body", REFERENCES, ids=lambda body: list(body)[-1])
async def test_no_copy_of_what_refers_to_a_tenants_own_account_goes_to_a_shared_one(
    gateway: RunningGateway, shared: ScriptedUpstream, body: dict[str, Any]
) -> None:
    answer = await gateway.ask({"model": "tried"} | body, path="/v1/responses")

    assert answer.status == 200
    assert (gateway.road.mirrors.sent, gateway.road.mirrors.skipped) == (0, 1)
    assert not shared.requests


async def test_a_copy_of_what_refers_to_nothing_does(
    gateway: RunningGateway, shared: ScriptedUpstream
) -> None:
    assert (await gateway.ask({"model": "tried", "input": "hi"}, path="/v1/responses")).status == 200

    async with asyncio.timeout(5):
        while not shared.requests:
            await asyncio.sleep(0.01)
