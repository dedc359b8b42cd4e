"""Minimal calls to targets, over a real socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme
from pydantic import TypeAdapter

from llmgw.admin.probe import Verdict, probe
from llmgw.config.providers import OpenAICompatible as Settings
from llmgw.core.operation import Operation
from llmgw.core.target import Target
from llmgw.providers.openai_compatible import OpenAICompatible
from llmgw.transport.http import HttpTransport
from tests.fakes.upstream import ScriptedUpstream, Step, hang, headers, json_reply, reset

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


async def verdict(
    upstream: ScriptedUpstream, *steps: Step, model: str = "m", operation: Operation | None = Operation.CHAT
) -> Verdict:
    """operation: None to go by the model's name."""
    if steps:
        upstream.script(*steps)
    row = {"kind": "openai_compatible", "base_url": f"{upstream.base_url}/v1", "allow_private": True}
    provider = OpenAICompatible("up", TypeAdapter(Settings).validate_python(row), "sk-x")
    transport = HttpTransport(asyncio.get_running_loop())
    try:
        return await probe(
            provider, Target("up", "openai_compatible", None, model), transport, 0.5, operation
        )
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
        (401, "invalid_api_key", "the credential was refused; see that it is this provider's"),
        (404, "model_not_found", "there is no such model or path; see the target's model and the base_url"),
        (429, "insufficient_quota", "reached, but the account has nothing left; see its billing"),
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


VECTORS = {"object": "list", "data": [{"index": 0, "embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 1}}


async def test_a_model_of_embeddings_is_asked_for_one(upstream: ScriptedUpstream) -> None:
    found = await verdict(upstream, json_reply(VECTORS), model="text-embedding-3-small", operation=None)

    assert (found.ok, found.verdict, found.input_tokens) == (True, "answers with a vector", 1)
    assert found.operation == "embeddings"
    assert upstream.requests[0].target == "/v1/embeddings"


async def test_a_model_of_rankings_is_asked_for_one(upstream: ScriptedUpstream) -> None:
    reply = {"results": [{"index": 0, "relevance_score": 0.9}], "usage": {"total_tokens": 5}}
    found = await verdict(upstream, json_reply(reply), model="jina-reranker-v2", operation=None)

    assert (found.ok, found.verdict, found.operation) == (True, "answers with a ranking", "rerank")
    assert upstream.requests[0].target == "/v1/rerank"


async def test_a_name_that_tells_nothing(upstream: ScriptedUpstream) -> None:
    """Words are tried first, then an embedding; what is no model at all stays none."""
    gone = {"error": {"message": "not a chat model", "code": "model_not_found"}}
    upstream.script(json_reply(gone, 404))
    upstream.script(json_reply(VECTORS))
    found = await verdict(upstream, operation=None)
    upstream.script(json_reply(gone, 404))
    upstream.script(json_reply(gone, 404))
    none = await verdict(upstream, operation=None)

    assert (found.ok, found.verdict) == (True, "answers with a vector; it does not converse")
    assert (none.ok, none.operation, none.detail) == (False, "chat", "not a chat model")


async def test_a_model_of_pictures_is_not_asked(upstream: ScriptedUpstream) -> None:
    found = await verdict(upstream, model="dall-e-3", operation=None)

    assert found.ok is None
    assert found.verdict == "not asked: a model that makes pictures cannot be asked for a few tokens"
    assert upstream.requests == []


async def test_moderations(upstream: ScriptedUpstream) -> None:
    found = await verdict(
        upstream, json_reply({"results": []}), model="omni-moderation-latest", operation=None
    )

    assert (found.ok, upstream.requests[0].target) == (True, "/v1/moderations")
    assert upstream.requests[0].json == {"model": "omni-moderation-latest", "input": "OK"}


async def test_a_wrong_host(upstream: ScriptedUpstream) -> None:
    """Whatever else answers there, nothing is followed, and the verdict says where to look."""
    elsewhere = await verdict(
        upstream, headers(301, {"location": "https://www.example.com/", "content-length": "0"})
    )
    page = await verdict(upstream, json_reply("<html>"))

    assert "sends us elsewhere" in elsewhere.verdict
    assert elsewhere.detail == "https://www.example.com/"
    assert "base_url" in page.verdict


async def test_a_certificate_of_somebody_elses() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("other.example").configure_cert(context)
    async with ScriptedUpstream(tls=context) as upstream:
        found = await verdict(upstream)

    assert not found.ok
    assert found.verdict == "the upstream's TLS certificate was not accepted; see the base_url and the ca"
