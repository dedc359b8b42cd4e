"""Requests of Ollama's own API, read and written: `/api/chat`, and `/api/generate` read.

Ollama streams unless it is told not to. Its calls have their arguments as an object, and only
newer versions give them an id; a call without one is numbered, and a result without one belongs
to the earliest call of its tool that has none yet. Pictures are base64 without a media type,
which is told from their first bytes.

Facts: Ollama's API reference, "Generate a chat message" and "Generate a response"; its guides on
thinking, tool calling and structured outputs.
"""

from __future__ import annotations

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
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.request_members import RequestMembers
from llmgw.dialects.system_turns import amid

_MODELLED = frozenset(
    {"model", "messages", "tools", "format", "stream", "think", "options", "prompt", "system", "images"}
)
_GENERATE_ONLY = ("suffix", "template", "context", "raw")
"""Members of `/api/generate` that only Ollama can follow."""
_NOTHING = frozenset({"null", "false", '""', "[]"})
_OPTIONS = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "num_predict",
        "stop",
        "presence_penalty",
        "frequency_penalty",
    }
)
_PICTURES = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
"""The first bytes of pictures, in base64."""


class WireFunction(Struct):
    name: str | None = None
    arguments: Raw = Raw(b"{}")


class WireCall(Struct):
    function: WireFunction | None = None
    id: str | None = None


class WireMessage(Struct):
    role: str | None = None
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[WireCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = Raw(b"null")


class _Tool(Struct):
    function: _Function | None = None
    type: str = "function"


class _Options(Struct):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class _Request(Struct):
    model: str | None = None
    messages: list[WireMessage] | None = None
    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    tools: list[_Tool] | None = None
    format: Raw = Raw(b"null")
    stream: bool | None = None
    think: bool | str | None = None
    options: Raw = Raw(b"null")


_MEMBERS = RequestMembers({"messages": list[WireMessage], "tools": list[_Tool]}, passed=("index", "type"))

_decode = msgspec.json.Decoder(_Request).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_options = msgspec.json.Decoder(_Options | None).decode
_decode_option_members = msgspec.json.Decoder(dict[str, Raw] | None).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, generate: bool) -> ChatRequest:
    """What a client of Ollama's API asks. generate: by `/api/generate`, not `/api/chat`.

    Raises InvalidRequest and UnsupportedOperation.
    """
    try:
        wire = _decode(body)
        members = _decode_members(body)
        options = _decode_options(wire.options) or _Options()
        other_options = {
            name: raw
            for name, raw in (_decode_option_members(wire.options) or {}).items()
            if name not in _OPTIONS
        }
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message.lower(), param=path.rstrip("`").removeprefix(".") or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    extra = {
        name: text
        for name, raw in members.items()
        if name not in _MODELLED and (text := bytes(raw).decode()) not in _NOTHING
    }
    extra |= _MEMBERS.unknown(body)
    limit = options.num_predict
    if limit is not None and limit < 1:
        other_options["num_predict"] = Raw(b"%d" % limit)  # -1: no end, -2: fill the context
        limit = None
    if other_options:
        extra["options"] = _encode(other_options).decode()
    system, messages = _parse_prompt(wire, extra) if generate else _parse_messages(wire.messages or [])
    if not messages:
        raise InvalidRequest("there is nothing to answer", param="prompt" if generate else "messages")
    stop = options.stop
    return ChatRequest(
        model=wire.model or model,
        messages=messages,
        system=system,
        tools=_parse_tools(wire.tools or []),
        max_output=limit,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
        seed=options.seed,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        format=_parse_format(wire.format),
        reasoning=_parse_think(wire.think),
        stream=wire.stream is not False,
        extra=extra,
    )


