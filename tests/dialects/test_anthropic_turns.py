from __future__ import annotations

import json

import msgspec
import pytest

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.anthropic_turns import is_signed, render_messages
from llmgw.dialects.openai_responses_signatures import pack


def render(*messages: Message) -> tuple[list[dict[str, object]], set[str]]:
    dropped: set[str] = set()
    wire = render_messages(ChatRequest(model="m", messages=messages), dropped)
    return json.loads(msgspec.json.encode(wire)), dropped


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


def source(part: Image | File) -> object:
    ((message,), _) = render(user(part))
    content = message["content"]
    assert isinstance(content, list)
    return content[0]["source"]


def test_results_of_one_turn_stand_together_and_first() -> None:
    """Other dialects have a message for each; Anthropic wants all in the next user's message."""
    messages, dropped = render(
        assistant(ToolCall("a", "f", "{}"), ToolCall("b", "f", "")),
        user(Text("meanwhile"), ToolResult("a", (Text("1"),))),
        user(ToolResult("b", (Text("2"),)), Text("go on")),
        user(Text("please")),
    )

    assert messages[1:] == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "2"},
                {"type": "text", "text": "meanwhile"},
                {"type": "text", "text": "go on"},
            ],
        },
        {"role": "user", "content": "please"},
    ]
    assert not dropped


def test_ids_that_anthropic_would_refuse_are_written_otherwise() -> None:
    """The same for call and result; one used again is another call's."""
    messages, _ = render(
        assistant(ToolCall("functions.f:0", "f", "{}")),
        user(ToolResult("functions.f:0", (Text("1"),))),
        assistant(ToolCall("functions.f:0", "f", "{}"), ToolCall("", "g", "{}")),
        user(ToolResult("functions.f:0", (Text("2"),)), ToolResult("", ())),
    )

    content = [message["content"] for message in messages]
    assert [[block.get("id") or block["tool_use_id"] for block in blocks] for blocks in content] == [  # type: ignore[attr-defined]
        ["functions_f_0"],
        ["functions_f_0"],
        ["functions_f_0_2", "call"],
        ["functions_f_0_2", "call"],
    ]


def test_texts_are_never_empty() -> None:
    messages, _ = render(
        user(Text("")), assistant(Text(""), ToolCall("a", "f", "")), user(ToolResult("a", (Text(""),)))
    )

    assert messages == [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": ""}]},
    ]


def test_thoughts_without_proof_stay_behind() -> None:
    """Unsigned, or signed by another provider."""
    foreign = (
        Thinking("plain"),
        Thinking("", pack("rs_1", "gAAA")),
        Thinking("", None, '{"type":"reasoning.encrypted"}'),
    )
    messages, dropped = render(assistant(*foreign, Thinking("mine", "Esig"), Text("a")))

    assert messages[0]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "Esig"},
        {"type": "text", "text": "a"},
    ]
    assert dropped == {"thinking"}
    assert not any(map(is_signed, foreign))


def test_what_has_no_place_is_named() -> None:
    _, dropped = render(
        Message("user", (Image(url="https://x.test", detail="high"),), name="bob"),
        assistant(ToolCall("a", "f", "{}", signature="sig")),
    )

    assert dropped == {"detail", "name", "signature"}


def test_refusal_keeps_its_words() -> None:
    assert render(assistant(Refusal("no")))[0] == [{"role": "assistant", "content": "no"}]


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (Image(None, "/9j/4AA"), {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AA"}),
        (Image("image/jpg", "/9j/4AA"), {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AA"}),
        (
            Image(url="data:image/gif;base64,R0lGOD"),
            {"type": "base64", "media_type": "image/gif", "data": "R0lGOD"},
        ),
        (Image(url="https://x.test/a"), {"type": "url", "url": "https://x.test/a"}),
        (File("image/png", "iVBORw"), {"type": "base64", "media_type": "image/png", "data": "iVBORw"}),
        (File(None, "JVBE"), {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}),
        (File("text/csv", "YSxi"), {"type": "text", "media_type": "text/plain", "data": "a,b"}),
        (File(text="words"), {"type": "text", "media_type": "text/plain", "data": "words"}),
        (
            File(url="data:application/pdf;base64,JVBE"),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        ),
        (File(url="https://x.test/b"), {"type": "url", "url": "https://x.test/b"}),
    ],
)
def test_sources(part: Image | File, wire: object) -> None:
    assert source(part) == wire


@pytest.mark.parametrize(
    "part",
    [
        Image("image/heic", "AAAA"),
        Image(url="gs://bucket/a.png"),
        File("application/msword", "AAAA"),
        File(url="file:///etc/passwd"),
        Audio("audio/wav", "AAAA"),
    ],
)
def test_media_that_anthropic_does_not_take(part: Part) -> None:
    with pytest.raises(UnsupportedOperation) as refusal:
        render(user(Text("a")), user(part))

    assert refusal.value.param == "messages[1].content"


@pytest.mark.parametrize("part", [Image(), File(), File("text/plain", "!"), File("text/plain", "/w==")])
def test_media_without_its_bytes(part: Part) -> None:
    with pytest.raises(InvalidRequest):
        render(user(part))


@pytest.mark.parametrize("arguments", ["{", "[]", '"a"', "null", "{} {}", '{"a":\x00}'])
def test_arguments_that_are_no_object(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="'a'") as refusal:
        render(assistant(ToolCall("a", "f", arguments)))

    assert refusal.value.param == "messages[0]"


def test_result_without_its_call() -> None:
    with pytest.raises(InvalidRequest, match="must follow"):
        render(user(ToolResult("a", (Text("1"),))))


def test_image_of_the_assistant() -> None:
    with pytest.raises(UnsupportedOperation):
        render(assistant(Image("image/png", "iVBORw")))


def test_calls_of_one_turn_with_the_same_id_have_each_its_result() -> None:
    calls = assistant(ToolCall("i", "f", "{}"), ToolCall("i", "g", "{}"))
    results = user(ToolResult("i", (Text("of f"),)), ToolResult("i", (Text("of g"),)))
    messages, _ = render(user(Text("q")), calls, results, calls, results)

    for said, answered in ((messages[1], messages[2]), (messages[3], messages[4])):
        names = {block["id"]: block["name"] for block in said["content"]}  # type: ignore[attr-defined]
        assert [(names[block["tool_use_id"]], block["content"]) for block in answered["content"]] == [  # type: ignore[attr-defined]
            ("f", "of f"),
            ("g", "of g"),
        ]
