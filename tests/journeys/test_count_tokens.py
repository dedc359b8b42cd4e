"""Tokens counted for Anthropic's and Gemini's clients, by our own estimate."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream

MESSAGES = "/v1/messages/count_tokens"
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "The quick brown fox jumps over"}]}]}


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, max_body=2 * 1024 * 1024) as running:
        yield running
        await running.quiet()
        assert not upstream.requests
        assert not running.records
        assert running.heard.inside == 0


async def test_a_messages_request_is_counted(gateway: RunningGateway) -> None:
    few = await gateway.ask(chat("The quick brown fox jumps over"), path=MESSAGES)
    many = await gateway.ask(chat("The quick brown fox jumps over " * 50), path=MESSAGES)

    assert list(few.json) == ["input_tokens"]
    assert 3 <= few.json["input_tokens"] <= 20
    assert many.json["input_tokens"] > 200
    assert few.headers["x-llmgw-usage"] == "estimated"


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_contents_are_counted_alone_or_in_a_request(gateway: RunningGateway, version: str) -> None:
    """The key may be in the query, as for all of Gemini's paths."""
    path = f"/{version}/models/echo:countTokens"
    alone = await gateway.ask(CONTENTS, path=f"{path}?key=sk-test", key=None)
    within = await gateway.ask({"generateContentRequest": {"model": "models/echo", **CONTENTS}}, path=path)

    assert list(alone.json) == ["totalTokens"]
    assert 3 <= alone.json["totalTokens"] <= within.json["totalTokens"] <= 60
    assert alone.headers["x-llmgw-usage"] == "estimated"


async def test_a_long_body_is_counted_off_the_loop(gateway: RunningGateway) -> None:
    answer = await gateway.ask(chat("word " * 300_000), path=MESSAGES)

    assert answer.json["input_tokens"] > 200_000


async def test_what_cannot_be_counted_is_refused_in_the_dialects_shape(gateway: RunningGateway) -> None:
    stranger = await gateway.ask(chat(), path=MESSAGES, key="sk-wrong")
    unknown = await gateway.ask(chat(model="nobody"), path=MESSAGES)
    forbidden = await gateway.ask(chat(), path=MESSAGES, key="sk-held")
    broken = await gateway.ask({"model": "echo", "messages": 7}, path=MESSAGES)
    nameless = await gateway.ask({"messages": []}, path=MESSAGES)
    large = await gateway.ask(chat("x" * 2 * 1024 * 1024), path=MESSAGES)
    got = await gateway.ask(path=MESSAGES, method="GET")
    gemini = await gateway.ask(CONTENTS, path="/v1beta/models/nobody:countTokens")

    answers = (stranger, unknown, forbidden, broken, nameless, large, got)
    assert [answer.status for answer in answers] == [401, 404, 403, 400, 400, 413, 405]
    assert {answer.json["type"] for answer in answers} == {"error"}
    assert (gemini.status, gemini.json["error"]["status"]) == (404, "NOT_FOUND")
