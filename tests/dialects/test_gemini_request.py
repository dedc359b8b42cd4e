from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.gemini_request import parse_count_request, parse_request

WEATHER = {"type": "object", "properties": {"my_city": {"type": "string"}}, "required": ["my_city"]}

RICH = {
    "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": "aW1n"}},
                {"fileData": {"fileUri": "https://x.test/a.jpg?b=1"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/report"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "cGRm", "displayName": "r.pdf"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "Two cities.", "thought": True},
                {"text": "Looking.", "thoughtSignature": "c2ln"},
                {
                    "functionCall": {"name": "weather", "args": {"my_city": "Rome"}},
                    "thoughtSignature": "Y2FsbA==",
                },
                {"functionCall": {"name": "weather", "args": {"my_city": "Oslo"}}},
                {"functionCall": {"id": "x7", "name": "now"}},
            ],
        },
        {
            "role": "function",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"output": "12 C"}}},
                {"functionResponse": {"id": "x7", "name": "now", "response": {"error": "no clock"}}},
                {
                    "functionResponse": {
                        "name": "weather",
                        "response": {"degrees": 3},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "aW1n"}}],
                    }
                },
            ],
        },
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "The weather", "parametersJsonSchema": WEATHER},
                {"name": "now", "parameters": {"type": "OBJECT", "properties": {}}},
            ]
        },
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "generationConfig": {
        "candidateCount": 2,
        "maxOutputTokens": 500,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "stopSequences": ["END"],
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseMimeType": "application/json",
        "responseJsonSchema": WEATHER,
        "responseModalities": ["TEXT"],
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "HIGH"},
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    },
}


