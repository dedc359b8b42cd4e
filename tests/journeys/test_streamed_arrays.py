"""Gemini clients that ask for a stream without `alt=sse`: one JSON array, element by element.

Both ends are real sockets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, chunk, cut, end, event, hang, json_reply, sse_head

PATH = "/v1beta/models/{}:streamGenerateContent"
BODY = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
HELLO = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hel"}]}, "index": 0}],
    "ofNextYear": {"x": [1]},
}
THERE = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "lo"}]}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}


def said(text: str, finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "created": 1, "choices": [choice]}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    rows = (
        f"g: {{kind: gemini, base_url: '{upstream.base_url}/v1beta', api_key: k, allow_private: true}}\n"
        f"o: {{kind: openai_compatible, base_url: '{upstream.base_url}/v1', api_key: k, allow_private: true}}"
    )
    models = "\n".join(
        f"{name}: {{targets: [{{provider: {name[0]}, model: m}}], retry: {{attempts: 1}}, breaker: off}}"
        for name in ("gemini", "other")
    )
    async with RunningGateway(upstream, providers=rows, models=models) as running:
        yield running
        await running.quiet()


@pytest.mark.parametrize("version", ["v1beta", "v1"])
@pytest.mark.parametrize("query", ["", "?alt=json", "?%24alt=json"])
async def test_the_array_is_whole_and_keeps_what_nobody_knows(
    gateway: RunningGateway, upstream: ScriptedUpstream, version: str, query: str
) -> None:
    """The upstream is asked for events all the same, and usage is metered."""
    upstream.script(sse_head(), event(HELLO), event(THERE), end())
    path = PATH.format("gemini").replace("v1beta", version) + query
    answer = await gateway.ask(BODY, path=path)
    await gateway.quiet()

    assert upstream.requests[0].target == "/v1beta/models/m:streamGenerateContent?alt=sse"
    assert upstream.requests[0].json == BODY
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == [HELLO, THERE]
    record = gateway.records[-1]
    assert (record.input_tokens, record.output_tokens, record.outcome) == (3, 2, "ok")


async def test_elements_come_as_the_model_speaks(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The first is there while the upstream still thinks."""
    upstream.script(sse_head(), event(HELLO), hang())
    client = await gateway.open(BODY, path=PATH.format("gemini"))
    async with asyncio.timeout(10):
        await client.read_head()
        heard = await client.read_chunk()
    await client.vanish()

    assert json.loads(heard + b"]") == [HELLO]


async def test_another_dialect_becomes_the_same_array(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(
        sse_head(),
        event(said("Hel")),
        event(said("lo", "stop")),
        event("[DONE]"),
        end(),
    )
    answer = await gateway.ask(BODY, path=PATH.format("other"))

    assert answer.headers["content-type"] == "application/json"
    texts = [document["candidates"][0]["content"]["parts"][0]["text"] for document in answer.json]
    assert "".join(texts) == "Hello"
    assert answer.json[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize(("model", "first"), [("gemini", HELLO), ("other", said("Hel"))])
async def test_k04_an_array_that_is_cut_ends_in_an_error_and_is_never_closed(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, first: dict[str, object]
) -> None:
    upstream.script(sse_head(), event(first), chunk(b'data: {"cand'), cut())
    answer = await gateway.ask(BODY, path=PATH.format(model))
    await gateway.quiet()

    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)
    read = json.loads(answer.body + b"]")
    assert read[0]["candidates"][0]["content"]["parts"] == [{"text": "Hel"}]
    assert read[-1]["error"]["status"] == "UNAVAILABLE"
    assert gateway.records[-1].outcome == "upstream_truncated"


async def test_an_error_before_the_first_element_has_its_own_status(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    failure = {"error": {"code": 400, "message": "no such thing", "status": "INVALID_ARGUMENT"}}
    upstream.script(json_reply(failure, status=400))
    answer = await gateway.ask(BODY, path=PATH.format("gemini"))

    assert answer.status == 400
    assert answer.json == failure
