from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from llmgw.core.chat import File, Part, Thinking, ToolCall
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.anthropic_answer import signature_block
from llmgw.dialects.anthropic_blocks import BlockReader

AT = "messages[0].content"
CALL = {"type": "tool_use", "id": "c", "name": "f", "input": {}}


def read(role: str, *blocks: Any) -> tuple[Part, ...]:
    return BlockReader().message([Raw(msgspec.json.encode(block)) for block in blocks], role, AT)


def test_arguments_stay_the_text_they_came_as() -> None:
    raw = Raw(b'{"type":"tool_use","id":"c","name":"f","input":{ "n" : 1.0e2,\n"\xc3\xb6":"\\u00f6"}}')

    (part,) = BlockReader().message([raw], "assistant", AT)

    assert part == ToolCall("c", "f", '{ "n" : 1.0e2,\n"ö":"\\u00f6"}')


def test_signature_of_a_call_is_found_in_the_block_that_carried_it() -> None:
    parts = read("assistant", CALL, signature_block("c", "AbC+/="), {"type": "thinking", "thinking": "t"})

    assert parts == (ToolCall("c", "f", "{}", "AbC+/="), Thinking("t"))


def test_document_of_one_text() -> None:
    source = {"type": "content", "content": "words"}

    assert read("user", {"type": "document", "source": source}) == (File("text/plain", text="words"),)


@pytest.mark.parametrize(
    ("role", "block", "param"),
    [
        ("user", 5, AT + "[0]"),
        ("user", {}, AT + "[0]"),
        ("user", {"type": "text"}, AT + "[0]"),
        ("user", {"type": "text", "text": 5}, AT + "[0].text"),
        ("user", CALL, AT + "[0].type"),
        ("assistant", {"type": "image", "source": {"type": "url", "url": "u"}}, AT + "[0].type"),
        ("assistant", {**CALL, "input": "{}"}, AT + "[0].input"),
        ("user", {"type": "image", "source": {"type": "base64"}}, AT + "[0].source"),
        ("user", {"type": "tool_result", "tool_use_id": "c"}, AT + "[0].tool_use_id"),
    ],
)
def test_wrong_block_is_named(role: str, block: object, param: str) -> None:
    """A result without its call among them."""
    with pytest.raises(InvalidRequest) as refusal:
        read(role, block)

    assert not isinstance(refusal.value, UnsupportedOperation)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("role", "block", "param"),
    [
        ("user", {"type": "hologram"}, AT + "[0].type"),
        ("user", {"type": "search_result", "source": "s", "title": "t", "content": []}, AT + "[0].type"),
        ("assistant", {"type": "server_tool_use", "id": "s", "name": "n", "input": {}}, AT + "[0].type"),
        ("user", {"type": "image", "source": {"type": "file", "file_id": "f"}}, AT + "[0].source.type"),
        ("user", {"type": "document", "source": {"type": "content", "content": []}}, AT + "[0].source.type"),
    ],
)
def test_block_that_only_the_provider_has_is_refused(role: str, block: object, param: str) -> None:
    with pytest.raises(UnsupportedOperation) as refusal:
        read(role, block)

    assert refusal.value.param == param


def test_block_within_a_result_is_named_by_its_path() -> None:
    reader = BlockReader()
    reader.calls.add("c")
    inner = [{"type": "tool_reference", "tool_name": "t"}]
    block = {"type": "tool_result", "tool_use_id": "c", "content": inner}

    with pytest.raises(UnsupportedOperation) as refusal:
        reader.message([Raw(msgspec.json.encode(block))], "user", AT)

    assert refusal.value.param == AT + "[0].content[0].type"
