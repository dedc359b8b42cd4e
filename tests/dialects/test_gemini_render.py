from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.gemini_parts import SKIP_SIGNATURE
from llmgw.dialects.gemini_render import render_count_request, render_request

HI = Message("user", (Text("hi"),))
OLD, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"


def request(*messages: Message, model: str = OLD, **more: Any) -> ChatRequest:
    return ChatRequest(model=model, messages=messages or (HI,), **more)


def rendered(given: ChatRequest) -> tuple[Any, tuple[str, ...]]:
    out = render_request(given)
    return json.loads(out.body), out.dropped


def contents(*messages: Message, model: str = OLD) -> Any:
    return rendered(request(*messages, model=model))[0]["contents"]


def said(*parts: Part) -> Message:
    return Message("assistant", parts)


def asked(*parts: Part) -> Message:
    return Message("user", parts)


def test_rich_request_is_written_whole() -> None:
    schema = '{"type":"object"}'

    body, dropped = rendered(
        request(
            asked(
                Text("look"),
                Image(media_type="image/png", data="aW1n"),
                Image(url="https://x.test/a.webp"),
                Image(url="https://x.test/a"),
                File(media_type="application/pdf", url="https://x.test/b"),
                File(text="plain"),
                Audio("audio/wav", "d2F2"),
            ),
            said(Thinking("hm", "Z20As1"), Text("yes"), Thinking("", "Z20As2"), Refusal("but no")),
            asked(Text("go on")),
            system=(Text("one"), Text("two")),
            tools=(Tool("f", "does f", schema), Tool("g")),
            tool_choice=ToolChoice("tool", "f"),
            max_output=5,
            temperature=0.5,
            top_p=0.25,
            top_k=4,
            stop=("END",),
            seed=1,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            choices=2,
            format=Format("schema", schema, "name", strict=True),
            reasoning=Reasoning(budget=100, shown=True),
        )
    )

    assert dropped == ()
    assert body == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "look"},
                    {"inlineData": {"mimeType": "image/png", "data": "aW1n"}},
                    {"fileData": {"mimeType": "image/webp", "fileUri": "https://x.test/a.webp"}},
                    {"fileData": {"fileUri": "https://x.test/a"}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/b"}},
                    {"inlineData": {"mimeType": "text/plain", "data": "cGxhaW4="}},
                    {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "s1"},
                    {"text": "yes", "thoughtSignature": "s2"},
                    {"text": "but no"},
                ],
            },
            {"role": "user", "parts": [{"text": "go on"}]},
        ],
        "systemInstruction": {"parts": [{"text": "one"}, {"text": "two"}]},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "description": "does f", "parametersJsonSchema": {"type": "object"}},
                    {"name": "g"},
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "candidateCount": 2,
            "maxOutputTokens": 5,
            "temperature": 0.5,
            "topP": 0.25,
            "topK": 4,
            "stopSequences": ["END"],
            "seed": 1,
            "presencePenalty": 0.5,
            "frequencyPenalty": -0.5,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 100},
        },
    }


def test_arguments_go_out_as_they_came() -> None:
    raw = '{"a": 1.50, "big": 123456789012345678901234567890}'

    body = render_request(request(said(ToolCall("x", "f", raw)))).body

    assert f'"args":{raw}'.encode() in body


def test_results_of_separate_messages_are_one_turn_in_the_order_of_the_calls() -> None:
    """Gemini wants all results of a turn at once, and without ids knows them by their place."""
    turns = contents(
        said(ToolCall("call_0", "f", ""), ToolCall("call_1", "g", "{}")),
        asked(ToolResult("call_1", (Text("second"),))),
        asked(ToolResult("call_0", (Text("first"),), failed=True)),
        asked(Text("well?")),
    )

    assert turns == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {}}},
                {"functionCall": {"name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"error": "first"}}},
                {"functionResponse": {"name": "g", "response": {"output": "second"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "well?"}]},
    ]


def test_ids_of_the_providers_own_are_shown_to_it() -> None:
    turns = contents(said(ToolCall("x7", "f", "")), asked(ToolResult("x7", ())))

    assert turns[0]["parts"] == [{"functionCall": {"name": "f", "args": {}, "id": "x7"}}]
    assert turns[1]["parts"] == [{"functionResponse": {"name": "f", "response": {}, "id": "x7"}}]


@pytest.mark.parametrize("model", [OLD, NEW])
def test_image_in_a_result_stands_where_the_model_can_see_it(model: str) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}}
    parts = (Text("here"), Image(media_type="image/png", data="aW1n"))

    turns = contents(said(ToolCall("x", "f", "")), asked(ToolResult("x", parts)), model=model)

    result: dict[str, Any] = {"name": "f", "response": {"output": "here"}, "id": "x"}
    if model == NEW:
        assert turns[1]["parts"] == [{"functionResponse": {**result, "parts": [image]}}]
    else:
        assert turns[1]["parts"] == [{"functionResponse": result}, image]


