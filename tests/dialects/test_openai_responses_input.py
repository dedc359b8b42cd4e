"""A flat list of items becomes turns, and turns become items again."""

from __future__ import annotations

import json
from typing import Any

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
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.openai_responses import DIALECT, STATEFUL
from llmgw.dialects.openai_responses_signatures import CALL, REDACTED, SIGNED, pack, wrap

ITEMS: list[dict[str, Any]] = [
    {"role": "developer", "content": "be brief"},
    {
        "role": "user",
        "content": [
            {
                "type": "input_text",
                "text": "look",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
            },
            {"type": "input_image", "image_url": "data:image/png;base64,iVBOR", "detail": "low"},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
            {"type": "input_file", "file_url": "https://example.com/b.pdf"},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "first"}, {"type": "summary_text", "text": "second"}],
        "encrypted_content": "gAAA",
    },
    {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gBBB"},
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "I will", "annotations": []},
            {"type": "refusal", "refusal": "not that"},
        ],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
    {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
    {"type": "function_call_output", "call_id": "c1", "output": "one"},
    {
        "type": "function_call_output",
        "call_id": "c2",
        "output": [
            {"type": "input_text", "text": "two"},
            {"type": "input_image", "image_url": "data:image/jpeg;base64,/9j/"},
        ],
    },
    {"role": "user", "content": "and now?"},
]

MESSAGES = (
    Message(
        "user",
        (
            Text("look", "30m"),
            Image("image/png", "iVBOR", detail="low"),
            Image(url="https://example.com/a.png", detail="auto"),
            File("application/pdf", "JVBE", name="a.pdf"),
            File(url="https://example.com/b.pdf"),
        ),
    ),
    Message(
        "assistant",
        (
            Thinking("first\n\nsecond", pack("rs_1", "gAAA")),
            Thinking("", None, pack("rs_2", "gBBB")),
            Text("I will"),
            Refusal("not that"),
            ToolCall("c1", "f", '{"a": 1}'),
            ToolCall("c2", "g", ""),
        ),
    ),
    Message(
        "user",
        (
            ToolResult("c1", (Text("one"),)),
            ToolResult("c2", (Text("two"), Image("image/jpeg", "/9j/"))),
            Text("and now?"),
        ),
    ),
)


def parse(items: list[dict[str, Any]]) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "input": items}).encode(), "", False)


def rendered(*parts: Part, role: str = "assistant", stateful: bool = False) -> tuple[Any, tuple[str, ...]]:
    dialect = STATEFUL if stateful else DIALECT
    sent = dialect.render_request(ChatRequest(model="m", messages=(Message(role, parts),)))
    return json.loads(sent.body)["input"], sent.dropped


def test_items_become_turns() -> None:
    request = parse(ITEMS)

    assert request.system == (Text("be brief"),)
    assert request.messages == MESSAGES


def test_turns_become_the_same_items() -> None:
    """Ids of messages and calls are the provider's own; everything else comes back."""
    sent = STATEFUL.render_request(ChatRequest(model="m", messages=MESSAGES, system=(Text("be brief"),)))

    body = json.loads(sent.body)
    assert body["instructions"] == "be brief"
    assert body["input"] == [
        ITEMS[1],
        {**ITEMS[2], "summary": [{"type": "summary_text", "text": "first\n\nsecond"}]},
        ITEMS[3],
        {
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "I will"},
                {"type": "refusal", "refusal": "not that"},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        *ITEMS[7:],
    ]
    assert sent.dropped == ()


def test_a_message_of_the_system_in_several_texts_stays_in_several() -> None:
    sent = DIALECT.render_request(ChatRequest(model="m", messages=MESSAGES, system=(Text("a"), Text("b"))))

    assert DIALECT.parse_request(sent.body, "", False).system == (Text("a"), Text("b"))
    assert "cache_control" in sent.dropped


def test_signatures_of_other_providers_come_back_to_them() -> None:
    """What our answers wrapped for the client is unwrapped when the client sends it back."""
    request = parse(
        [
            {"role": "user", "content": "hi"},
            {
                "type": "reasoning",
                "id": "rs_x",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": wrap(SIGNED, "EqQB"),
            },
            {"type": "reasoning", "id": "rs_y", "summary": [], "encrypted_content": wrap(REDACTED, "Eabc")},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "reasoning", "summary": [], "encrypted_content": wrap(CALL, "thought", "c1")},
        ]
    )

    assert request.messages[1].parts == (
        Thinking("hm", "EqQB"),
        Thinking("", None, "Eabc"),
        ToolCall("c1", "f", "{}", "thought"),
    )


def test_a_thought_of_another_provider_is_not_shown_to_this_one() -> None:
    items, dropped = rendered(Thinking("hm", "EqQB"), Thinking("", None, "Eabc"), Text("so"))

    assert items == [{"role": "assistant", "content": "so"}]
    assert dropped == ("thinking",)


def test_a_thought_without_a_signature_is_only_said_where_the_provider_may_know_it() -> None:
    """OpenAI refuses a reasoning item that it has neither kept nor encrypted."""
    items, _ = rendered(Thinking("hm"), Text("so"), stateful=True)
    translated, dropped = rendered(Thinking("hm"), Text("so"))

    assert (len(translated), dropped) == (1, ("thinking",))
    assert items[0] == {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}


def test_thoughts_in_the_content_of_an_item_are_read() -> None:
    """Open models show their thoughts there, and have no summary."""
    request = parse(
        [
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": "so"},
        ]
    )

    assert request.messages[1].parts == (Thinking("hm"), Text("so"))


def test_a_failed_result_says_so_in_what_is_dropped() -> None:
    items, dropped = rendered(ToolResult("c1", (), failed=True), role="user")

    assert items == [{"type": "function_call_output", "call_id": "c1", "output": ""}]
    assert dropped == ("is_error",)


@pytest.mark.parametrize(
    ("role", "part"), [("user", Audio("audio/wav", "UklG")), ("assistant", Image(url="https://e.com/a.png"))]
)
def test_a_part_that_cannot_be_said_is_refused(role: str, part: Part) -> None:
    with pytest.raises(UnsupportedOperation):
        rendered(part, Text("x"), role=role)


def test_text_between_results_stays_between_them() -> None:
    items, _ = rendered(
        Text("a"), ToolResult("c1", (Text("one"),)), File(text="b", name="n.txt"), role="user"
    )

    assert [item.get("output", item.get("content")) for item in items] == [
        "a",
        "one",
        [{"type": "input_text", "text": "n.txt\n\nb"}],
    ]


def test_a_call_id_that_would_be_refused_has_a_shorter_one() -> None:
    """OpenAI takes 64 characters; other providers' ids may be longer."""
    known, given = "c" * 64, "c" * 65
    (call, other), _ = rendered(ToolCall(known, "f", "{}"), ToolCall(given, "f", "{}"))
    (result, another), _ = rendered(ToolResult(known, ()), ToolResult(given, ()), role="user")

    assert call["call_id"] == result["call_id"] == known
    assert other["call_id"] == another["call_id"] != known
    assert len(other["call_id"]) <= 64
