"""The families with an API of their own: Cohere, Ollama, and those of `families_clouds`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.families import (
    CACHED,
    INPUT,
    OUTPUT,
    Asked,
    Family,
    Frames,
    Said,
    data_url,
    sse,
    text_of,
    thirds,
)
from tests.fakes.families_clouds import CLOUDS

# Cohere.


def read_cohere(_: str, body: Any) -> Asked:
    asked = Asked(bool(body.get("stream")))
    asked.max_output = body.get("max_tokens")
    asked.schema = (body.get("response_format") or {}).get("json_schema")
    for tool in body.get("tools", ()):
        asked.tools[tool["function"]["name"]] = tool["function"]["parameters"]
    for message in body["messages"]:
        content = message.get("content")
        match message["role"]:
            case "system":
                asked.system += text_of(content)
            case "tool":
                asked.results.append((message["tool_call_id"], text_of(content)))
            case "assistant":
                if message.get("tool_plan"):
                    asked.thoughts.append((message["tool_plan"], None))
                for block in content if isinstance(content, list) else ():
                    if block["type"] == "thinking":
                        asked.thoughts.append((block["thinking"], None))
                for call in message.get("tool_calls") or ():
                    function = call["function"]
                    asked.calls.append((call["id"], function["name"], json.loads(function["arguments"])))
            case "user":
                asked.texts.append(text_of(content))
                for block in content if isinstance(content, list) else ():
                    if block["type"] == "image_url":
                        asked.images.append(data_url(block["image_url"]["url"]))
    return asked


COHERE_USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 4},
    "tokens": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "cached_tokens": CACHED,
}


def cohere_whole(_: str, said: Said) -> Any:
    message: dict[str, Any] = {"role": "assistant"}
    if said.text:
        message["content"] = [{"type": "text", "text": said.text}]
    if said.thinking:
        message["tool_plan"] = said.thinking
    if said.calls:
        message["tool_calls"] = _cohere_calls(said)
    finish = "TOOL_CALL" if said.calls else "COMPLETE"
    return {"id": "r1", "finish_reason": finish, "message": message, "usage": COHERE_USAGE}


def _cohere_calls(said: Said) -> list[Any]:
    return [
        {"id": call, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call, name, arguments in said.calls
    ]


def cohere_stream(_: str, said: Said) -> Frames:
    def message(name: str, delta: Any, **more: Any) -> dict[str, Any]:
        return {"type": name, **more, "delta": {"message": delta}}

    events: list[dict[str, Any]] = [message("message-start", {"role": "assistant"}, id="r1")]
    events += (message("tool-plan-delta", {"tool_plan": piece}) for piece in thirds(said.thinking))
    if said.text:
        events.append(message("content-start", {"content": {"type": "text", "text": ""}}, index=0))
        for piece in thirds(said.text):
            events.append(message("content-delta", {"content": {"text": piece}}, index=0))
        events.append({"type": "content-end", "index": 0})
    for at, call in enumerate(_cohere_calls(said)):
        pieces = thirds(call["function"]["arguments"])
        call["function"]["arguments"] = ""
        events.append(message("tool-call-start", {"tool_calls": call}, index=at))
        for piece in pieces:
            more = {"function": {"arguments": piece}}
            events.append(message("tool-call-delta", {"tool_calls": more}, index=at))
        events.append({"type": "tool-call-end", "index": at})
    finish = "TOOL_CALL" if said.calls else "COMPLETE"
    events.append({"type": "message-end", "delta": {"finish_reason": finish, "usage": COHERE_USAGE}})
    return [sse(event, event["type"]) for event in events]


def cohere_error(status: int, context: bool) -> tuple[dict[str, str], Any]:
    body = {"id": "e1", "message": "too many tokens" if context else "as you see"}
    return {}, body | ({"error_type": "TOO_MANY_TOKENS"} if context else {})


# Ollama.


def read_ollama(_: str, body: Any) -> Asked:
    asked = Asked(body.get("stream", True))
    asked.max_output = (body.get("options") or {}).get("num_predict")
    asked.schema = body.get("format")
    for tool in body.get("tools", ()):
        asked.tools[tool["function"]["name"]] = tool["function"]["parameters"]
    for message in body["messages"]:
        match message["role"]:
            case "system":
                asked.system += message["content"]
            case "tool":
                key = message.get("tool_call_id") or message["tool_name"]
                asked.results.append((key, message["content"]))
            case "assistant":
                if message.get("thinking"):
                    asked.thoughts.append((message["thinking"], None))
                for call in message.get("tool_calls") or ():
                    function = call["function"]
                    key = call.get("id") or function["name"]
                    asked.calls.append((key, function["name"], function["arguments"]))
            case "user":
                asked.texts.append(message["content"])
                asked.images += (("image/png", image) for image in message.get("images") or ())
    return asked


OLLAMA_END = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 5,
    "prompt_eval_count": INPUT,
    "eval_count": OUTPUT,
}


def _ollama(done: bool, **message: Any) -> dict[str, Any]:
    line = {
        "model": "upstream",
        "created_at": "2026-01-01T00:00:00.5Z",
        "message": {"role": "assistant", "content": "", **message},
    }
    return {**line, **(OLLAMA_END if done else {"done": False})}


def _ollama_calls(said: Said) -> dict[str, Any]:
    calls = [{"function": {"name": name, "arguments": arguments}} for _, name, arguments in said.calls]
    return {"tool_calls": calls} if calls else {}


def ollama_whole(_: str, said: Said) -> Any:
    thinking = {"thinking": said.thinking} if said.thinking else {}
    return _ollama(True, content=said.text, **thinking, **_ollama_calls(said))


def ollama_stream(_: str, said: Said) -> Frames:
    lines = [_ollama(False, thinking=piece) for piece in thirds(said.thinking)]
    lines += (_ollama(False, content=piece) for piece in thirds(said.text))
    if said.calls:
        lines.append(_ollama(False, **_ollama_calls(said)))
    return [json.dumps(line).encode() + b"\n" for line in [*lines, _ollama(True)]]


def ollama_error(status: int, context: bool) -> tuple[dict[str, str], Any]:
    return {}, {"error": "as you see"}


OTHERS: Mapping[str, Family] = {
    **CLOUDS,
    "cohere": Family(read_cohere, cohere_whole, cohere_stream, cohere_error),
    "ollama": Family(read_ollama, ollama_whole, ollama_stream, ollama_error, "application/x-ndjson"),
}
