"""What is configured of a model's abilities: what is refused by it, and where it is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.families import PIXEL
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream

MODELS = """
plain:
  targets: [{provider: demo, model: echo}]
  facts: {context: 8000, max_output: 512, images: false, tools: false, json_schema: false, reasoning: true}
seeing: {targets: [{provider: demo, model: echo}], facts: {images: true}}
"""
URL = f"data:image/png;base64,{PIXEL}"
PICTURE = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": URL}}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, models=MODELS.strip()) as running:
        yield running
        await running.quiet()


def asked(model: str, **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **members}


@pytest.mark.parametrize(
    ("members", "message", "param"),
    [
        (
            {"messages": [{"role": "user", "content": PICTURE}]},
            "model 'plain' does not take images",
            "messages",
        ),
        ({"tools": TOOLS}, "model 'plain' does not take tools", "tools"),
        ({"response_format": SCHEMA}, "model 'plain' cannot be held to a JSON schema", "response_format"),
    ],
)
async def test_what_a_model_cannot_is_refused(
    gateway: RunningGateway, members: dict[str, Any], message: str, param: str
) -> None:
    """With 400, before anybody is asked; it leaves no record. A model of which nothing is said is asked."""
    refused = await gateway.ask(asked("plain", **members))
    passed = await gateway.ask(asked("echo", **members))

    assert refused.status == 400
    assert (refused.json["error"]["message"], refused.json["error"]["param"]) == (message, param)
    assert passed.status == 200
    await gateway.quiet()
    assert len(gateway.records) == 1


async def test_another_dialect_is_refused_likewise(gateway: RunningGateway) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": source}]}]
    call = [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": call},
        {"role": "user", "content": content},
    ]

    refused = await gateway.ask(
        {"model": "plain", "max_tokens": 9, "messages": messages}, path="/v1/messages"
    )

    assert (refused.status, refused.json["error"]["type"]) == (400, "invalid_request_error")


async def test_words_alone_are_not_refused(gateway: RunningGateway) -> None:
    """The words that such requests have may stand in a text."""
    answer = await gateway.ask(chat('say "image" and "tools" and "format"', model="plain"))

    assert answer.status == 200


async def test_a_model_that_sees_is_sent_pictures(gateway: RunningGateway) -> None:
    answer = await gateway.ask(asked("seeing", messages=[{"role": "user", "content": PICTURE}]))

    assert answer.status == 200


async def test_facts_are_listed_where_a_dialect_has_room(gateway: RunningGateway) -> None:
    listed = await gateway.ask(path="/v1beta/models", method="GET")
    shown = await gateway.ask({"model": "plain"}, path="/api/show")
    models = {model["displayName"]: model for model in listed.json["models"]}

    assert models["plain"]["inputTokenLimit"] == 8000
    assert models["plain"]["outputTokenLimit"] == 512
    assert models["plain"]["thinking"] is True
    assert "inputTokenLimit" not in models["echo"]
    assert shown.json["capabilities"] == ["completion", "thinking"]
    assert shown.json["model_info"]["llmgw.context_length"] == 8000


async def test_geminis_list_takes_the_key_of_the_query(gateway: RunningGateway) -> None:
    listed = await gateway.ask(path="/v1beta/models?key=sk-test", method="GET", key=None)
    refused = await gateway.ask(path="/v1beta/models?key=sk-nobody", method="GET", key=None)

    assert listed.status == 200
    assert "plain" in {model["displayName"] for model in listed.json["models"]}
    assert refused.status == 401
