from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatAnswer, ChatRequest, Choice, Message, Text, Thinking, ToolCall
from llmgw.core.events import (
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS
from llmgw.dialects.openai_chat import DIALECT as OPENAI
from llmgw.dialects.openai_chat_mistral import DIALECT
from llmgw.dialects.registry import client_dialect

REQUEST = ChatRequest(model="m", messages=(Message("user", (Text("hi"),)),))


def deltas(*events: ChatEvent) -> list[Any]:
    encoder = DIALECT.encoder(REQUEST, "m", False)
    data = b"".join(encoder.feed(event) for event in events)
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest.mark.parametrize(
    ("agent", "its"),
    [
        (b"mistral-client-python/3.7.0", True),
        (b"mistral-client-typescript/1.10", True),
        (b"OpenAI/Python 2", False),
        (b"", False),
    ],
)
def test_it_is_told_by_the_agent(agent: bytes, its: bool) -> None:
    assert (client_dialect(CHAT_COMPLETIONS, agent) is DIALECT) is its
    assert client_dialect(ENDPOINTS["/v1/responses"], agent) is not DIALECT


def test_calls_come_whole() -> None:
    chunks = deltas(
        Started("r"),
        PartStarted(0, 0, TOOL_CALL, "c1", "f"),
        PartStarted(0, 1, TOOL_CALL, "c2", "g"),
        Delta(0, 0, '{"a"'),
        Delta(0, 0, ":1}"),
        PartEnded(0, 0),
        ChoiceEnded(0, "tool_calls"),
        Counted(Usage(3, 2)),
        Finished(),
    )

    calls = [
        call
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert [(call["index"], call["id"], call["function"]) for call in calls] == [
        (0, "c1", {"name": "f", "arguments": '{"a":1}'}),
        (1, "c2", {"name": "g", "arguments": "{}"}),
    ]
    assert chunks[-1]["usage"]["total_tokens"] == 5


def test_thoughts_are_content() -> None:
    chunks = deltas(
        PartStarted(0, 0, THINKING),
        Delta(0, 0, "hm"),
        Signed(0, 0, "s"),
        PartEnded(0, 0),
        PartStarted(0, 1, TEXT),
        Delta(0, 1, "yes"),
        PartEnded(0, 1),
        Finished(),
    )

    contents = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert [content for content in contents if content] == [[thought], "yes"]


def test_a_whole_answer_reads_back_with_its_signature() -> None:
    parts = (Thinking("hm", "s"), Text("yes"), ToolCall("c1", "f", "{}"))
    body = DIALECT.render_answer(
        ChatAnswer(id="r", model="m", choices=(Choice(parts, "tool_calls"),), usage=Usage(3, 2))
    )
    message = json.loads(body)["choices"][0]["message"]
    back = DIALECT.parse_request(json.dumps({"messages": [message]}).encode(), "m", False)

    assert "reasoning_content" not in message
    assert back.messages[0].parts == parts


def test_text_alone_is_as_openai_has_it() -> None:
    answer = ChatAnswer(id="r", model="m", choices=(Choice((Text("yes"),), "stop"),), created_s=5)

    assert DIALECT.render_answer(answer) == OPENAI.render_answer(answer)
