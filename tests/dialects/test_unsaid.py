"""What is refused and what is left out of a request that goes to another dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    Audio,
    ChatAnswer,
    ChatRequest,
    Choice,
    File,
    Image,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects import anthropic, cohere, ollama, openai_chat, openai_responses
from llmgw.dialects.base import Dialect
from llmgw.dialects.unsaid import arguments_of, is_marked, lost, unknown_part, unsaid


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("previous_response_id", '"resp_1"'),
        ("modalities", '["text","audio"]'),
        ("logprobs", "true"),
        ("tools", '[{"type":"web_search"}]'),
        ("tools.googleSearch", "{}"),
        ("tools[1].type", '"x"'),
    ],
)
def test_structure_is_refused_by_its_own_name(name: str, text: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        lost(name, text)

    assert caught.value.param == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("previous_response_id", "null"),
        ("modalities", ' [ "text" ]'),
        ("logprobs", "false"),
        ("tools", "[]"),
        ("stream_options", '{"include_usage":true}'),
    ],
)
def test_what_asks_for_nothing_is_no_loss(name: str, text: str) -> None:
    assert lost(name, text) == ()


@pytest.mark.parametrize("name", ["logit_bias", "tools[0].functionDeclarations[0].response"])
def test_tuning_is_left_out_by_name(name: str) -> None:
    assert lost(name, '{"a":1}') == (name,)


def test_arguments_must_be_an_object() -> None:
    assert arguments_of(ToolCall("c", "f", "")) == "{}"
    assert arguments_of(ToolCall("c", "f", '{"a":1}')) == '{"a":1}'
    for text in ("[1]", "{", '{"a":', "\ud800", "[" * 100_000):
        with pytest.raises(InvalidRequest, match="call 'c'"):
            arguments_of(ToolCall("c", "f", text))


def test_a_part_is_named_by_its_kind() -> None:
    assert "'file'" in unknown_part(File(url="https://x.test/a.pdf")).message


def test_marks_are_found_wherever_they_stand() -> None:
    def asked(**members: object) -> ChatRequest:
        turn = Message("user", (Text("hi"), Image(url="https://x.test/a.png")))
        return ChatRequest(model="m", **{"messages": (turn,), **members})  # type: ignore[arg-type]

    assert not is_marked(asked())
    assert is_marked(asked(system=(Text("a", cached=""),)))
    assert is_marked(asked(tools=(Tool("f", cached="1h"),)))
    assert is_marked(asked(messages=(Message("user", (Text("hi", cached="5m"),)),)))
    assert unsaid(asked()) == []
    assert unsaid(asked(user="u", parallel_tools=False, system=(Text("a", cached=""),))) == [
        "user",
        "parallel_tool_calls",
        "cache_control",
    ]


@pytest.mark.parametrize(
    "dialect",
    [anthropic.DIALECT, cohere.DIALECT, ollama.DIALECT, openai_chat.DIALECT],
    ids=lambda one: type(one).__name__,
)
def test_what_messages_say_that_nobody_knows_is_a_loss(dialect: Dialect) -> None:
    turn = {"role": "user", "content": "hi", "of_next_year": {"x": 1}}
    body = json.dumps({"messages": [turn], "max_tokens": 9}).encode()
    request = dialect.parse_request(body, "m", False)

    assert "messages[].of_next_year" in openai_responses.DIALECT.render_request(request).dropped


def test_a_thought_that_only_its_provider_keeps_is_a_loss() -> None:
    items = [{"role": "user", "content": "hi"}, {"type": "reasoning", "id": "rs_1", "summary": []}]
    request = openai_responses.DIALECT.parse_request(json.dumps({"input": items}).encode(), "m", False)

    assert anthropic.DIALECT.render_request(request).dropped == ("input[].reasoning",)


PICTURE = Image("image/png", "iVBORw0KGgo=")


def answered(dialect: Dialect, part: Audio | File | Image) -> dict[str, Any]:
    answer = ChatAnswer(id="a1", model="m", choices=(Choice((Text("here"), part), "stop"),))
    body: dict[str, Any] = json.loads(dialect.render_answer(answer))
    return body


def test_pictures_of_an_answer_go_where_they_have_a_place() -> None:
    chat = answered(openai_chat.DIALECT, PICTURE)
    responses = answered(openai_responses.DIALECT, PICTURE)

    assert chat["choices"][0]["message"]["images"][0]["image_url"]["url"].endswith("iVBORw0KGgo=")
    assert responses["output"][1]["type"] == "image_generation_call"
    assert responses["output"][1]["result"] == "iVBORw0KGgo="
    assert answered(ollama.DIALECT, PICTURE)["message"]["images"] == ["iVBORw0KGgo="]


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        (anthropic.DIALECT, PICTURE),
        (cohere.DIALECT, PICTURE),
        (ollama.GENERATE, PICTURE),
        (ollama.DIALECT, Image(url="https://x.test/a.png")),
        (ollama.DIALECT, Audio("audio/wav", "eA==")),
        (openai_responses.DIALECT, File(data="eA==")),
        (openai_chat.DIALECT, Audio("audio/wav", "eA==")),
    ],
    ids=lambda one: type(one).__name__,
)
def test_elsewhere_an_answer_does_not_lose_them_in_silence(
    dialect: Dialect, part: Audio | File | Image
) -> None:
    with pytest.raises(UnsupportedOperation, match="images, files or sound"):
        answered(dialect, part)


def test_web_search_is_switched_on_by_an_empty_object_and_refused() -> None:
    for text in ("{}", '{"search_context_size":"low"}'):
        with pytest.raises(UnsupportedOperation) as caught:
            lost("web_search_options", text)
        assert caught.value.param == "web_search_options"
    assert lost("web_search_options", "null") == ()


@pytest.mark.parametrize("dialect", [cohere.DIALECT, ollama.DIALECT, openai_responses.DIALECT])
def test_marks_within_a_result_and_signatures_of_calls_are_named(dialect: Dialect) -> None:
    call = Message("assistant", (ToolCall("c", "f", "{}", "QUJD"),))
    result = Message("user", (ToolResult("c", (Text("r", "1h"),)),))
    request = ChatRequest(model="m", messages=(Message("user", (Text("x"),)), call, result))

    assert set(dialect.render_request(request).dropped) == {"cache_control", "signature"}
