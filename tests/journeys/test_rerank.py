"""Reranking by Cohere's SDK and in Jina's shape, to Cohere and to what serves it beside OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import cohere
import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, json_reply

DOCUMENTS = ["one", "two", "three"]
RANKS = [{"index": 2, "relevance_score": 0.999071}, {"index": 0, "relevance_score": 7.8e-05}]
COHERE = {"id": "r1", "results": RANKS, "meta": {"billed_units": {"search_units": 1}}}
JINA = {"model": "m", "object": "list", "usage": {"total_tokens": 15}, "results": RANKS}
VLLM = {
    "id": "rerank-1",
    "model": "m",
    "usage": {"prompt_tokens": 15, "total_tokens": 15},
    "results": [{**one, "document": {"text": "x"}} for one in RANKS],
}
BODY: dict[str, Any] = {"query": "q", "documents": DOCUMENTS, "top_n": 2}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    url = upstream.base_url
    providers = (
        f"co: {{kind: cohere, base_url: '{url}', api_key: k, allow_private: true}}\n"
        f"jina: {{kind: openai_compatible, base_url: '{url}/v1', api_key: k, allow_private: true}}\n"
    )
    models = "to-co: {targets: [{provider: co, model: m}]}\nto-jina: {targets: [{provider: jina, model: m}]}"
    async with RunningGateway(upstream, providers=providers, models=models) as running:
        yield running
        await running.quiet()


@pytest.mark.parametrize(("model", "reply"), [("to-co", COHERE), ("to-jina", JINA), ("to-jina", VLLM)])
async def test_coheres_sdk(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, reply: object
) -> None:
    upstream.script(json_reply(reply))
    client = cohere.AsyncClientV2(api_key="sk-test", base_url=f"http://127.0.0.1:{gateway.port}")
    async with client:
        answer = await client.rerank(model=model, query="q", documents=DOCUMENTS, top_n=2)

    assert [(one.index, one.relevance_score) for one in answer.results] == [(2, 0.999071), (0, 7.8e-05)]
    assert upstream.requests[0].target == ("/v2/rerank" if model == "to-co" else "/v1/rerank")
    assert upstream.requests[0].json["top_n"] == 2


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
async def test_jinas_shape_to_cohere(gateway: RunningGateway, upstream: ScriptedUpstream, path: str) -> None:
    """Documents that the client wants back are the ones it sent; scores keep their digits."""
    upstream.script(json_reply(COHERE))
    body = {**BODY, "model": "to-co", "documents": [{"text": one} for one in DOCUMENTS]}
    answer = await gateway.ask({**body, "return_documents": True, "truncation": True}, path=path)
    [record] = await gateway.settled()

    assert upstream.requests[0].target == "/v2/rerank"
    assert upstream.requests[0].json == {"model": "m", "query": "q", "documents": DOCUMENTS, "top_n": 2}
    assert answer.headers["x-llmgw-dropped"] == "truncation"
    assert [one["document"]["text"] for one in answer.json["results"]] == ["three", "one"]
    assert b'"relevance_score":7.8e-05' in answer.body
    assert answer.json["model"] == "to-co"
    assert (record.operation, record.input_tokens, record.usage_source) == ("rerank", 0, "reported")
    assert record.cost_nano_usd is None


async def test_searches_are_paid_for(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """By the price of a request that the file gives; no table of prices has one."""
    gateway.reload("", prices="{co/m: {input: 0 USD/M, output: 0 USD/M, request: 0.002 USD}}")
    upstream.script(json_reply({**COHERE, "meta": {"billed_units": {"search_units": 3}}}))
    answer = await gateway.ask({**BODY, "model": "to-co"}, path="/v2/rerank")
    [record] = await gateway.settled()

    assert record.cost_nano_usd == 6_000_000
    assert answer.headers["x-llmgw-cost"] == "0.006000000"


async def test_cohere_to_jinas_shape(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply(JINA))
    answer = await gateway.ask({**BODY, "model": "to-jina", "max_tokens_per_doc": 9}, path="/v2/rerank")
    [record] = await gateway.settled()

    assert upstream.requests[0].json == {**BODY, "model": "m", "return_documents": False}
    assert answer.headers["x-llmgw-dropped"] == "max_tokens_per_doc"
    assert answer.json["meta"]["billed_units"] == {"input_tokens": 15}
    assert record.input_tokens == 15


async def test_same_shape_stays_bytes(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply(JINA))
    body = b'{"model":"to-jina","query":"q","documents":[{"image":"https://x/y.png"}],"new":1.50}'
    answer = await gateway.ask(body, path="/v1/rerank")
    [record] = await gateway.settled()

    assert upstream.requests[0].body == body.replace(b"to-jina", b"m")
    assert answer.json == JINA
    assert record.input_tokens == 15


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"documents": DOCUMENTS}, "query"),
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": [{"image": "https://x/y.png"}]}, "documents"),
        ({"query": "q", "documents": DOCUMENTS, "rank_fields": ["title"]}, "rank_fields"),
        ({"query": "q", "documents": DOCUMENTS, "top_n": 0}, "top_n"),
    ],
)
async def test_what_cannot_be_said_to_the_target(
    gateway: RunningGateway, upstream: ScriptedUpstream, body: dict[str, Any], param: str
) -> None:
    answer = await gateway.ask({**body, "model": "to-co"}, path="/v1/rerank")

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert upstream.requests == []


async def test_a_rank_of_a_document_that_is_not_there(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    for _ in range(3):
        upstream.script(json_reply({"results": [{"index": 9, "relevance_score": 1}]}))
    answer = await gateway.ask({**BODY, "model": "to-co", "return_documents": True}, path="/v1/rerank")

    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_malformed")
