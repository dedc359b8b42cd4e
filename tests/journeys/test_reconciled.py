"""What the client is told, what the provider counts and what is recorded are the same numbers."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, Step, end, event, json_reply, sse_head

STREAMS = 1_000
AT_ONCE = 100


def counted(dice: random.Random) -> dict[str, int]:
    """Tokens of one answer by class, each within the class that has it."""
    read, written = dice.randrange(1, 500), dice.randrange(1, 500)
    output = dice.randrange(1, 900)
    return {
        "input": dice.randrange(1, 1000) + read + written,
        "cached": read,
        "cache_write": written,
        "output": output,
        "reasoning": dice.randrange(output),
    }


def as_openai(tokens: dict[str, int]) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens["input"],
        "completion_tokens": tokens["output"],
        "total_tokens": tokens["input"] + tokens["output"],
        "prompt_tokens_details": {"cached_tokens": tokens["cached"]},
        "completion_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
    }


def as_anthropic(tokens: dict[str, int]) -> dict[str, Any]:
    """Its input is without what was read from and written to a cache."""
    return {
        "input_tokens": tokens["input"] - tokens["cached"] - tokens["cache_write"],
        "cache_read_input_tokens": tokens["cached"],
        "cache_creation_input_tokens": tokens["cache_write"],
        "output_tokens": tokens["output"],
    }


def streamed(usage: dict[str, Any]) -> tuple[Step, ...]:
    return (
        sse_head(),
        event({"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}),
        event({"id": "c", "choices": [], "usage": usage}),
        event("[DONE]"),
        end(),
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_g28_client_provider_and_record_agree_on_openais_classes(stream: bool) -> None:
    dice = random.Random(28)
    async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
        for number in range(20):
            tokens = counted(dice)
            usage = as_openai(tokens)
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            whole = json_reply({"id": "c", "choices": [choice], "usage": usage})
            upstream.script(*(streamed(usage) if stream else [whole]))
            more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
            answer = await gateway.ask(chat(**more))

            lines = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: {")]
            assert (json.loads(lines[-1]) if stream else answer.json)["usage"] == usage
            record = (await gateway.settled(number + 1))[-1]
            assert (record.input_tokens, record.cached_tokens) == (tokens["input"], tokens["cached"])
            assert (record.output_tokens, record.reasoning_tokens) == (tokens["output"], tokens["reasoning"])
            assert record.usage_source == "reported"


async def test_g28_client_provider_and_record_agree_on_anthropics_classes() -> None:
    dice = random.Random(28)
    async with ScriptedUpstream() as upstream:
        claude = (
            f'claude: {{kind: anthropic, base_url: "{upstream.base_url}", api_key: k, allow_private: true}}'
        )
        models = "claude: {targets: [{provider: claude, model: claude-sonnet-4-5}]}"
        async with RunningGateway(upstream, providers=claude, models=models) as gateway:
            for number in range(20):
                tokens = counted(dice)
                usage = as_anthropic(tokens)
                upstream.script(
                    json_reply(
                        {
                            "id": "m",
                            "type": "message",
                            "role": "assistant",
                            "model": "claude-sonnet-4-5",
                            "content": [{"type": "text", "text": "Hi"}],
                            "stop_reason": "end_turn",
                            "usage": usage,
                        }
                    )
                )
                answer = await gateway.ask({**chat(model="claude"), "max_tokens": 9}, path="/v1/messages")

                assert answer.json["usage"] == usage
                record = (await gateway.settled(number + 1))[-1]
                assert (record.input_tokens, record.output_tokens) == (tokens["input"], tokens["output"])
                assert (record.cached_tokens, record.cache_write_tokens) == (
                    tokens["cached"],
                    tokens["cache_write"],
                )


async def test_g27_many_streams_that_end_at_once_all_have_their_price() -> None:
    """Each record has its own numbers, and no cost of 0 beside tokens."""
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    no_limits = "limits: {global: off, per_tenant: off, per_user: off, concurrency: off}\n"
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=no_limits) as gateway:
        upstream.default(*streamed(usage))
        places = asyncio.Semaphore(AT_ONCE)

        async def ask() -> None:
            async with places:
                assert (await gateway.ask(chat(stream=True))).status == 200

        await asyncio.gather(*(ask() for _ in range(STREAMS)))
        records = await gateway.settled(STREAMS, within_s=10)

    assert len({record.request_id for record in records}) == STREAMS
    assert {(one.input_tokens, one.output_tokens, one.cost_nano_usd) for one in records} == {
        (12, 5, 12 * 2_000 + 5 * 8_000)
    }
