"""Breakers as operators see them: over all workers of a host, in metrics, events and commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fakes.process import GatewayProcess, rows, within
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, delay, json_reply

FAILS = json_reply({"error": {"message": "down", "type": "server_error"}}, 500)
WORKS = json_reply(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
)


async def ask(gateway: GatewayProcess, key: str, model: str) -> int:
    client = await RawClient.connect(gateway.port)
    await client.send(request(chat(model=model), key=key))
    status = (await client.read_answer()).status
    client.writer.close()
    return status


@pytest.mark.parametrize("workers", [1, 2])
async def test_j10_j15_one_probe_of_all_workers_and_everybody_told(tmp_path: Path, workers: int) -> None:
    """What opens in one worker is open in all; a slow probe is the only call; its success closes all."""
    async with ScriptedUpstream() as upstream:
        (tmp_path / "llmgw.yaml").write_text(
            f"""version: 1
server: {{workers: {workers}, lame_duck: 0s}}
providers:
  up: {{kind: openai_compatible, base_url: "{upstream.base_url}/v1", api_key: k, allow_private: true}}
models:
  m:
    targets: [{{provider: up, model: a}}]
    retry: {{attempts: 1}}
    breaker: {{min_calls: 4, failure_ratio: 0.5, window: 30s, open_for: 1500ms}}
"""
        )
        key = str(rows("keys", "create", "--user", "alice", cwd=tmp_path)["key"])
        upstream.default(FAILS)
        with GatewayProcess(tmp_path) as gateway:
            for _ in range(40):
                if await ask(gateway, key, "m") == 503:
                    break
            assert await asyncio.gather(*(ask(gateway, key, "m") for _ in range(20))) == [503] * 20
            assert gateway.ready()
            shown = [line for line in gateway.admin("/metrics").splitlines() if "llmgw_target_state{" in line]
            assert shown == ['llmgw_target_state{model="a",provider="up",tenant=""} 2.0']
            (row,) = [one for one in rows("providers", "list", cwd=tmp_path) if one["provider"] == "up"]
            assert row["failing"] == ["a"]

            upstream.default(delay(0.5), WORKS)
            before = len(upstream.requests)
            await asyncio.sleep(1.6)
            statuses = await asyncio.gather(*(ask(gateway, key, "m") for _ in range(30)))
            assert sorted(statuses) == [200] + [503] * 29
            assert len(upstream.requests) == before + 1

            upstream.default(WORKS)
            assert await asyncio.gather(*(ask(gateway, key, "m") for _ in range(20))) == [200] * 20
            await asyncio.sleep(0.7)
        assert [event["model"] for event in gateway.events("target_failing")] == ["a"]
        assert [event["model"] for event in gateway.events("target_recovered")] == ["a"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_refused_credential_is_told(tmp_path: Path, workers: int) -> None:
    """In the log, in `providers list`, and once to the webhook."""
    async with ScriptedUpstream() as upstream, ScriptedUpstream() as hook:
        (tmp_path / "llmgw.yaml").write_text(
            f"""version: 1
server: {{workers: {workers}, lame_duck: 0s}}
providers:
  up: {{kind: openai_compatible, base_url: "{upstream.base_url}/v1", api_key: k, allow_private: true}}
models: {{m: {{targets: [{{provider: up, model: a}}]}}}}
alerts: {{webhook: "{hook.base_url}/secret"}}
"""
        )
        key = str(rows("keys", "create", "--user", "alice", cwd=tmp_path)["key"])
        upstream.default(json_reply({"error": {"message": "no", "code": "invalid_api_key"}}, 401))
        hook.default(json_reply({}))
        with GatewayProcess(tmp_path) as gateway:
            assert await ask(gateway, key, "m") == 502
            assert await asyncio.to_thread(within, 5, lambda: bool(hook.requests))
            await asyncio.sleep(1.2)
            (row,) = [one for one in rows("providers", "list", cwd=tmp_path) if one["provider"] == "up"]
            assert row["credential"] == "refused"
        (event,) = gateway.events("credential_refused")
        assert event["provider"] == "up"
        (posted,) = hook.requests
        alert = json.loads(posted.body)
        assert (posted.target, alert["event"], alert["provider"]) == ("/secret", "credential_refused", "up")
        assert "provider up is refused" in alert["text"]
