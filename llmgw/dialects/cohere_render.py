"""Requests to Cohere, by version 2 of its chat.

Facts (Cohere API reference, "Chat"): a choice of tool is `REQUIRED` or `NONE`, so a call of one
tool by name is demanded by offering that tool alone; `strict_tools` holds for all tools or none;
results of tools are text; pictures stand in the user's turns only; thinking has a budget and no levels.
What a model says before its calls is `tool_plan`, which is a thought of ours.
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
    Tool,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.base import Rendered
from llmgw.dialects.system_turns import texts_of
from llmgw.dialects.unsaid import arguments_of, lost, unknown_part, unsaid

Json = dict[str, object]

_PASSED = frozenset({"citation_options", "documents", "priority", "safety_mode"})
_NO_ARGUMENTS = Raw(b'{"type":"object","properties":{}}')

_encode = msgspec.json.Encoder().encode


def render_request(request: ChatRequest) -> Rendered:
    """What Cohere is sent. Raises UnsupportedOperation and InvalidRequest."""
    if request.choices > 1:
        raise UnsupportedOperation("there is one answer to a request here", param="n")
    dropped: list[str] = []
    body: Json = {"model": request.model, "messages": _render_messages(request, dropped)}
    body |= _render_tools(request, dropped)
    body |= _render_tuning(request)
    if request.format is not None:
        wanted: Json = {"type": "json_object"}
        if request.format.schema is not None:
            wanted["json_schema"] = Raw(request.format.schema.encode())
        if request.format.description is not None:
            dropped.append("response_format.description")
        body["response_format"] = wanted
    if request.reasoning is not None:
        body["thinking"] = _render_thinking(request.reasoning, dropped)
    for name, text in request.extra.items():
        if name in _PASSED:
            body[name] = Raw(text.encode())
        else:
            dropped += lost(name, text)
    body["stream"] = request.stream
    dropped += unsaid(request)
    return Rendered(_encode(body), tuple(dict.fromkeys(dropped)))


def _render_tuning(request: ChatRequest) -> Json:
    given = {
        "max_tokens": request.max_output,
        "temperature": request.temperature,
        "p": request.top_p,
        "k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "seed": request.seed,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    return {name: value for name, value in given.items() if value is not None}


def _render_thinking(reasoning: Reasoning, dropped: list[str]) -> Json:
    if not reasoning.enabled or reasoning.effort == "none":
        return {"type": "disabled"}
    if reasoning.budget is not None:
        return {"type": "enabled", "token_budget": reasoning.budget}
    if reasoning.effort is not None:
        dropped.append("reasoning_effort")
    return {"type": "enabled"}


# Tools.


def _render_tools(request: ChatRequest, dropped: list[str]) -> Json:
    tools = request.tools
    choice = request.tool_choice
    mode = "auto" if choice is None else choice.mode
    if choice is not None and mode == "tool":
        tools = tuple(tool for tool in tools if tool.name == choice.name)
        if not tools:
            raise InvalidRequest(f"there is no tool '{choice.name}' to call", param="tool_choice")
    if not tools:
        if mode == "required":
            raise InvalidRequest("a tool must be called, but there are none", param="tool_choice")
        return {}
    body: Json = {"tools": [_render_tool(tool) for tool in tools]}
    if mode in ("required", "tool"):
        body["tool_choice"] = "REQUIRED"
    elif mode == "none":
        body["tool_choice"] = "NONE"
    if all(tool.strict for tool in tools):
        body["strict_tools"] = True
    elif any(tool.strict for tool in tools):
        dropped.append("strict")
    return body


def _render_tool(tool: Tool) -> Json:
    function: Json = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = Raw(tool.parameters.encode()) if tool.parameters else _NO_ARGUMENTS
    return {"type": "function", "function": function}


# Turns.


def _render_messages(request: ChatRequest, dropped: list[str]) -> list[Json]:
    messages: list[Json] = [{"role": "system", "content": text.text} for text in request.system]
    for message in request.messages:
        if message.name is not None:
            dropped.append("name")
        if message.role == "assistant":
            messages.append(_render_assistant(message, dropped))
        elif message.role == "system":
            messages += ({"role": "system", "content": text.text} for text in texts_of(message))
        else:
            _render_user(message, messages, dropped)
    return messages


def _render_assistant(message: Message, dropped: list[str]) -> Json:
    said: list[Json] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for part in message.parts:
        if isinstance(part, Text | Refusal):
            if part.text:
                said.append({"type": "text", "text": part.text})
        elif isinstance(part, Thinking):
            if part.redacted is not None:
                dropped.append("redacted_thinking")
            elif part.text:
                thoughts.append(part.text)
        elif isinstance(part, ToolCall):
            calls.append(_render_call(part))
        else:
            raise unknown_part(part)
    body: Json = {"role": "assistant"}
    if calls:
        if thoughts:
            body["tool_plan"] = "".join(thoughts)
        body["tool_calls"] = calls
    else:
        said[:0] = [{"type": "thinking", "thinking": text} for text in thoughts]
    if said or not calls:
        body["content"] = _content(said)
    return body


def _render_call(call: ToolCall) -> Json:
    """A call. Raises InvalidRequest when its arguments are not a JSON object."""
    function = {"name": call.name, "arguments": arguments_of(call)}
    return {"id": call.id, "type": "function", "function": function}


def _render_user(message: Message, messages: list[Json], dropped: list[str]) -> None:
    rest: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            rest.append(part)
            continue
        if rest:
            messages.append({"role": "user", "content": _content(_blocks(rest, dropped))})
            rest = []
        if part.failed:
            dropped.append("is_error")
        for inner in part.parts:
            if isinstance(inner, Image):
                raise UnsupportedOperation(
                    "a tool's result cannot hold images for this upstream", param="messages"
                )
        result = _content(_blocks(part.parts, dropped))
        messages.append({"role": "tool", "tool_call_id": part.call_id, "content": result})
    if rest:
        messages.append({"role": "user", "content": _content(_blocks(rest, dropped))})


def _content(blocks: list[Json]) -> object:
    """Text alone as it is, anything else as blocks."""
    if not blocks:
        return ""
    return blocks[0]["text"] if len(blocks) == 1 and "text" in blocks[0] else blocks


def _blocks(parts: Iterable[Part], dropped: list[str]) -> list[Json]:
    blocks: list[Json] = []
    for part in parts:
        if isinstance(part, Text):
            if part.text:
                blocks.append({"type": "text", "text": part.text})
        elif isinstance(part, File) and part.text is not None:
            if part.name is not None:
                dropped.append("filename")
            blocks.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            blocks.append({"type": "image_url", "image_url": _image(part)})
        else:
            raise unknown_part(part)
    return blocks


def _image(image: Image) -> Json:
    url = image.url
    if image.data is not None:
        url = f"data:{image.media_type or 'image/png'};base64,{image.data}"
    body: Json = {"url": url}
    if image.detail is not None:
        body["detail"] = image.detail
    return body