def body(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def parsed(**members: Any) -> ChatRequest:
    return parse_request(
        body({"contents": [{"parts": [{"text": "hi"}]}], **members}), "gemini-2.5-flash", False
    )


def parts(*wire: object, role: str = "user") -> tuple[Any, ...]:
    content = {"role": role, "parts": wire}
    return parse_request(body({"contents": [content]}), "m", False).messages[0].parts


def test_rich_request_is_read_whole() -> None:
    schema = json.dumps(WEATHER, separators=(",", ":"))

    request = parse_request(body(RICH), "gemini-3-flash", True)

    assert request.system == (Text("Be brief."), Text("Be kind."))
    assert request.messages == (
        Message(
            "user",
            (
                Text("What is this?"),
                Image(media_type="image/png", data="aW1n"),
                Image(media_type="image/jpeg", url="https://x.test/a.jpg?b=1"),
                File(media_type="application/pdf", url="gs://bucket/report"),
                File(media_type="application/pdf", data="cGRm", name="r.pdf"),
                Audio("audio/wav", "d2F2"),
            ),
        ),
        Message(
            "assistant",
            (
                Thinking("Two cities."),
                Text("Looking."),
                Thinking("", "Z20Ac2ln"),
                ToolCall("call_0", "weather", '{"my_city":"Rome"}', "Y2FsbA=="),
                ToolCall("call_1", "weather", '{"my_city":"Oslo"}'),
                ToolCall("x7", "now", ""),
            ),
        ),
        Message(
            "user",
            (
                ToolResult("call_0", (Text("12 C"),), "weather"),
                ToolResult("x7", (Text("no clock"),), "now", failed=True),
                ToolResult(
                    "call_1",
                    (Text('{"degrees":3}'), Image(media_type="image/png", data="aW1n")),
                    "weather",
                ),
            ),
        ),
    )
    assert request.tools == (
        Tool("weather", "The weather", schema),
        Tool("now", None, '{"type":"object","properties":{}}'),
    )
    assert request.tool_choice == ToolChoice("tool", "weather")
    assert (request.choices, request.max_output, request.temperature) == (2, 500, 0.5)
    assert (request.top_p, request.top_k, request.stop, request.seed) == (0.9, 40, ("END",), 7)
    assert (request.presence_penalty, request.frequency_penalty) == (0.1, 0.2)
    assert request.format == Format("schema", schema)
    assert request.reasoning == Reasoning(effort="high", shown=True)
    assert (request.model, request.stream) == ("gemini-3-flash", True)
    assert {name: json.loads(value) for name, value in request.extra.items()} == {
        "tools.googleSearch": {},
        "safetySettings": RICH["safetySettings"],
        "generationConfig.mediaResolution": "MEDIA_RESOLUTION_LOW",
    }


def test_snake_case_and_whole_numbers_as_floats_mean_the_same() -> None:
    """Google reads members by either name, but what the caller named stays."""
    request = parsed(
        system_instruction={"parts": [{"text": "s"}]},
        generation_config={
            "max_output_tokens": 50.0,
            "top_k": 3.0,
            "stop_sequences": None,
            "thinking_config": {"include_thoughts": False, "thinking_budget": 64},
            "response_mime_type": "application/json",
        },
        tools=[{"function_declarations": [{"name": "f", "parameters_json_schema": {"a_b": 1}}]}],
        tool_config={"function_calling_config": {"mode": "none"}},
    )

    assert request.system == (Text("s"),)
    assert (request.max_output, request.top_k, request.stop) == (50, 3, ())
    assert request.reasoning == Reasoning(budget=64, shown=False)
    assert request.format == Format("json")
    assert request.tools == (Tool("f", None, '{"a_b":1}'),)
    assert request.tool_choice == ToolChoice("none")
    assert request.extra == {}


def test_arguments_keep_their_text() -> None:
    raw = (
        b'{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a": 1.50, "a": 2}}}]}]}'
    )

    call = parse_request(raw, "m", False).messages[0].parts[0]

    assert isinstance(call, ToolCall)
    assert call.arguments == '{"a": 1.50, "a": 2}'


@pytest.mark.parametrize(
    ("thinking", "reasoning"),
    [
        ({"thinkingBudget": 0}, Reasoning(enabled=False)),
        ({"thinkingLevel": "low"}, Reasoning(effort="low")),
        ({"includeThoughts": True}, Reasoning(shown=True)),
        ({"thinkingBudget": 512}, Reasoning(budget=512)),
    ],
)
def test_thinking(thinking: object, reasoning: Reasoning) -> None:
    assert parsed(generationConfig={"thinkingConfig": thinking}).reasoning == reasoning


def test_budget_left_to_the_model_is_kept_beside() -> None:
    request = parsed(generationConfig={"thinkingConfig": {"thinkingBudget": -1}})

    assert request.reasoning == Reasoning()
    assert request.extra == {"generationConfig.thinkingConfig.thinkingBudget": "-1"}


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({}, ToolChoice("auto")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["b"]}, ToolChoice("tool", "b")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "VALIDATED"}, ToolChoice("auto")),
    ],
)
def test_tool_choice(calling: object, choice: ToolChoice) -> None:
    assert parsed(toolConfig={"functionCallingConfig": calling}).tool_choice == choice


def test_several_allowed_tools_are_all_there_are() -> None:
    """No other dialect can name several, but one that sees no others can call no others."""
    request = parsed(
        tools=[{"functionDeclarations": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a", "c"]}},
    )

    assert request.tool_choice == ToolChoice("required")
    assert [tool.name for tool in request.tools] == ["a", "c"]


def test_signature_on_media_follows_it() -> None:
    blob = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}, "thoughtSignature": "s"}

    assert parts(blob, role="model") == (Image(media_type="image/png", data="aW1n"), Thinking("", "Z20As"))


def test_signature_that_skips_the_check_is_not_a_signature() -> None:
    call = {"functionCall": {"name": "f"}, "thoughtSignature": "skip_thought_signature_validator"}

    assert parts(call, role="model") == (ToolCall("call_0", "f", ""),)