@pytest.mark.parametrize(
    ("model", "signed"),
    [
        (OLD, False),
        (NEW, True),
        ("models/gemini-3.1-pro-preview", True),
        ("gemini-flash-latest", True),
        ("gemma-3-27b", False),
    ],
)
def test_call_of_another_model_gets_a_stand_in_for_its_signature(model: str, signed: bool) -> None:
    """Gemini 3 refuses a turn whose first call has no signature."""
    turns = contents(
        said(Text("so"), ToolCall("a", "f", ""), ToolCall("b", "g", "")),
        asked(ToolResult("a", ()), ToolResult("b", ())),
        said(ToolCall("c", "f", "", "own")),
        model=model,
    )

    calls = [part.get("thoughtSignature") for part in turns[0]["parts"]]
    assert calls == [None, SKIP_SIGNATURE if signed else None, None]
    assert turns[2]["parts"][0]["thoughtSignature"] == "own"


@pytest.mark.parametrize(
    ("model", "reasoning", "config", "dropped"),
    [
        (OLD, Reasoning(effort="low"), {"thinkingBudget": 1024}, ()),
        (OLD, Reasoning(effort="high", shown=True), {"includeThoughts": True, "thinkingBudget": 24576}, ()),
        (OLD, Reasoning(effort="none"), {"thinkingBudget": 0}, ()),
        (OLD, Reasoning(enabled=False), {"thinkingBudget": 0}, ()),
        (OLD, Reasoning(enabled=False, budget=5), {"thinkingBudget": 0}, ()),
        (OLD, Reasoning(), None, ()),
        (OLD, Reasoning(effort="heroic"), None, ("reasoning_effort",)),
        (OLD, Reasoning(effort="high", budget=9), {"thinkingBudget": 9}, ()),
        ("gemini-2.5-pro", Reasoning(enabled=False), {"thinkingBudget": 128}, ("reasoning_effort",)),
        ("gemini-2.0-flash", Reasoning(effort="high"), None, ("reasoning_effort",)),
        ("gemini-2.0-flash", Reasoning(enabled=False), None, ()),
        (NEW, Reasoning(effort="medium"), {"thinkingLevel": "medium"}, ()),
        (NEW, Reasoning(effort="xhigh"), {"thinkingLevel": "high"}, ()),
        (NEW, Reasoning(enabled=False), {"thinkingLevel": "minimal"}, ("reasoning_effort",)),
        (NEW, Reasoning(budget=2000), {"thinkingBudget": 2000}, ()),
        ("gemini-3-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "high"}, ()),
        ("gemini-3.1-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "medium"}, ()),
        ("gemini-3.1-pro-preview", Reasoning(effort="minimal"), {"thinkingLevel": "low"}, ()),
    ],
)
def test_how_much_to_think_is_said_as_the_model_reads_it(
    model: str, reasoning: Reasoning, config: object, dropped: tuple[str, ...]
) -> None:
    body, lost = rendered(request(model=model, reasoning=reasoning))

    assert body.get("generationConfig", {}).get("thinkingConfig") == config
    assert lost == dropped


def test_what_gemini_cannot_say_is_named() -> None:
    _, dropped = rendered(
        request(
            Message(
                "user",
                (
                    Text("a", cached=""),
                    Image(url="https://x.test/a.png", detail="low"),
                    File(media_type="application/pdf", data="eA==", name="x.pdf"),
                ),
                name="Ann",
            ),
            said(Thinking("", redacted="blob", signature="sealed"), Text("b")),
            tools=(Tool("f", strict=True, cached="1h"),),
            format=Format("schema", "{}", description="an answer"),
            user="u1",
            parallel_tools=False,
            extra={"logit_bias": '{"1":2}', "service_tier": '"auto"', "modalities": '["text"]'},
        )
    )

    assert set(dropped) == {
        "cache_control",
        "detail",
        "filename",
        "name",
        "redacted_thinking",
        "strict",
        "response_format.description",
        "user",
        "parallel_tool_calls",
        "logit_bias",
        "service_tier",
    }


def test_thoughts_sealed_by_another_provider_are_left_out() -> None:
    turns = contents(said(Thinking("", "their signature", "blob"), Thinking("aloud", "x", "blob"), Text("b")))

    assert turns[0]["parts"] == [{"text": "aloud", "thought": True}, {"text": "b"}]


def test_proof_of_another_provider_is_left_out_and_named() -> None:
    """Gemini refuses signatures that it did not make. The words of the thought may go."""
    rendered = render_request(request(asked(Text("a")), said(Thinking("hm", "EqQB"), Text("b"))))

    parts = json.loads(rendered.body)["contents"][1]["parts"]
    assert parts == [{"text": "hm", "thought": True}, {"text": "b"}]
    assert rendered.dropped == ("signature",)


@pytest.mark.parametrize("name", ["previous_response_id", "audio", "tools", "web_search_options"])
def test_structure_of_other_dialects_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        render_request(request(extra={name: '{"a":1}'}))

    assert caught.value.param == name


def test_geminis_own_goes_back_to_its_place() -> None:
    body, dropped = rendered(
        request(
            tools=(Tool("f"),),
            tool_choice=ToolChoice("auto"),
            extra={
                "tools.googleSearch": "{}",
                "safetySettings": "[]",
                "generationConfig.thinkingConfig.thinkingBudget": "-1",
                "generationConfig.speechConfig": '{"languageCode":"de"}',
                "toolConfig.functionCallingConfig.mode": '"VALIDATED"',
                "toolConfig.includeServerSideToolInvocations": "true",
                "contents[0].parts[0].videoMetadata": "{}",
            },
        )
    )

    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    assert body["safetySettings"] == []
    assert body["generationConfig"] == {
        "thinkingConfig": {"thinkingBudget": -1},
        "speechConfig": {"languageCode": "de"},
    }
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "VALIDATED"},
        "includeServerSideToolInvocations": True,
    }
    assert dropped == ("contents[0].parts[0].videoMetadata",)


