"""Azure OpenAI by tokens of Entra that the gateway gets and renews itself. All sockets are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.patient import PatientUpstream
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, delay, json_reply

ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def granted(token: str, seconds: int = 3599) -> dict[str, object]:
    return {"token_type": "Bearer", "expires_in": seconds, "access_token": token}


@pytest.fixture
async def entra() -> AsyncIterator[ScriptedUpstream]:
    async with PatientUpstream() as up:
        yield up


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(ANSWER))
        yield up


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, entra: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    providers = (
        f"eu: {{kind: azure_openai, base_url: '{upstream.base_url}', allow_private: true, tenant_id: t-1, "
        f"client_id: c-1, client_secret: canary-secret, authority: '{entra.base_url}'}}\n"
    )
    models = "azure: {targets: [{provider: eu, model: gpt-4o}], retry: {attempts: 1}, breaker: off}"
    async with RunningGateway(upstream, providers=providers, models=models) as running:
        yield running
        await running.quiet()


async def test_requests_share_one_token(
    gateway: RunningGateway, upstream: ScriptedUpstream, entra: ScriptedUpstream
) -> None:
    """It is asked for at the start; those that come before it is there wait together."""
    entra.script(delay(0.1), json_reply(granted("eyJ.first")))
    answers = await asyncio.gather(*(gateway.ask(chat("hi", model="azure")) for _ in range(5)))

    assert [answer.status for answer in answers] == [200] * 5
    assert {one.headers["authorization"] for one in upstream.requests} == {"Bearer eyJ.first"}
    assert all("api-key" not in one.headers for one in upstream.requests)
    assert len(entra.requests) == 1
    assert b"canary-secret" not in b"".join(one.head + one.body for one in upstream.requests)


async def test_a_short_token_is_renewed_beside_its_use(
    gateway: RunningGateway, upstream: ScriptedUpstream, entra: ScriptedUpstream
) -> None:
    """No request waits, and none is refused."""
    entra.script(json_reply(granted("eyJ.first", 3)))
    entra.default(json_reply(granted("eyJ.next")))
    seen: list[str] = []
    async with asyncio.timeout(30):
        while not seen or seen[-1] == "Bearer eyJ.first":
            answer = await gateway.ask(chat("hi", model="azure"))
            assert answer.status == 200
            seen.append(upstream.requests[-1].headers["authorization"])
            await asyncio.sleep(0.1)

    assert seen[0] == "Bearer eyJ.first"
    assert seen[-1] == "Bearer eyJ.next"
    assert len(entra.requests) >= 2


async def test_no_token_at_all(
    gateway: RunningGateway, upstream: ScriptedUpstream, entra: ScriptedUpstream
) -> None:
    """The caller is told by a code of its own, the log why, and neither the secret."""
    entra.default(json_reply({"error": "temporarily_unavailable"}, status=503))
    answer = await gateway.ask(chat("hi", model="azure"))
    await gateway.quiet()

    assert answer.status == 503
    assert answer.json["error"]["code"] == "upstream_credential_unavailable"
    assert "temporarily_unavailable" in (gateway.reports[0].detail or "")
    assert "canary-secret" not in str(gateway.reports[0]) + answer.body.decode()
    assert upstream.requests == []


async def test_an_app_that_is_refused(
    gateway: RunningGateway, upstream: ScriptedUpstream, entra: ScriptedUpstream
) -> None:
    words = "AADSTS7000222: The provided client secret keys are expired."
    entra.default(json_reply({"error": "invalid_client", "error_description": words}, status=401))
    answer = await gateway.ask(chat("hi", model="azure"))
    await gateway.quiet()

    assert answer.status == 502
    assert "refused the gateway's credential" in answer.json["error"]["message"]
    assert "AADSTS7000222" in (gateway.reports[0].detail or "")
    assert upstream.requests == []
