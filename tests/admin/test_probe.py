"""Minimal calls to targets, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import TypeAdapter

from llmgw.admin.probe import Verdict, probe
from llmgw.config.providers import OpenAICompatible as Settings
from llmgw.core.target import Target
from llmgw.providers.openai_compatible import OpenAICompatible
from llmgw.transport.http import HttpTransport
from tests.fakes.upstream import ScriptedUpstream, Step, hang, json_reply, reset

ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


async def verdict(upstream: ScriptedUpstream, *steps: Step) -> Verdict:
    upstream.script(*steps)
    row = {"kind": "openai_compatible", "base_url": f"{upstream.base_url}/v1", "allow_private": True}
    provider = OpenAICompatible("up", TypeAdapter(Settings).validate_python(row), "sk-x")
    transport = HttpTransport(asyncio.get_running_loop())
    try:
        return await probe(provider, Target("up", "openai_compatible", None, "m"), transport, 0.5)
    finally:
        await transport.close()


async def test_an_answer_with_its_usage(upstream: ScriptedUpstream) -> None:
    found = await verdict(upstream, json_reply(ANSWER))

    assert (found.ok, found.verdict, found.input_tokens, found.output_tokens) == (True, "answers", 9, 1)
    assert found.latency_s is not None
    assert b'"max_tokens":16' in upstream.requests[0].body


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "invalid_api_key", "the key was refused"),
        (404, "model_not_found", "there is no such model or path"),
        (429, "insufficient_quota", "reached, but the account has nothing left"),
        (500, "x", "reached, but it failed"),
    ],
)
async def test_a_refusal_in_plain_words(
    upstream: ScriptedUpstream, status: int, code: str, words: str
) -> None:
    body = {"error": {"message": "their own words", "type": "t", "code": code}}
    found = await verdict(upstream, json_reply(body, status))

    assert (found.ok, found.verdict, found.detail) == (False, words, "their own words")


@pytest.mark.parametrize(
    "steps", [[reset()], [hang()], [json_reply({"hello": 1})]], ids=["reset", "silence", "no answer"]
)
async def test_a_broken_target_is_a_verdict(upstream: ScriptedUpstream, steps: list[Step]) -> None:
    found = await verdict(upstream, *steps)

    assert not found.ok
    assert found.verdict