def test_what_only_gemini_has_is_kept_by_its_path() -> None:
    wire = {"parts": [{"fileData": {"fileUri": "https://v/1"}, "videoMetadata": {"fps": 1}}]}

    request = parse_request(body({"contents": [wire], "newThing": [1]}), "m", False)

    assert request.extra == {"contents[0].parts[0].videoMetadata": '{"fps":1}', "newThing": "[1]"}


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        (b"[]", None),
        (b'{"contents":[{"parts":[{"text":"\xff"}]}]}', None),
        (b"{}", "contents"),
        (body({"contents": "hi"}), "contents"),
        (body({"contents": [{"role": "king"}]}), "contents[0].role"),
        (body({"contents": [{"parts": [{"text": 5}]}]}), "contents[0].parts[0].text"),
        (body({"contents": [{"parts": ["hi"]}]}), "contents[0].parts[0]"),
        (body({"contents": [{"parts": [{"inlineData": {}}]}]}), "contents[0].parts[0].inlineData.data"),
        (
            body({"contents": [{"parts": [{"functionCall": {"name": "f", "args": [1]}}]}]}),
            "contents[0].parts[0].functionCall.args",
        ),
        (
            body({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}),
            "contents[0].parts[0].functionResponse",
        ),
        (
            body({"contents": [{"parts": [{"functionResponse": {"name": "f", "id": "a", "response": 1}}]}]}),
            "contents[0].parts[0].functionResponse.response",
        ),
    ],
)
def test_bad_contents_are_refused_by_name(request_body: bytes, param: str | None) -> None:
    """A tool result with no call, arguments that are no object, and what is of the wrong type."""
    with pytest.raises(InvalidRequest) as caught:
        parse_request(request_body, "m", False)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({"generationConfig": {"temperature": "warm"}}, "generationConfig.temperature"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"candidateCount": 0}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"responseSchema": []}}, "generationConfig.responseSchema"),
        (
            {"generationConfig": {"thinkingConfig": {"includeThoughts": 1}}},
            "generationConfig.thinkingConfig.includeThoughts",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "X"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_bad_members_are_refused_by_name(members: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(**members)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"executableCode": {"language": "PYTHON", "code": "1"}}, "executableCode"),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, "codeExecutionResult"),
        ({"toolCall": {"toolType": "GOOGLE_SEARCH_WEB"}}, "toolCall"),
        ({"hologram": {}}, "hologram"),
    ],
)
def test_parts_that_no_other_provider_has_are_refused(part: object, param: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        parts(part)

    assert caught.value.param == f"contents[0].parts[0].{param}"


def test_answer_as_one_of_some_words_is_refused() -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        parsed(generationConfig={"responseMimeType": "text/x.enum"})

    assert caught.value.param == "generationConfig.responseMimeType"


def test_system_instruction_that_is_not_text_is_refused() -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        parsed(systemInstruction={"parts": [{"inlineData": {"data": "eA=="}}]})

    assert caught.value.param == "systemInstruction.parts[0]"


@pytest.mark.parametrize("wrapped", [True, False])
def test_count_request_holds_contents_or_a_whole_request(wrapped: bool) -> None:
    inner = {"model": "models/m", "contents": [{"parts": [{"text": "hi"}]}]}

    request = parse_count_request(body({"generateContentRequest": inner} if wrapped else inner), "m")

    assert request.messages == (Message("user", (Text("hi"),)),)
    assert request.extra == {}


@pytest.mark.parametrize("data", ["-_-_", "+/+/", "-_-_-_o"])
def test_either_alphabet_of_base64_is_read(data: str) -> None:
    """Google's SDKs write the one for URLs, which no other provider reads."""
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    body = json.dumps({"contents": [{"role": "user", "parts": [part]}]}).encode()

    image = parse_request(body, "m", False).messages[0].parts[0]

    assert isinstance(image, Image)
    assert image.data is not None
    assert set(image.data) <= set("+/o=")
    assert len(image.data) % 4 == 0
