"""Upstreams that answer what they are asked, each in the words of its own family.

A request is read from its family's wire into `Asked`, by nothing of llmgw's; `reply` decides by the first
word of the conversation what a model would say, and the family writes that down, whole or as a
stream. `FAMILIES` has them by name; the last segment before the API's own path tells which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

INPUT, CACHED, OUTPUT = 11, 3, 7
"""What every answer says it used; `INPUT` holds `CACHED`."""
SIGNATURE = "++++//4gc2lnbmVkIGJ5IGl0"
CITIES = ("Paris", "Rome")
PERSON = '{"name":"Ada","age":36}'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass
class Asked:
    """What a model is told. results: the call's id (its tool's name for Gemini) and the text.

    thoughts: earlier thoughts that came back, with their signature; a call's own signature has no text.
    """

    stream: bool = False
    system: str = ""
    texts: list[str] = field(default_factory=list)
    tools: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    thoughts: list[tuple[str, str | None]] = field(default_factory=list)
    schema: Any = None
    max_output: int | None = None


@dataclass(frozen=True)
class Said:
    """What a model answers. calls: id, tool and arguments."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = ()


def reply(asked: Asked) -> Said:
    """What the model says."""
    word = asked.texts[0].split()[0]
    if asked.results:
        return Said(" and ".join(text for _, text in asked.results))
    if word == "think":
        return Said(thinking="I should ask.", calls=(("call_a1", "get_weather", {"city": CITIES[0]}),))
    if word in ("tools", "parallel"):
        cities = CITIES[: 2 if word == "parallel" else 1]
        return Said(
            calls=tuple((f"call_a{at}", "get_weather", {"city": city}) for at, city in enumerate(cities))
        )
    if word == "schema":
        return Said(PERSON)
    if word == "image":
        return Said("a dot")
    return Said("Hello there, friend")


Frames = list[bytes]
Read = Callable[[str, Any], Asked]


@dataclass(frozen=True)
class Family:
    """read: path and body of a request. whole, stream: an answer. error: body for status and message.

    stream_type: the content type of streams.
    """

    read: Read
    whole: Callable[[str, Said], Any]
    stream: Callable[[str, Said], Frames]
    error: Callable[[int, bool], tuple[dict[str, str], Any]]
    stream_type: str = "text/event-stream"


