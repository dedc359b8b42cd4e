"""Requests to an Ollama upstream, always by `/api/chat`.

It has no choice of tool: `none` is said by leaving the tools out, a demand for a call cannot be
said. It takes pictures only as bytes, and no other files.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from llmgw.core.chat import (
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.base import Rendered
from llmgw.dialects.system_turns import texts_of
from llmgw.dialects.unsaid import arguments_of, lost, unknown_part, unsaid

Json = dict[str, object]

_PASSED = frozenset({"keep_alive", "shift", "truncate"})
_LEVELS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "max",
}
_NO_ARGUMENTS = Raw(b'{"type":"object","properties":{}}')

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


def render_request(request: ChatRequest) -> Rendered:
    """What an Ollama upstream is sent. Raises UnsupportedOperation and InvalidRequest."""
    if request.choices > 1:
        raise UnsupportedOperation("there is one answer to a request here", param="n")
    choice = request.tool_choice
    if choice is not None and choice.mode in ("required", "tool"):
        raise UnsupportedOperation("a tool call cannot be demanded of this upstream", param="tool_choice")
    dropped: list[str] = []
    body: Json = {"model": request.model, "messages": _render_messages(request, dropped)}
    if request.tools and (choice is None or choice.mode != "none"):
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or "",
                    "parameters": Raw(tool.parameters.encode()) if tool.parameters else _NO_ARGUMENTS,
                },
            }
            for tool in request.tools
        ]
        if any(tool.strict for tool in request.tools):
            dropped.append("strict")
    if request.format is not None:
        schema = request.format.schema
        body["format"] = "json" if schema is None else Raw(schema.encode())
        if request.format.description is not None:
            dropped.append("response_format.description")
    think = _render_think(request.reasoning, dropped)
    if think is not None:
        body["think"] = think
    options = _options(request)
    for name, text in request.extra.items():
        if name == "options":
            options = {**_members(text), **options}
        elif name in _PASSED:
            body[name] = Raw(text.encode())
        else:
            dropped += lost(name, text)
    if options:
        body["options"] = options
    body["stream"] = request.stream
    dropped += unsaid(request)
    return Rendered(_encode(body), tuple(dict.fromkeys(dropped)))


def _options(request: ChatRequest) -> Json:
    given = {
        "num_predict": request.max_output,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    return {name: value for name, value in given.items() if value is not None}


def _members(text: str) -> dict[str, Raw]:
    try:
        return _decode_object(text)
    except msgspec.MsgspecError:
        raise InvalidRequest("'options' must be an object", param="options") from None


def _render_think(reasoning: Reasoning | None, dropped: list[str]) -> bool | str | None:
    """`think`: a level where one was asked for, else whether to."""
    if reasoning is None:
        return None
    if not reasoning.enabled or reasoning.effort == "none":
        return False
    if reasoning.budget is not None:
        dropped.append("reasoning.budget")
    if reasoning.effort is None:
        return True
    level = _LEVELS.get(reasoning.effort)
    if level != reasoning.effort:
        dropped.append("reasoning.effort")
    return True if level is None else level


def _render_messages(request: ChatRequest, dropped: list[str]) -> list[Json]:
    messages: list[Json] = [{"role": "system", "content": text.text} for text in request.system]
    names: dict[str, str] = {}
    for message in request.messages:
        if message.name is not None:
            dropped.append("name")
        if message.role == "assistant":
            messages.append(_render_assistant(message, names, dropped))
        elif message.role == "system":
            messages += ({"role": "system", "content": text.text} for text in texts_of(message))
        else:
            _render_user(message, names, messages, dropped)
    return messages


def _render_assistant(message: Message, names: dict[str, str], dropped: list[str]) -> Json:
    body: Json = {"role": "assistant"}
    said: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for part in message.parts:
        if isinstance(part, Text | Refusal):
            said.append(part.text)
        elif isinstance(part, Thinking):
            if part.redacted is not None:
                dropped.append("thinking")
            else:
                thoughts.append(part.text)
        elif isinstance(part, ToolCall):
            names[part.id] = part.name
            calls.append(render_call(part, len(calls)))
        else:
            raise unknown_part(part)
    body["content"] = "".join(said)
    if any(thoughts):
        body["thinking"] = "".join(thoughts)
    if calls:
        body["tool_calls"] = calls
    return body


def _render_user(message: Message, names: dict[str, str], messages: list[Json], dropped: list[str]) -> None:
    rest: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            rest.append(part)
            continue
        if rest:
            messages.append(_content("user", rest, dropped))
            rest = []
        if part.failed:
            dropped.append("is_error")
        body = _content("tool", part.parts, dropped)
        name = part.name or names.get(part.call_id)
        if name is not None:
            body["tool_name"] = name
        body["tool_call_id"] = part.call_id
        messages.append(body)
    if rest:
        messages.append(_content("user", rest, dropped))


def _content(role: str, parts: Iterable[Part], dropped: list[str]) -> Json:
    texts: list[str] = []
    images: list[str] = []
    for part in parts:
        if isinstance(part, Text | File) and part.text is not None:
            if isinstance(part, File) and part.name is not None:
                dropped.append("filename")
            texts.append(part.text)
        elif isinstance(part, Image):
            if part.detail not in (None, "auto"):
                dropped.append("detail")
            if part.data is None:
                raise UnsupportedOperation("images by URL cannot be sent to this upstream", param="messages")
            images.append(part.data)
        else:
            raise unknown_part(part)
    body: Json = {"role": role, "content": "\n\n".join(texts)}
    if images:
        body["images"] = images
    return body


def render_call(call: ToolCall, index: int) -> Json:
    """A tool call. Raises InvalidRequest when its arguments are not a JSON object."""
    function = {"index": index, "name": call.name, "arguments": Raw(arguments_of(call).encode())}
    return {"id": call.id, "function": function}
