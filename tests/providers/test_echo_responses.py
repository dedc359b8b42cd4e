from __future__ import annotations

import json
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.providers.conftest import Asker

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    },
}
ARGUMENTS = {"city": "city", "days": 1}
_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


async def test_response(ask: Asker) -> None:
    heard = await ask("/v1/responses", {"model": "echo", "input": "Hello, world", "instructions": "be brief"})

    answer = Response.model_validate(heard.json)
    assert answer.output_text == "Hello, world"
    assert answer.status == "completed"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 3)


async def test_response_cut_short(ask: Asker) -> None:
    heard = await ask("/v1/responses", {"model": "echo", "input": "one two", "max_output_tokens": 1})

    answer = Response.model_validate(heard.json)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_response_stream(ask: Asker) -> None:
    """Every event is one of the API's, numbered, from created to completed."""
    heard = await ask("/v1/responses", {"model": "echo", "input": "Hello, world", "stream": True})

    events = [_event.validate_python(event) for event in heard.events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta")
        == "Hello, world"
    )
    assert events[-1].response.usage.output_tokens == 3
    named = [line[7:].decode() for line in heard.body.split(b"\n") if line.startswith(b"event: ")]
    assert named == kinds


async def test_response_stream_of_a_tool_call(ask: Asker) -> None:
    body = {"model": "echo", "input": "call get_weather", "tools": [WEATHER], "stream": True}

    heard = await ask("/v1/responses", body)

    events = [_event.validate_python(event) for event in heard.events]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(deltas)) == ARGUMENTS
    (item,) = events[-1].response.output
    assert (item.type, item.name, json.loads(item.arguments)) == ("function_call", "get_weather", ARGUMENTS)
