"""A client's messages request, read.

Shapes from Anthropic's API reference, Messages and Count tokens. System text also comes in messages with
the role `system`. `output_format` is the older name
of `output_config.format`. On Bedrock and Vertex AI `anthropic_version` stands in the body and model and
stream outside it.

What has no field goes to `extra`: members by their names, those of nested objects as
`output_config.name`, tools that the provider runs as the JSON list `tools`, and members of blocks and
tools, which have no place to go back to, as `content.name` and `tool.name`. So are those of messages, as
`messages[].name`.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import ChatRequest, Format, Message, Reasoning, Text, Tool, ToolChoice
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.anthropic_blocks import BlockReader, CacheControl, cached, invalid, read
from llmgw.dialects.request_members import RequestMembers
from llmgw.dialects.system_turns import amid


class _Message(Struct):
    role: str
    content: str | list[Raw]


class _Tool(Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Raw = Raw()
    strict: bool | None = None
    cache_control: CacheControl | None = None


class _ToolChoice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Format(Struct):
    type: str
    schema: Raw = Raw()


class _OutputConfig(Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(Struct):
    user_id: str | None = None


class _Request(Struct):
    messages: list[_Message]
    model: str | None = None
    system: str | list[Raw] | None = None
    tools: list[Raw] | None = None
    tool_choice: _ToolChoice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    metadata: _Metadata | None = None
    anthropic_version: object = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_encode = msgspec.json.Encoder().encode

_KNOWN = frozenset(_Request.__struct_fields__)
_MEMBERS = RequestMembers({"messages": list[_Message]})
_KNOWN_OF_TOOLS = frozenset(_Tool.__struct_fields__)
_NESTED = {
    "thinking": frozenset(_Thinking.__struct_fields__),
    "output_config": frozenset(_OutputConfig.__struct_fields__),
    "metadata": frozenset(_Metadata.__struct_fields__),
}
_NOTHING = frozenset({b"null", b"[]", b"{}", b'""', b"false"})
_CHOICES = {"auto": "auto", "any": "required", "tool": "tool", "none": "none"}
_SHOWN = {"summarized": True, "omitted": False}


def parse_request(body: bytes, model: str, stream: bool) -> ChatRequest:
    """What a client asks. model, stream: hold where the body does not say."""
    try:
        wire = _decode(body)
        extra = _extra(_decode_members(body)) | _MEMBERS.unknown(body)
        return _request(wire, extra, model, stream)
    except msgspec.ValidationError as error:
        raise invalid(error, "") from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def _request(wire: _Request, extra: dict[str, str], model: str, stream: bool) -> ChatRequest:
    blocks = BlockReader()
    system = list(_system(wire.system, blocks, "system"))
    messages: list[Message] = []
    for i, message in enumerate(wire.messages):
        at = f"messages[{i}]"
        if message.role == "system":
            texts = _system(message.content, blocks, f"{at}.content")
            if not messages:
                system += texts
            elif texts:
                messages.append(amid(tuple(texts), at))
        elif message.role in ("user", "assistant"):
            parts = blocks.message(message.content, message.role, f"{at}.content")
            messages.append(Message(message.role, parts))
        else:
            raise InvalidRequest(f"'{message.role}' is not a role", param=f"{at}.role")
    tools = _tools(wire.tools or (), extra)
    extra |= blocks.lost
    choice = wire.tool_choice
    parallel = None
    if choice is not None and choice.disable_parallel_tool_use is not None:
        parallel = not choice.disable_parallel_tool_use
    return ChatRequest(
        model=wire.model or model,
        messages=tuple(messages),
        system=tuple(system),
        tools=tools,
        tool_choice=_tool_choice(choice),
        parallel_tools=parallel,
        max_output=wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=tuple(wire.stop_sequences or ()),
        format=_format(wire),
        reasoning=_reasoning(wire, extra),
        stream=stream if wire.stream is None else wire.stream,
        user=wire.metadata.user_id if wire.metadata is not None else None,
        extra=extra,
    )


def _extra(members: dict[str, Raw]) -> dict[str, str]:
    """What has no field, of the body and of the objects in it."""
    found = {}
    for name, value in members.items():
        if name not in _KNOWN:
            text = bytes(value).decode()
            if text != "null":
                found[name] = text
        elif name in _NESTED and bytes(value) != b"null":
            for inner, raw in _decode_members(value).items():
                if inner not in _NESTED[name] and bytes(raw) != b"null":
                    found[f"{name}.{inner}"] = bytes(raw).decode()
    return found


def _system(content: str | list[Raw] | None, blocks: BlockReader, at: str) -> list[Text]:
    if isinstance(content, str):
        return [Text(content)]
    return [blocks.system(raw, f"{at}[{j}]") for j, raw in enumerate(content or ())]


def _tools(raws: list[Raw] | tuple[()], extra: dict[str, str]) -> tuple[Tool, ...]:
    """Tools that the client runs. Those that the provider runs go to `extra`, together."""
    tools = []
    others = []
    for i, raw in enumerate(raws):
        members = read(_decode_members, raw, f"tools[{i}]")
        kind = members.get("type")
        if kind is not None and bytes(kind) not in (b"null", b'"custom"'):
            others.append(raw)
            continue
        tool = read(_decode_tool, raw, f"tools[{i}]")
        for name in members.keys() - _KNOWN_OF_TOOLS:
            if bytes(members[name]) not in _NOTHING:
                extra.setdefault(f"tool.{name}", bytes(members[name]).decode())
        tools.append(
            Tool(
                tool.name, tool.description, _json(tool.input_schema), tool.strict, cached(tool.cache_control)
            )
        )
    if others:
        extra["tools"] = _encode(others).decode()
    return tuple(tools)


def _tool_choice(wire: _ToolChoice | None) -> ToolChoice | None:
    if wire is None:
        return None
    mode = _CHOICES.get(wire.type)
    if mode is None:
        raise InvalidRequest(f"'{wire.type}' is not a tool choice", param="tool_choice.type")
    if mode == "tool" and not wire.name:
        raise InvalidRequest("the tool to call is not named", param="tool_choice.name")
    return ToolChoice(mode, wire.name if mode == "tool" else None)


def _format(wire: _Request) -> Format | None:
    said, at = wire.output_format, "output_format"
    if wire.output_config is not None and wire.output_config.format is not None:
        said, at = wire.output_config.format, "output_config.format"
    if said is None:
        return None
    if said.type != "json_schema":
        raise UnsupportedOperation(f"a format of type '{said.type}' cannot be translated", param=f"{at}.type")
    schema = _json(said.schema)
    if schema is None:
        raise InvalidRequest("the format has no schema", param=f"{at}.schema")
    return Format("schema", schema)


def _reasoning(wire: _Request, extra: dict[str, str]) -> Reasoning | None:
    """How much to think. `max`, beyond our levels, is the highest of them; the word stays in `extra`."""
    effort = wire.output_config.effort if wire.output_config is not None else None
    if effort == "max":
        effort = "xhigh"
        extra["output_config.effort"] = '"max"'
    thinking = wire.thinking
    if thinking is None:
        return Reasoning(effort=effort) if effort is not None else None
    shown = _SHOWN.get(thinking.display or "")
    if thinking.type == "disabled":
        return Reasoning(enabled=False, effort=effort)
    if thinking.type == "enabled":
        return Reasoning(effort=effort, budget=thinking.budget_tokens, shown=shown)
    if thinking.type == "adaptive":
        return Reasoning(effort=effort, shown=shown)
    raise UnsupportedOperation(
        f"thinking of type '{thinking.type}' cannot be translated", param="thinking.type"
    )


def _json(raw: Raw) -> str | None:
    """JSON text, None where nothing or null is said."""
    text = bytes(raw).decode()
    return None if text in ("", "null") else text
