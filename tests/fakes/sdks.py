"""The official SDKs as clients, each by its own means, under one roof.

`ask` takes a history of the SDK's own messages and gives what the SDK made of the answer; `user` and
`goes_on` make the history. Where an SDK puts a stream together itself, that is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai

from tests.fakes.families import PIXEL, text_of

TOOL = "get_weather"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PERSON_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SYSTEM = "be brief"
LIMIT = 2000
AUTH, FORBIDDEN, NOT_FOUND, INVALID, LIMITED, BROKEN = (
    "auth",
    "forbidden",
    "not found",
    "invalid",
    "limited",
    "broken",
)
"""Situations that every SDK has an exception for."""


@dataclass
class Reply:
    """native: what goes into the history. calls: id, tool and arguments. usage: input and output tokens."""

    native: Any
    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    stop: str | None = None
    usage: tuple[int, int] | None = None


class Sdk(Protocol):
    """errors: its exception for each situation. signed: it carries signatures of thoughts."""

    errors: Mapping[str, type[Exception]]

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        """how: stream, tools, schema, think."""

    def user(self, text: str, image: bool = False) -> Any: ...
    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]: ...
    def close(self) -> None: ...


class OpenAIChat:
    errors: Mapping[str, type[Exception]] = {
        AUTH: openai.AuthenticationError,
        FORBIDDEN: openai.PermissionDeniedError,
        NOT_FOUND: openai.NotFoundError,
        INVALID: openai.BadRequestError,
        LIMITED: openai.RateLimitError,
        BROKEN: openai.InternalServerError,
    }

    def __init__(self, root: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{root}/v1", api_key=key, max_retries=0)

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bool = False) -> Any:
        parts: list[Any] = [{"type": "text", "text": text}]
        if image:
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}})
        return {"role": "user", "content": parts if image else text}

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {"max_completion_tokens": LIMIT}
        if how.get("tools"):
            function = {"name": TOOL, "description": "of a city", "parameters": CITY}
            more["tools"] = [{"type": "function", "function": function}]
        if how.get("schema"):
            schema = {"name": "person", "schema": PERSON_SCHEMA, "strict": True}
            more["response_format"] = {"type": "json_schema", "json_schema": schema}
        if how.get("think"):
            more["reasoning_effort"] = "low"
        messages = [{"role": "system", "content": SYSTEM}, *history]
        if how.get("stream"):
            options = {"include_usage": True}
            with self._client.chat.completions.stream(
                model=model, messages=messages, stream_options=options, **more
            ) as stream:
                answer: Any = stream.get_final_completion()
        else:
            answer = self._client.chat.completions.create(model=model, messages=messages, **more)
        message = answer.choices[0].message
        calls = [
            (call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or ()
        ]
        text, thinking = message.content or "", ""
        if isinstance(text, list):  # Mistral's own, which the SDK leaves as it is
            thinking = "".join(text_of(part["thinking"]) for part in text if part["type"] == "thinking")
            text = text_of([part for part in text if part["type"] == "text"])
        for member in ("reasoning_content", "reasoning"):
            thinking = thinking or getattr(message, member, None) or ""
        return Reply(
            message,
            text,
            thinking,
            calls,
            answer.choices[0].finish_reason,
            (answer.usage.prompt_tokens, answer.usage.completion_tokens),
        )

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        turn = reply.native.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
        answers = [
            {"role": "tool", "tool_call_id": call, "content": text}
            for (call, *_), text in zip(reply.calls, results, strict=True)
        ]
        return [*history, turn, *answers]


class OpenAIResponses(OpenAIChat):
    def user(self, text: str, image: bool = False) -> Any:
        parts: list[Any] = [{"type": "input_text", "text": text}]
        if image:
            parts.append(
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
            )
        return {"role": "user", "content": parts if image else text}

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {"max_output_tokens": LIMIT, "store": False}
        if how.get("tools"):
            more["tools"] = [{"type": "function", "name": TOOL, "parameters": CITY, "strict": False}]
        if how.get("schema"):
            schema = {"type": "json_schema", "name": "person", "schema": PERSON_SCHEMA, "strict": True}
            more["text"] = {"format": schema}
        if how.get("think"):
            more["reasoning"] = {"effort": "low", "summary": "auto"}
            more["include"] = ["reasoning.encrypted_content"]
        asked = {"model": model, "input": history, "instructions": SYSTEM, **more}
        if how.get("stream"):
            with self._client.responses.stream(**asked) as stream:
                answer: Any = stream.get_final_response()
        else:
            answer = self._client.responses.create(**asked)
        thoughts = [item for item in answer.output if item.type == "reasoning"]
        return Reply(
            answer,
            answer.output_text,
            "".join(part.text for item in thoughts for part in item.summary),
            [
                (item.call_id, item.name, json.loads(item.arguments))
                for item in answer.output
                if item.type == "function_call"
            ],
            answer.status,
            (answer.usage.input_tokens, answer.usage.output_tokens),
        )

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        items = [
            item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in reply.native.output
        ]
        answers = [
            {"type": "function_call_output", "call_id": call, "output": text}
            for (call, *_), text in zip(reply.calls, results, strict=True)
        ]
        return [*history, *items, *answers]


class Anthropic:
    errors: Mapping[str, type[Exception]] = {
        AUTH: anthropic.AuthenticationError,
        FORBIDDEN: anthropic.PermissionDeniedError,
        NOT_FOUND: anthropic.NotFoundError,
        INVALID: anthropic.BadRequestError,
        LIMITED: anthropic.RateLimitError,
        BROKEN: anthropic.InternalServerError,
    }

    def __init__(self, root: str, key: str) -> None:
        self._client = anthropic.Anthropic(base_url=root, api_key=key, max_retries=0)

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bool = False) -> Any:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        blocks = [{"type": "image", "source": source}, {"type": "text", "text": text}]
        return {"role": "user", "content": blocks if image else text}

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {}
        if how.get("tools"):
            more["tools"] = [{"name": TOOL, "description": "of a city", "input_schema": CITY}]
        if how.get("schema"):
            more["output_config"] = {"format": {"type": "json_schema", "schema": PERSON_SCHEMA}}
        if how.get("think"):
            more["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        asked = {"model": model, "max_tokens": LIMIT, "system": SYSTEM, "messages": history, **more}
        if how.get("stream"):
            with self._client.messages.stream(**asked) as stream:
                answer: Any = stream.get_final_message()
        else:
            answer = self._client.messages.create(**asked)
        of = {kind: [block for block in answer.content if block.type == kind] for kind in _BLOCKS}
        used = answer.usage
        cached = (used.cache_read_input_tokens or 0) + (used.cache_creation_input_tokens or 0)
        return Reply(
            answer,
            "".join(block.text for block in of["text"]),
            "".join(block.thinking for block in of["thinking"]),
            [(block.id, block.name, block.input) for block in of["tool_use"]],
            answer.stop_reason,
            (used.input_tokens + cached, used.output_tokens),
        )

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        answers = [
            {"type": "tool_result", "tool_use_id": call, "content": text}
            for (call, *_), text in zip(reply.calls, results, strict=True)
        ]
        turn = {"role": "assistant", "content": reply.native.content}
        return [*history, turn, {"role": "user", "content": answers}]


_BLOCKS = ("text", "thinking", "tool_use")
