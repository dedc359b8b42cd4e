"""Bedrock by credentials that botocore finds, here a container's. All sockets are real."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.patient import PatientUpstream
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, delay, json_reply

ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12},
}
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def keys(name: str, seconds: float) -> dict[str, Any]:
    end = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"AccessKeyId": name, "SecretAccessKey": "canary-secret", "Token": "t", "Expiration": end}


@pytest.fixture
async def box() -> AsyncIterator[ScriptedUpstream]:
    """The container's own service of credentials."""
    async with PatientUpstream() as up:
        yield up


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(ANSWER))
        yield up


@pytest.fixture
async def gateway(
    upstream: ScriptedUpstream, box: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[RunningGateway]:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{box.base_url}/creds")
    providers = (
        f"aws: {{kind: bedrock, region: us-east-1, base_url: '{upstream.base_url}', allow_private: true}}\n"
    )
    models = (
        "claude: {targets: [{provider: aws, model: m}], retry: {attempts: 1}, breaker: off}\n"
        "either: {targets: [{provider: aws, model: m}, {provider: up, model: gpt-4o}]}"
    )
    async with RunningGateway(upstream, providers=providers, models=models) as running:
        yield running
        await running.quiet(10)


async def test_requests_share_one_fetch(
    gateway: RunningGateway, upstream: ScriptedUpstream, box: ScriptedUpstream
) -> None:
    """It begins with the gateway; those that come before it has ended wait together."""
    box.script(delay(0.1), json_reply(keys("AKBOX", 6 * 3600)))
    answers = await asyncio.gather(*(gateway.ask(chat("hi", model="claude")) for _ in range(5)))

    assert [answer.status for answer in answers] == [200] * 5
    assert all("Credential=AKBOX/" in one.headers["authorization"] for one in upstream.requests)
    assert {one.headers["x-amz-security-token"] for one in upstream.requests} == {"t"}
    assert len(box.requests) == 1
    assert b"canary-secret" not in b"".join(one.head + one.body for one in upstream.requests)


async def test_without_credentials(
    gateway: RunningGateway, upstream: ScriptedUpstream, box: ScriptedUpstream
) -> None:
    """Another target answers where there is one; where not, the caller and the log are told."""
    box.default(json_reply({"message": "no role"}, status=400))
    upstream.script(json_reply(COMPLETION))
    elsewhere = await gateway.ask(chat("hi", model="either"))
    alone = await gateway.ask(chat("hi", model="claude"))
    await gateway.quiet(10)

    assert elsewhere.json["choices"][0]["message"]["content"] == "OK"
    assert (alone.status, alone.json["error"]["code"]) == (503, "upstream_credential_unavailable")
    assert "no role" in (gateway.reports[-1].detail or "")
    assert [one.target for one in upstream.requests] == ["/v1/chat/completions"]