def thirds(text: str) -> list[str]:
    """A text in pieces."""
    size = max(1, -(-len(text) // 3))
    return [text[at : at + size] for at in range(0, len(text), size)]


def sse(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def data_url(url: str) -> tuple[str, str]:
    head, _, data = url.partition(";base64,")
    return head.removeprefix("data:"), data


def text_of(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text", "") for part in content)


# OpenAI's chat completions, and what others made of them.


def read_chat(_: str, body: Any) -> Asked:
    asked = Asked(bool(body.get("stream")))
    asked.max_output = body.get("max_completion_tokens") or body.get("max_tokens")
    for tool in body.get("tools", ()):
        asked.tools[tool["function"]["name"]] = tool["function"]["parameters"]
    asked.schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    for message in body["messages"]:
        content = message.get("content")
        match message["role"]:
            case "system" | "developer":
                asked.system += text_of(content)
            case "tool":
                asked.results.append((message["tool_call_id"], text_of(content)))
            case "assistant":
                for member in ("reasoning_content", "reasoning"):
                    if message.get(member):
                        asked.thoughts.append((message[member], None))
                for part in content if isinstance(content, list) else ():
                    if part["type"] == "thinking":
                        asked.thoughts.append((text_of(part["thinking"]), None))
                for call in message.get("tool_calls", ()):
                    function = call["function"]
                    asked.calls.append((call["id"], function["name"], json.loads(function["arguments"])))
            case "user":
                asked.texts.append(text_of(content))
                for part in content if isinstance(content, list) else ():
                    if part["type"] == "image_url":
                        image = part["image_url"]
                        asked.images.append(data_url(image if isinstance(image, str) else image["url"]))
            case role:
                raise AssertionError(role)
    return asked


CHAT_USAGE = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHED},
}


def _chat_calls(said: Said) -> list[Any]:
    return [
        {"id": call, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call, name, arguments in said.calls
    ]


def chat_family(thoughts: str | None) -> Family:
    """thoughts: the member that thoughts are in, or "content" for parts of the content."""

    def content(said: Said) -> Any:
        if thoughts != "content" or not said.thinking:
            return said.text or None
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": said.thinking}]}
        return [thinking, *([{"type": "text", "text": said.text}] if said.text else [])]

    def whole(_: str, said: Said) -> Any:
        message: dict[str, Any] = {"role": "assistant", "content": content(said)}
        if thoughts not in (None, "content") and said.thinking:
            message[thoughts] = said.thinking
        if said.calls:
            message["tool_calls"] = _chat_calls(said)
        finish = "tool_calls" if said.calls else "stop"
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "upstream",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": CHAT_USAGE,
        }

    def stream(_: str, said: Said) -> Frames:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        for piece in thirds(said.thinking) if thoughts else ():
            if thoughts == "content":
                part = {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}
                deltas.append({"content": [part]})
            else:
                deltas.append({str(thoughts): piece})
        deltas += ({"content": piece} for piece in thirds(said.text))
        for at, call in enumerate(_chat_calls(said)):
            pieces = thirds(call["function"]["arguments"])
            if thoughts == "content":
                pieces = ["".join(pieces)]
            call["function"]["arguments"] = pieces[0]
            deltas.append({"tool_calls": [{"index": at, **call}]})
            deltas += (
                {"tool_calls": [{"index": at, "function": {"arguments": piece}}]} for piece in pieces[1:]
            )
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1700000000, "model": "upstream"}
        frames = [
            sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            for delta in deltas
        ]
        finish = "tool_calls" if said.calls else "stop"
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        if thoughts == "content":
            frames.append(sse({**last, "usage": CHAT_USAGE}))
        else:
            frames += [sse(last), sse({**head, "choices": [], "usage": CHAT_USAGE})]
        return [*frames, sse("[DONE]")]

    def error(status: int, context: bool) -> tuple[dict[str, str], Any]:
        code = "context_length_exceeded" if context else None
        return {}, {
            "error": {"message": "as you see", "type": "invalid_request_error", "param": None, "code": code}
        }

    return Family(read_chat, whole, stream, error)


# OpenAI's responses.


def read_responses(_: str, body: Any) -> Asked:
    asked = Asked(bool(body.get("stream")), body.get("instructions") or "")
    asked.max_output = body.get("max_output_tokens")
    for tool in body.get("tools", ()):
        asked.tools[tool["name"]] = tool["parameters"]
    asked.schema = (body.get("text") or {}).get("format", {}).get("schema")
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    for item in items:
        match item.get("type", "message"):
            case "message" if item["role"] == "user":
                asked.texts.append(text_of(item["content"]))
                for part in item["content"] if isinstance(item["content"], list) else ():
                    if part["type"] == "input_image":
                        asked.images.append(data_url(part["image_url"]))
            case "function_call":
                asked.calls.append((item["call_id"], item["name"], json.loads(item["arguments"])))
            case "function_call_output":
                asked.results.append((item["call_id"], item["output"]))
            case "reasoning":
                text = "".join(part["text"] for part in item["summary"])
                asked.thoughts.append((text, item.get("encrypted_content")))
    return asked


RESPONSES_USAGE = {
    "input_tokens": INPUT,
    "input_tokens_details": {"cached_tokens": CACHED},
    "output_tokens": OUTPUT,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": INPUT + OUTPUT,
}


def _items(said: Said) -> list[Any]:
    items: list[Any] = []
    if said.thinking:
        summary = [{"type": "summary_text", "text": said.thinking}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": SIGNATURE})
    if said.text:
        content = [{"type": "output_text", "text": said.text, "annotations": []}]
        items.append(
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
        )
    for call, name, arguments in said.calls:
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{call}",
                "call_id": call,
                "name": name,
                "arguments": json.dumps(arguments),
                "status": "completed",
            }
        )
    return items


def responses_whole(_: str, said: Said, status: str = "completed") -> Any:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "model": "upstream",
        "status": status,
        "output": _items(said) if status == "completed" else [],
        "usage": RESPONSES_USAGE if status == "completed" else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def responses_stream(path: str, said: Said) -> Frames:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": responses_whole(path, said, "in_progress")}
    ]
    for at, item in enumerate(_items(said)):
        where = {"item_id": item["id"], "output_index": at}
        empty = {
            **item,
            **{"message": {"content": []}, "reasoning": {"summary": []}}.get(item["type"], {"arguments": ""}),
        }
        events.append({"type": "response.output_item.added", "output_index": at, "item": empty})
        if item["type"] == "message":
            (part,) = item["content"]
            inner = {**where, "content_index": 0}
            events.append({"type": "response.content_part.added", **inner, "part": {**part, "text": ""}})
            events += (
                {"type": "response.output_text.delta", **inner, "delta": piece, "logprobs": []}
                for piece in thirds(part["text"])
            )
            events.append(
                {"type": "response.output_text.done", **inner, "text": part["text"], "logprobs": []}
            )
            events.append({"type": "response.content_part.done", **inner, "part": part})
        elif item["type"] == "function_call":
            events += (
                {"type": "response.function_call_arguments.delta", **where, "delta": piece}
                for piece in thirds(item["arguments"])
            )
            events.append(
                {
                    "type": "response.function_call_arguments.done",
                    **where,
                    "name": item["name"],
                    "arguments": item["arguments"],
                }
            )
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    events.append({"type": "response.completed", "response": responses_whole(path, said)})
    return [sse({**event, "sequence_number": at}, event["type"]) for at, event in enumerate(events)]


FAMILIES: Mapping[str, Family] = {
    "openai": chat_family(None),
    "compatible": chat_family("reasoning_content"),
    "mistral": chat_family("content"),
    "ollama-v1": chat_family("reasoning"),
    "responses": Family(read_responses, responses_whole, responses_stream, chat_family(None).error),
}
"""Those that speak OpenAI's API; `families_other.OTHERS` has the rest."""
