"""System text amid a conversation, from each dialect to each: in its place, or its loss is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Message, Text
from llmgw.dialects import (
    anthropic,
    bedrock_converse,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_responses,
)
from llmgw.dialects.base import Dialect
from llmgw.dialects.system_turns import amid, moved

TURNS = [
    ("system", "be brief"),
    ("user", "hi"),
    ("system", "be kind"),
    ("assistant", "hello"),
    ("user", "go on"),
]
SAID = [{"role": role, "content": text} for role, text in TURNS]
ASKED: dict[str, tuple[Dialect, dict[str, object], str]] = {
    "chat": (openai_chat.DIALECT, {"messages": SAID}, "messages[2]"),
    "developer": (
        openai_chat.DIALECT,
        {"messages": [one | {"role": one["role"].replace("system", "developer")} for one in SAID]},
        "messages[2]",
    ),
    "responses": (openai_responses.DIALECT, {"instructions": "be brief", "input": SAID[1:]}, "input[1]"),
    "messages": (
        anthropic.DIALECT,
        {"system": "be brief", "messages": SAID[1:], "max_tokens": 9},
        "messages[1]",
    ),
    "cohere": (cohere.DIALECT, {"messages": SAID}, "messages[2]"),
    "ollama": (ollama.DIALECT, {"messages": SAID}, "messages[2]"),
}
KEEP: dict[str, tuple[Dialect, str]] = {
    "openai": (openai_chat.dialect_for("azure"), "m"),
    "responses": (openai_responses.DIALECT, "m"),
    "cohere": (cohere.DIALECT, "m"),
    "ollama": (ollama.DIALECT, "m"),
    "opus": (anthropic.DIALECT, "claude-opus-4-8"),
    "opus 5": (anthropic.DIALECT, "claude-opus-5"),
}
MOVE: dict[str, tuple[Dialect, str]] = {
    "anthropic": (anthropic.DIALECT, "claude-sonnet-4-5"),
    "gemini": (gemini.DIALECT, "gemini-2.5-pro"),
    "bedrock": (bedrock_converse.DIALECT, "us.anthropic.claude-opus-4-8-v1:0"),
    "vllm": (openai_chat.dialect_for("vllm"), "m"),
    "mistral": (openai_chat.dialect_for("mistral"), "m"),
    "unknown": (openai_chat.dialect_for(None), "m"),
}


def asked(client: str, model: str) -> tuple[ChatRequest, str]:
    dialect, body, at = ASKED[client]
    return dialect.parse_request(json.dumps(body | {"model": model}).encode(), model, False), at


def words(value: Any) -> str:
    """All text of a request in the order it stands in."""
    if isinstance(value, str):
        return value + "|"
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return "".join(map(words, values))


@pytest.mark.parametrize("upstream", KEEP)
@pytest.mark.parametrize("client", ASKED)
def test_it_keeps_its_place_where_the_upstream_knows_places(client: str, upstream: str) -> None:
    dialect, model = KEEP[upstream]
    rendered = dialect.render_request(asked(client, model)[0])
    body = json.loads(rendered.body)
    turns = body.get("messages") or body["input"]

    roles = [turn["role"] for turn in turns if "be brief" not in words(turn)]
    assert roles == ["user", "system", "assistant", "user"]
    said = words(turns)
    assert said.index("hi") < said.index("be kind") < said.index("hello")
    assert rendered.dropped == ()


@pytest.mark.parametrize("upstream", MOVE)
@pytest.mark.parametrize("client", ASKED)
def test_elsewhere_it_joins_the_system_prompt_and_the_loss_is_named(client: str, upstream: str) -> None:
    dialect, model = MOVE[upstream]
    request, at = asked(client, model)
    rendered = dialect.render_request(request)
    body = json.loads(rendered.body)
    turns = body.get("messages") or body["contents"]
    system = body.get("system") or body.get("systemInstruction") or turns.pop(0)

    assert "be kind" not in words(turns)
    assert words(system).index("be brief") < words(system).index("be kind")
    assert rendered.dropped == (f"{at}.position",)


def test_a_conversation_that_begins_with_system_text_loses_nothing() -> None:
    turns = [{"role": "developer", "content": "a"}, {"role": "system", "content": "b"}, SAID[1]]
    request = openai_chat.DIALECT.parse_request(json.dumps({"messages": turns}).encode(), "m", False)

    assert request.system == (Text("a"), Text("b"))
    assert gemini.DIALECT.render_request(request).dropped == ()


@pytest.mark.parametrize(
    ("roles", "kept"),
    [
        (["user", "system"], ["user", "system"]),
        (["user", "system", "system", "assistant", "user"], ["user", "system", "assistant", "user"]),
        (["user", "assistant", "system", "user"], ["user", "assistant", "user"]),
        (["user", "system", "user"], ["user", "user"]),
    ],
)
def test_claude_is_told_only_where_it_listens(roles: list[str], kept: list[str]) -> None:
    """After a user's turn and before an answer; two messages are one."""
    turns = tuple(
        Message(role, (Text(role),), at="messages[9]" if role == "system" else None) for role in roles
    )
    rendered = anthropic.DIALECT.render_request(ChatRequest(model="claude-opus-4-8", messages=turns))
    body = json.loads(rendered.body)

    assert [turn["role"] for turn in body["messages"]] == kept
    assert rendered.dropped == (() if "system" in kept else ("messages[9].position",))
    assert ("system" in body) == ("system" not in kept)


def test_what_holds_no_system_turns_is_the_same_request() -> None:
    request = ChatRequest(model="m", messages=(Message("user", (Text("hi"),)),))
    told: list[str] = []

    assert moved(request, told.append) is request


def test_each_loss_is_told() -> None:
    told: list[str] = []
    turn = Message("user", (Text("hi"),))
    request = ChatRequest(
        model="m", messages=(turn, amid((Text("a"),), "input[1]"), amid((Text("b"),), "input[2]"), turn)
    )

    assert moved(request, told.append).system == (Text("a"), Text("b"))
    assert told == ["input[1].position", "input[2].position"]
