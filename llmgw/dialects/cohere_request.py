"""A client's request of Cohere's chat, version 2, read.

Facts (Cohere API reference, "Chat"): texts may be strings or blocks; results of tools are text or
documents; `tool_plan` is what the model thought before its calls; `strict_tools` holds for all
tools. `documents` are for answers with citations, which no other dialect has.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import (
    ChatRequest,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_chat_messages import WireUrl, parse_image
from llmgw.dialects.request_members import RequestMembers
from llmgw.dialects.system_turns import amid

_CHOICES = {"REQUIRED": "required", "NONE": "none"}
_NOTHING = frozenset({"null", "[]", "{}"})
_where = re.compile(r" - at `\$\.?(.*)`$")


class _Document(Struct):
    data: Raw = Raw(b"{}")


class _Block(Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    image_url: WireUrl | str | None = None
    document: _Document | None = None


class _CalledFunction(Struct):
    name: str
    arguments: str = ""


class _Call(Struct):
    function: _CalledFunction
    id: str | None = None


class _Message(Struct):
    role: str
    content: str | list[_Block] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = Raw(b"null")


class _Tool(Struct):
    function: _Function
    type: str = "function"


class _Format(Struct):
    type: str
    json_schema: Raw = Raw(b"null")


class _Thinking(Struct):
    type: str
    token_budget: int | None = None


class _Request(Struct):
    messages: list[_Message]
    model: str | None = None
    tools: list[_Tool] | None = None
    strict_tools: bool | None = None
    tool_choice: str | None = None
    response_format: _Format | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: float | None = None
    p: float | None = None
    thinking: _Thinking | None = None
    stream: bool | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_KNOWN = frozenset(_Request.__struct_fields__)
_MEMBERS = RequestMembers({"messages": list[_Message], "tools": list[_Tool]}, passed=("type",))


def parse_request(body: bytes, model: str) -> ChatRequest:
    """What a client of Cohere's chat asks. Raises InvalidRequest and UnsupportedOperation."""
    try:
        wire = _decode(body)
        members = _decode_members(body)
    except msgspec.ValidationError as error:
        where = _where.search(str(error))
        raise InvalidRequest(str(error).lower(), param=(where[1] or None) if where else None) from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    extra = {
        name: text
        for name, raw in members.items()
        if name not in _KNOWN and (text := bytes(raw).decode()) not in _NOTHING
    }
    extra |= _MEMBERS.unknown(body)
    if "documents" in extra:
        raise UnsupportedOperation("'documents' need a Cohere upstream", param="documents")
    system, messages = _parse_messages(wire.messages)
    if not messages:
        raise InvalidRequest("there is nothing to answer", param="messages")
    return ChatRequest(
        model=wire.model or model,
        messages=messages,
        system=system,
        tools=tuple(_parse_tool(tool, wire.strict_tools) for tool in wire.tools or ()),
        tool_choice=_parse_choice(wire.tool_choice),
        max_output=wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.p,
        top_k=int(wire.k) if wire.k else None,
        stop=tuple(wire.stop_sequences or ()),
        seed=wire.seed,
        presence_penalty=wire.presence_penalty,
        frequency_penalty=wire.frequency_penalty,
        format=_parse_format(wire.response_format),
        reasoning=_parse_thinking(wire.thinking),
        stream=wire.stream is True,
        extra=extra,
    )


def _parse_messages(wire: list[_Message]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    system: list[Text] = []
    messages: list[Message] = []
    called: set[str] = set()
    results: list[Part] = []
    for at, message in enumerate(wire):
        where = f"messages[{at}]"
        if message.role == "tool":
            results.append(_result(message, called, where))
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        if message.role == "system":
            texts = tuple(part for part in _blocks(message, where) if isinstance(part, Text))
            if not messages:
                system.extend(texts)
            elif texts:
                messages.append(amid(texts, where))
            continue
        if message.role == "user":
            messages.append(Message("user", tuple(_blocks(message, where))))
        elif message.role == "assistant":
            messages.append(Message("assistant", _assistant(message, called, where)))
        else:
            raise InvalidRequest(f"role '{message.role}' is not known", param=f"{where}.role")
    if results:
        messages.append(Message("user", tuple(results)))
    return tuple(system), tuple(message for message in messages if message.parts)


def _assistant(message: _Message, called: set[str], where: str) -> tuple[Part, ...]:
    parts = _blocks(message, where)
    if message.tool_plan:
        parts.append(Thinking(message.tool_plan))
    for number, call in enumerate(message.tool_calls or ()):
        if not call.id:
            raise InvalidRequest("a tool call needs an id", param=f"{where}.tool_calls[{number}].id")
        called.add(call.id)
        parts.append(ToolCall(call.id, call.function.name, call.function.arguments))
    return tuple(parts)


def _result(message: _Message, called: set[str], where: str) -> ToolResult:
    known = message.tool_call_id
    if known is None or known not in called:
        raise InvalidRequest("there is no call before this result", param=f"{where}.tool_call_id")
    parts = tuple(part for part in _blocks(message, where) if isinstance(part, Text | Image))
    return ToolResult(known, parts)


def _blocks(message: _Message, where: str) -> list[Part]:
    content = message.content
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    parts: list[Part] = []
    for number, block in enumerate(content):
        if block.text is not None:
            parts.append(Text(block.text))
        elif block.thinking is not None:
            parts.append(Thinking(block.thinking))
        elif block.image_url is not None:
            try:
                parts.append(parse_image(block.image_url))
            except ValueError as error:
                raise InvalidRequest(str(error), param=f"{where}.content[{number}].image_url") from None
        elif block.document is not None:
            parts.append(Text(bytes(block.document.data).decode()))
        else:
            raise InvalidRequest(
                f"a block of type '{block.type}' is not known", param=f"{where}.content[{number}]"
            )
    return parts


def _parse_tool(tool: _Tool, strict: bool | None) -> Tool:
    schema = bytes(tool.function.parameters).decode()
    name, description = tool.function.name, tool.function.description
    return Tool(name, description, None if schema == "null" else schema, strict)


def _parse_choice(wire: str | None) -> ToolChoice | None:
    if wire is None:
        return None
    mode = _CHOICES.get(wire.upper())
    if mode is None:
        raise InvalidRequest("'tool_choice' is REQUIRED or NONE", param="tool_choice")
    return ToolChoice(mode)


def _parse_format(wire: _Format | None) -> Format | None:
    if wire is None or wire.type == "text":
        return None
    if wire.type != "json_object":
        raise InvalidRequest(f"a response format of type '{wire.type}' is not known", param="response_format")
    schema = bytes(wire.json_schema).decode()
    return Format("json") if schema == "null" else Format("schema", schema)


def _parse_thinking(wire: _Thinking | None) -> Reasoning | None:
    if wire is None:
        return None
    enabled = wire.type != "disabled"
    return Reasoning(enabled, budget=wire.token_budget, shown=True if enabled else None)
