"""Requests of the responses API, read. `openai_responses_render` writes them.

A request that has to be translated cannot lean on what the provider keeps: earlier responses,
conversations, stored prompts, files, and tools that the provider runs. Without `stateful` each
of them is refused by name; with it they are kept in `extra`.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import ChatRequest, Format, Reasoning, Text, Tool, ToolChoice
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.allowed_tools import ALLOWED, allowed
from llmgw.dialects.openai_responses_input import parse_input
from llmgw.dialects.openai_responses_items import Item, is_empty
from llmgw.dialects.request_members import RequestMembers

HOSTED_TOOLS = "tools"
"""In `extra`: the tools that are not functions, as a JSON list."""

_MODELLED = frozenset(
    {
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
STATE = ("previous_response_id", "conversation", "prompt", "background", "context_management")
"""Members of a request that lean on what the provider keeps or runs."""
NOTHING = frozenset({"null", "false", "[]"})
"""Values that ask for nothing of a member that is a switch or a list."""

_DEFAULTS = {
    "background": NOTHING,
    "context_management": NOTHING,
    "include": frozenset({"[]", '["reasoning.encrypted_content"]'}),
    "truncation": frozenset({'"disabled"'}),
}
"""Values of members that say what holds anyway: thoughts always come in a form that can be sent back."""


class _Format(Struct):
    type: str | None = None
    name: str | None = None
    description: str | None = None
    schema: Raw = Raw(b"null")
    strict: bool | None = None


class _Text(Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class _Tool(Struct):
    type: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: Raw = Raw(b"null")
    strict: bool | None = None


class _Allowed(Struct):
    type: str | None = None
    mode: str | None = None
    tools: list[_Tool] | None = None


class _Request(Struct):
    model: str | None = None
    input: str | list[Item] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning: _Reasoning | None = None
    stream: bool | None = None
    temperature: float | None = None
    text: _Text | None = None
    tool_choice: Raw = Raw(b"null")
    tools: list[Raw] | None = None
    top_p: float | None = None
    user: str | None = None


_MEMBERS = RequestMembers(
    {"input": str | list[Item], "tools": list[_Tool], "text": _Text, "reasoning": _Reasoning},
    passed=("id", "logprobs", "status"),
    empty=("annotations", "caller", "namespace", "phase"),
)
_HARMLESS = frozenset({'{"type":"direct"}', '{"type": "direct"}'})
"""What an SDK sends back of a call: that no program made it."""

_decode = msgspec.json.Decoder(_Request).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_allowed = msgspec.json.Decoder(_Allowed).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, stream: bool, stateful: bool) -> ChatRequest:
    """What a client of the responses API asks. Raises InvalidRequest and UnsupportedOperation."""
    try:
        wire = _decode(body)
        members = _decode_members(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message.lower(), param=path.rstrip("`").removeprefix(".") or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    extra = {
        name: bytes(raw).decode()
        for name, raw in members.items()
        if name not in _MODELLED and bytes(raw) != b"null"
    }
    if not stateful:
        extra.pop("stream_options", None)
        extra |= {name: text for name, text in _MEMBERS.unknown(body).items() if text not in _HARMLESS}
        for name, values in _DEFAULTS.items():
            if extra.get(name) in values:
                del extra[name]
        for item in wire.input if isinstance(wire.input, list) else ():
            if item.type == "reasoning" and is_empty(item):
                extra["input[].reasoning"] = "true"
        for name in STATE:
            if name in extra:
                raise UnsupportedOperation(f"'{name}' needs an upstream that keeps state", param=name)
    system, messages = parse_input(wire.input, stateful)
    if not messages and not stateful:
        raise InvalidRequest("there is no input", param="input")
    if wire.instructions:
        system = (Text(wire.instructions), *system)
    tools = _parse_tools(wire.tools or [], stateful, extra)
    tools, choice = _parse_tool_choice(wire.tool_choice, tools, stateful, extra)
    return ChatRequest(
        model=wire.model or model,
        messages=messages,
        system=system,
        tools=tools,
        tool_choice=choice,
        parallel_tools=wire.parallel_tool_calls,
        max_output=wire.max_output_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        format=_parse_text(wire.text, extra),
        reasoning=_parse_reasoning(wire.reasoning, extra),
        stream=bool(wire.stream) or stream,
        user=wire.user,
        extra=extra,
    )


def _parse_tools(raws: list[Raw], stateful: bool, extra: dict[str, str]) -> tuple[Tool, ...]:
    tools = []
    hosted = []
    for at, raw in enumerate(raws):
        try:
            tool = _decode_tool(raw)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error).lower(), param=f"tools[{at}]") from None
        if tool.type != "function":
            if not stateful:
                raise UnsupportedOperation(
                    f"a tool of type '{tool.type}' needs an upstream that runs it", param=f"tools[{at}]"
                )
            hosted.append(raw)
            continue
        if not tool.name:
            raise InvalidRequest("a function has no name", param=f"tools[{at}].name")
        schema = bytes(tool.parameters).decode()
        tools.append(Tool(tool.name, tool.description, None if schema == "null" else schema, tool.strict))
    if hosted:
        extra[HOSTED_TOOLS] = _encode(hosted).decode()
    return tuple(tools)


def _parse_tool_choice(
    raw: Raw, tools: tuple[Tool, ...], stateful: bool, extra: dict[str, str]
) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """The tools that may be chosen, and how."""
    if not stateful and b"allowed_tools" in bytes(raw):
        try:
            wire = _decode_allowed(raw)
        except msgspec.ValidationError:
            raise InvalidRequest("'tool_choice' cannot be read", param="tool_choice") from None
        if wire.type == ALLOWED:
            return allowed(tools, wire.mode, (tool.name for tool in wire.tools or ()))
    return tools, _parse_choice(raw, stateful, extra)


def _parse_choice(raw: Raw, stateful: bool, extra: dict[str, str]) -> ToolChoice | None:
    choice = msgspec.json.decode(raw)
    if choice is None:
        return None
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return ToolChoice("tool", choice["name"])
    if not isinstance(choice, dict):
        raise InvalidRequest("'tool_choice' is not one of auto, none, required", param="tool_choice")
    if not stateful:
        raise UnsupportedOperation("this kind of tool choice is not supported", param="tool_choice")
    extra["tool_choice"] = bytes(raw).decode()
    return None


def _parse_text(text: _Text | None, extra: dict[str, str]) -> Format | None:
    if text is None:
        return None
    if text.verbosity is not None:
        extra["verbosity"] = _encode(text.verbosity).decode()
    wire = text.format
    if wire is None or wire.type in (None, "text"):
        return None
    if wire.type == "json_object":
        return Format("json")
    if wire.type != "json_schema":
        raise UnsupportedOperation(f"format '{wire.type}' is not supported", param="text.format.type")
    schema = bytes(wire.schema).decode()
    return Format("schema", None if schema == "null" else schema, wire.name, wire.description, wire.strict)


def _parse_reasoning(wire: _Reasoning | None, extra: dict[str, str]) -> Reasoning | None:
    if wire is None:
        return None
    summary = wire.summary or wire.generate_summary
    for name, value in (("context", wire.context), ("mode", wire.mode), ("summary", summary)):
        if value is not None and (name, value) != ("summary", "auto"):
            extra[f"reasoning.{name}"] = _encode(value).decode()
    return Reasoning(wire.effort != "none", wire.effort, None, True if summary else None)