@pytest.mark.parametrize(
    "name",
    [
        "generationConfig.maxOutputTokens",
        "generationConfig.max_output_tokens",
        "generationConfig.candidateCount",
        "generationConfig.maxOutputTokens.x",
        "generationConfig.temperature.x",
        "tools.functionDeclarations",
        "toolConfig.functionCallingConfig",
    ],
)
def test_extra_cannot_say_what_a_field_says(name: str) -> None:
    """A client of another dialect could name such a member to get past a limit on it."""
    given = request(max_output=5, temperature=1.0, extra={name: "8000"})

    body, dropped = rendered(given)

    assert body["generationConfig"] == {"maxOutputTokens": 5, "temperature": 1.0}
    assert body.keys() == {"contents", "generationConfig"}
    assert dropped == (name,)


@pytest.mark.parametrize("arguments", ["not json", "[1]", '"text"', "{", "1", "\ud800"])
def test_arguments_that_are_not_an_object_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="are not a JSON object"):
        render_request(request(said(ToolCall("x", "f", arguments))))


def test_result_without_a_call_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="answers no tool call"):
        render_request(request(asked(ToolResult("x", (Text("a"),), "f"))))


def test_required_tool_without_tools_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        render_request(request(tool_choice=ToolChoice("required")))

    assert caught.value.param == "tool_choice"
    assert "toolConfig" not in rendered(request(tool_choice=ToolChoice("auto")))[0]


@pytest.mark.parametrize("message", [asked(), asked(Text("")), said(Thinking("", None, "blob"))])
def test_nothing_to_answer_is_refused(message: Message) -> None:
    with pytest.raises(InvalidRequest, match="nothing to answer"):
        render_request(request(message))


def test_count_request_of_each_service() -> None:
    given = request(model="gemini-2.5-pro", system=(Text("s"),))
    plain = msgspec.json.decode(render_request(given).body)

    assert msgspec.json.decode(render_count_request(given, vertex=True).body) == plain
    assert msgspec.json.decode(render_count_request(given).body) == {
        "generateContentRequest": {"model": "models/gemini-2.5-pro", **plain}
    }
