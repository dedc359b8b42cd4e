"""A client's chat completion request, read.

Shapes from OpenAI's API reference, and those that clients of compatible services use: Mistral's
thinking and document parts, `random_seed` and `tool_choice: any`; DeepSeek's `thinking`;
OpenRouter's `reasoning`, `reasoning_details` and `cache_control`.

System and developer messages are the system text, or a turn of their own where they come later. A
tool's messages and the user's that follow them are one turn. What has no field goes to `extra`;
members of what stands in it that nobody knows go there too, as `messages[].content[].name`.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import ChatRequest, Format, Reasoning, Tool, ToolChoice
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.allowed_tools import ALLOWED, allowed
from llmgw.dialects.openai_chat_messages import CacheControl, WireMessage, parse_messages
from llmgw.dialects.request_members import RequestMembers


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None


class _Tool(Struct):
    type: str = "function"
    function: _Function | None = None
    cache_control: CacheControl | None = None


class _Named(Struct):
    name: str


class _AllowedTool(Struct):
    function: _Named | None = None


class _Allowed(Struct):
    mode: str | None = None
    tools: list[_AllowedTool] | None = None


class _ToolChoice(Struct):
    type: str = "function"
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


class _Schema(Struct):
    name: str | None = None
    description: str | None = None
    schema: Raw = Raw()
    strict: bool | None = None


class _Format(Struct):
    type: str
    json_schema: _Schema | None = None


class _Reasoning(Struct):
    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class _Thinking(Struct):
    type: str = "enabled"
    budget_tokens: int | None = None


class _Request(Struct):
    messages: list[WireMessage]
    model: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    random_seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    reasoning: _Reasoning | None = None
    thinking: _Thinking | None = None
    enable_thinking: bool | None = None
    include_reasoning: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    functions: object = None
    function_call: object = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_KNOWN = frozenset(_Request.__struct_fields__)
_MEMBERS = RequestMembers(
    {
        "messages": list[WireMessage],
        "tools": list[_Tool],
        "reasoning": _Reasoning,
        "response_format": _Format,
    }
)
_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
_where = re.compile(r" - at `\$\.?(.*)`$")


def parse_request(body: bytes, model: str, stream: bool) -> ChatRequest:
    """What a client asks. model, stream: hold where the body does not say."""
    try:
        return _request(_decode(body), _extra(body), model, stream)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def _request(wire: _Request, extra: dict[str, str], model: str, stream: bool) -> ChatRequest:
    for name in ("functions", "function_call"):
        if getattr(wire, name) is not None:
            raise UnsupportedOperation(
                f"'{name}' is deprecated and cannot be translated; use 'tools'", param=name
            )
    system, messages = parse_messages(wire.messages)
    tool_choice: ToolChoice | None
    tools = tuple(_tool(tool, i) for i, tool in enumerate(wire.tools or ()))
    choice = wire.tool_choice
    if isinstance(choice, _ToolChoice) and choice.type == ALLOWED and choice.allowed_tools is not None:
        named = (tool.function.name if tool.function else None for tool in choice.allowed_tools.tools or ())
        tools, tool_choice = allowed(tools, choice.allowed_tools.mode, named)
    else:
        tool_choice = _tool_choice(choice)
    stop = wire.stop
    return ChatRequest(
        model=wire.model or model,
        messages=messages,
        system=system,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tools=wire.parallel_tool_calls,
        max_output=wire.max_completion_tokens if wire.max_completion_tokens is not None else wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        seed=wire.seed if wire.seed is not None else wire.random_seed,
        presence_penalty=wire.presence_penalty,
        frequency_penalty=wire.frequency_penalty,
        choices=_choices(wire.n),
        format=_format(wire.response_format),
        reasoning=_reasoning(wire),
        stream=stream if wire.stream is None else wire.stream,
        user=wire.user,
        extra=extra,
    )


def _extra(body: bytes) -> dict[str, str]:
    """What has no field."""
    found = {}
    for name, value in _decode_members(body).items():
        text = bytes(value).decode()
        if name not in _KNOWN and text != "null":
            found[name] = text
    return found | _MEMBERS.unknown(body)


def _invalid(error: msgspec.ValidationError) -> InvalidRequest:
    text = str(error)
    where = _where.search(text)
    if where is None:
        return InvalidRequest(f"the body is not a chat completion request: {_lower(text)}")
    path = where[1]
    message = _lower(text[: where.start()])
    return InvalidRequest(f"member '{path}' is not valid: {message}" if path else message, param=path or None)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _tool(tool: _Tool, i: int) -> Tool:
    if tool.type != "function":
        raise UnsupportedOperation(
            f"a tool of type '{tool.type}' cannot be translated", param=f"tools[{i}].type"
        )
    function = tool.function
    if function is None:
        raise InvalidRequest("a function tool needs 'function'", param=f"tools[{i}].function")
    cached = tool.cache_control
    return Tool(
        function.name,
        function.description,
        _json(function.parameters),
        function.strict,
        None if cached is None else cached.ttl or "",
    )


def _tool_choice(wire: str | _ToolChoice | None) -> ToolChoice | None:
    if wire is None:
        return None
    if isinstance(wire, str):
        mode = _CHOICES.get(wire)
        if mode is None:
            raise InvalidRequest(f"'{wire}' is not a tool choice", param="tool_choice")
        return ToolChoice(mode)
    if wire.type != "function" or wire.function is None:
        raise UnsupportedOperation(
            f"a tool choice of type '{wire.type}' cannot be translated", param="tool_choice"
        )
    return ToolChoice("tool", wire.function.name)


def _choices(n: int | None) -> int:
    if n is not None and n < 1:
        raise InvalidRequest("'n' must be at least 1", param="n")
    return n or 1


def _format(wire: _Format | None) -> Format | None:
    if wire is None or wire.type == "text":
        return None
    if wire.type == "json_object":
        return Format("json")
    schema = wire.json_schema
    if wire.type != "json_schema" or schema is None:
        raise UnsupportedOperation(
            f"a response format of type '{wire.type}' cannot be translated", param="response_format"
        )
    return Format("schema", _json(schema.schema), schema.name, schema.description, schema.strict)


def _reasoning(wire: _Request) -> Reasoning | None:
    """How much to think; the words of several services, of which a client uses one."""
    enabled: bool | None = wire.enable_thinking
    effort = wire.reasoning_effort
    budget: int | None = None
    shown: bool | None = wire.include_reasoning
    if wire.thinking is not None:
        enabled = wire.thinking.type != "disabled"
        budget = wire.thinking.budget_tokens
    if wire.reasoning is not None:
        effort = wire.reasoning.effort or effort
        budget = wire.reasoning.max_tokens
        enabled = enabled if wire.reasoning.enabled is None else wire.reasoning.enabled
        shown = shown if wire.reasoning.exclude is None else not wire.reasoning.exclude
    if enabled is None and effort is None and budget is None and shown is None:
        return None
    return Reasoning(enabled is not False and effort != "none", effort, budget, shown)


def _json(raw: Raw) -> str | None:
    """JSON text, None where nothing or null is said."""
    text = bytes(raw).decode()
    return None if text in ("", "null") else text
