"""The answers as OpenAI's own SDK reads them."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, ModerationCreateResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmgw.providers.echo_answers import tokens_of
from tests.providers.conftest import Asker

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
        },
    },
}
ARGUMENTS = {"city": "city", "days": 1, "unit": "celsius"}
ASK_USAGE = {"include_usage": True}


@given(st.text())
def test_tokens_join_to_their_text(text: str) -> None:
    assert "".join(tokens_of(text)) == text


async def test_chat(ask: Asker) -> None:
    heard = await ask.chat("Hello, world")

    answer = ChatCompletion.model_validate(heard.json, strict=True)
    assert answer.choices[0].message.content == "Hello, world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)


async def test_chat_stream(ask: Asker) -> None:
    """Role first, the words, the finish reason, `[DONE]`; no usage unless asked."""
    heard = await ask.chat("Hello, world", stream=True)

    chunks = [ChatCompletionChunk.model_validate(event) for event in heard.events]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "Hello, world"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert not any("usage" in event for event in heard.events)
    assert heard.data[-1] == b"[DONE]"


async def test_stream_usage_is_that_of_the_whole_answer(ask: Asker) -> None:
    whole = await ask.chat("Hello, world", n=2)
    heard = await ask.chat("Hello, world", n=2, stream=True, stream_options=ASK_USAGE)

    *before, last = (ChatCompletionChunk.model_validate(event) for event in heard.events)
    assert all(chunk.usage is None for chunk in before)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.model_dump(exclude_unset=True) == whole.json["usage"]
    assert {choice.index for chunk in before for choice in chunk.choices} == {0, 1}


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_token_limit(ask: Asker, limit: str) -> None:
    heard = await ask.chat("one two three", **{limit: 2})

    assert heard.json["choices"][0]["message"]["content"] == "one two"
    assert heard.json["choices"][0]["finish_reason"] == "length"
    assert heard.json["usage"]["completion_tokens"] == 2


async def test_parts_of_a_message(ask: Asker) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:,"}}]

    heard = await ask("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})

    assert "look" in heard.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("please call get_weather", "auto"),
        ("anything", "required"),
        ("anything", {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
async def test_tool_call(ask: Asker, text: str, choice: object) -> None:
    heard = await ask.chat(text, tools=[WEATHER], tool_choice=choice)

    answer = ChatCompletion.model_validate(heard.json, strict=True)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert answer.choices[0].message.tool_calls is not None
    (call,) = answer.choices[0].message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", ARGUMENTS)


async def test_streamed_tool_call(ask: Asker) -> None:
    """The name with the id first, then the arguments in pieces."""
    heard = await ask.chat("call get_weather", tools=[WEATHER], stream=True)

    chunks = [ChatCompletionChunk.model_validate(event) for event in heard.events]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert calls[0].id
    assert calls[0].function is not None
    assert calls[0].function.name == "get_weather"
    pieces = [call.function.arguments or "" for call in calls if call.function]
    assert len(pieces) > 3
    assert json.loads("".join(pieces)) == ARGUMENTS
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(("text", "choice"), [("call get_weather", "none"), ("what is get_weather", "auto")])
async def test_tools_that_are_not_called(ask: Asker, text: str, choice: str) -> None:
    heard = await ask.chat(text, tools=[WEATHER], tool_choice=choice)

    assert heard.json["choices"][0]["message"]["content"] == text


async def test_chosen_tool_that_is_not_offered(ask: Asker) -> None:
    choice = {"type": "function", "function": {"name": "other"}}

    heard = await ask.chat("hi", tools=[WEATHER], tool_choice=choice)

    assert heard.status == 400


async def test_tool_result_is_said_back(ask: Asker) -> None:
    messages = [
        {"role": "user", "content": "call get_weather"},
        {"role": "assistant", "tool_calls": []},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]

    heard = await ask("/v1/chat/completions", {"messages": messages, "tools": [WEATHER]})

    assert heard.json["choices"][0]["message"]["content"] == "sunny"


async def test_completion(ask: Asker) -> None:
    body = {"model": "echo", "prompt": "one two three", "max_tokens": 2}
    whole = await ask("/v1/completions", body)
    stream = await ask("/v1/completions", {**body, "stream": True, "stream_options": ASK_USAGE})

    answer = Completion.model_validate(whole.json, strict=True)
    assert answer.choices[0].text == "one two"
    assert answer.choices[0].finish_reason == "length"
    *chunks, last = stream.events
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "one two"
    assert last["usage"] == whole.json["usage"]
    assert last["choices"] == []


async def test_embeddings_in_both_encodings(ask: Asker) -> None:
    """Unit vectors, the same in either encoding, another for another text."""
    body = {"model": "echo", "input": ["one", "two words"], "dimensions": 8}
    plain = CreateEmbeddingResponse.model_validate((await ask("/v1/embeddings", body)).json)
    packed = (await ask("/v1/embeddings", {**body, "encoding_format": "base64"})).json

    one, two = (item.embedding for item in plain.data)
    unpacked = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert unpacked == pytest.approx(one)
    assert sum(value * value for value in one) == pytest.approx(1)
    assert one != two
    assert plain.usage.prompt_tokens == 3


async def test_moderation(ask: Asker) -> None:
    heard = await ask("/v1/moderations", {"input": ["a", "b"]})

    answer = ModerationCreateResponse.model_validate({**heard.json, "model": "echo"})
    assert [result.flagged for result in answer.results] == [False, False]


async def test_image(ask: Asker) -> None:
    heard = await ask("/v1/images/generations", {"prompt": "a cat"})

    answer = ImagesResponse.model_validate(heard.json)
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "").startswith(b"\x89PNG")


async def test_speech_and_transcription(ask: Asker) -> None:
    spoken = await ask("/v1/audio/speech", {"input": "hi", "voice": "alloy"})
    heard = await ask("/v1/audio/transcriptions", b"--x\r\n")

    assert spoken.body.startswith(b"RIFF")
    assert dict(spoken.headers)[b"content-type"] == b"audio/wav"
    assert heard.json["text"] == "echo"