def _parse_prompt(wire: _Request, extra: dict[str, str]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    for name in _GENERATE_ONLY:
        if name in extra:
            raise UnsupportedOperation(f"'{name}' needs an Ollama upstream", param=name)
    system = (Text(wire.system),) if wire.system else ()
    parts: list[Part] = [Text(wire.prompt)] if wire.prompt else []
    parts.extend(map(picture, wire.images or ()))
    return system, (Message("user", tuple(parts)),) if parts else ()


def _parse_messages(wire: list[WireMessage]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    system: list[Text] = []
    messages: list[Message] = []
    waiting: dict[str, str] = {}
    results: list[Part] = []
    called = 0
    for at, message in enumerate(wire):
        param = f"messages[{at}]"
        if message.role == "tool":
            results.append(_result(message, waiting, param))
            continue
        parts = list(results) if message.role == "user" else []
        if results and message.role != "user":
            messages.append(Message("user", tuple(results)))
        results = []
        if message.role == "system":
            text = Text(message.content or "")
            if messages:
                messages.append(amid((text,), param))
            else:
                system.append(text)
            continue
        if message.role not in ("user", "assistant"):
            raise InvalidRequest(f"role '{message.role}' is not known", param=f"{param}.role")
        if message.thinking:
            parts.append(Thinking(message.thinking))
        if message.content:
            parts.append(Text(message.content))
        parts.extend(map(picture, message.images or ()))
        for call in message.tool_calls or ():
            if call.function is None or not call.function.name:
                raise InvalidRequest("a tool call has no function", param=f"{param}.tool_calls")
            known = call.id or f"call_{called}"
            called += 1
            waiting[known] = call.function.name
            parts.append(ToolCall(known, call.function.name, arguments_of(call.function)))
        messages.append(Message(message.role, tuple(parts)))
    if results:
        messages.append(Message("user", tuple(results)))
    return tuple(system), tuple(message for message in messages if message.parts)


def _result(message: WireMessage, waiting: dict[str, str], param: str) -> ToolResult:
    """A tool's result, with the call that it answers. waiting: the calls without one, by id."""
    name = message.tool_name
    known = message.tool_call_id
    if known is None or known not in waiting:
        same = (call for call, called in waiting.items() if name is None or called == name)
        known = next(same, None)
    if known is None:
        raise InvalidRequest("there is no call before this result", param=param)
    name = waiting.pop(known)
    parts: list[Text | Image] = [Text(message.content)] if message.content else []
    parts.extend(map(picture, message.images or ()))
    return ToolResult(known, tuple(parts), name)


def arguments_of(function: WireFunction) -> str:
    """The text of a call's arguments, as it came; services that have it as a JSON string too."""
    text = bytes(function.arguments).decode()
    if text.startswith('"'):
        return msgspec.json.decode(text, type=str)
    return "" if text == "null" else text


def picture(data: str) -> Image:
    """An image of base64 text. Clients may put a data URL there."""
    if data.startswith("data:"):
        media_type, _, data = data[5:].partition(";base64,")
        return Image(media_type, data)
    return Image(next((kind for start, kind in _PICTURES if data.startswith(start)), None), data)


def _parse_tools(wire: list[_Tool]) -> tuple[Tool, ...]:
    tools = []
    for at, tool in enumerate(wire):
        if tool.function is None:
            raise InvalidRequest("a tool has no function", param=f"tools[{at}].function")
        schema = bytes(tool.function.parameters).decode()
        tools.append(
            Tool(tool.function.name, tool.function.description, None if schema == "null" else schema)
        )
    return tuple(tools)


def _parse_format(raw: Raw) -> Format | None:
    text = bytes(raw).decode()
    if text in _NOTHING:
        return None
    if text == '"json"':
        return Format("json")
    if not text.startswith("{"):
        raise InvalidRequest("'format' is neither \"json\" nor a schema", param="format")
    return Format("schema", text)


def _parse_think(think: bool | str | None) -> Reasoning | None:
    if think is None or think == "":
        return None
    if isinstance(think, bool):
        return Reasoning(enabled=think, shown=True if think else None)
    return Reasoning(effort=think, shown=True)
