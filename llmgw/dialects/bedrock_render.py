"""A request of Bedrock's Converse, written for an upstream. The model and streaming stand in the URL.

Facts (Amazon Bedrock API reference, Converse): `toolConfig` must be there once a turn has had a call, and
has no choice that forbids calls. What a model has beyond the common members goes to
`additionalModelRequestFields` in its own words: for Claude those of Anthropic's messages API.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from llmgw.core.chat import ChatRequest, Format, Tool, ToolCall
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects import anthropic_render
from llmgw.dialects.anthropic_turns import Wire, lacks_thoughts, schema_of
from llmgw.dialects.base import Rendered
from llmgw.dialects.bedrock_families import CLAUDE, Family, family_of
from llmgw.dialects.bedrock_turns import cache_points, render_messages, render_texts
from llmgw.dialects.system_turns import moved
from llmgw.dialects.unsaid import lost

_encode = msgspec.json.Encoder().encode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode

_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def render_request(request: ChatRequest) -> Rendered:
    """The body. Raises InvalidRequest, and UnsupportedOperation for structure that the dialect lacks."""
    if request.choices != 1:
        raise UnsupportedOperation("this provider gives one choice", param="n")
    dropped: set[str] = set()
    family = family_of(request.model)
    request = moved(request, dropped.add)
    body: Wire = {"messages": render_messages(request, family, dropped)}
    system = render_texts(request.system, family, dropped)
    if system:
        body["system"] = system
    tools = _tool_config(request, family, dropped)
    if tools is not None:
        body["toolConfig"] = tools
    if request.format is not None:
        body["outputConfig"] = _output_config(request.format, dropped)
    _extra(request.extra, dropped, taken=_OF_CLAUDE if family is CLAUDE else frozenset())
    inference, additional = (
        _of_claude(request, dropped) if family is CLAUDE else _of_others(request, family, dropped)
    )
    if request.stop:
        inference["stopSequences"] = list(request.stop)
    for name in ("seed", "presence_penalty", "frequency_penalty", "user"):
        if getattr(request, name) is not None:
            dropped.add(name)
    if inference:
        body["inferenceConfig"] = inference
    if additional:
        body["additionalModelRequestFields"] = additional
    return Rendered(_encode(body), tuple(sorted(dropped)))


def _output_config(wanted: Format, dropped: set[str]) -> Wire:
    """A schema, as text (Bedrock API reference: OutputConfig). Raises UnsupportedOperation without one."""
    if wanted.schema is None:
        raise UnsupportedOperation(
            "this provider can be held to a schema, not to JSON of any kind", param="response_format"
        )
    schema = {"schema": wanted.schema, "name": wanted.name, "description": wanted.description}
    said = {name: value for name, value in schema.items() if value is not None}
    if wanted.strict is False:
        dropped.add("strict")
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": said}}}


_OF_CLAUDE = frozenset({"thinking.display", "output_config.effort"})
"""Anthropic's further members that Claude has here too."""


def _of_claude(request: ChatRequest, dropped: set[str]) -> tuple[Wire, Wire]:
    """Sampling and thinking by the same rules as on the messages API."""
    shape = msgspec.structs.replace(
        request,
        messages=(),
        system=(),
        stop=(),
        format=None,
        seed=None,
        user=None,
        presence_penalty=None,
        frequency_penalty=None,
        extra={name: text for name, text in request.extra.items() if name in _OF_CLAUDE},
    )
    if request.reasoning is not None and lacks_thoughts(request):
        dropped.add("reasoning_effort" if request.reasoning.effort is not None else "thinking")
        shape = msgspec.structs.replace(shape, reasoning=None)
    rendered = anthropic_render.render_request(shape)
    dropped.update(rendered.dropped)
    said = _decode_members(rendered.body)
    inference: Wire = {}
    for name, ours in (("temperature", "temperature"), ("top_p", "topP")):
        if name in said:
            inference[ours] = said[name]
    if request.max_output is not None or b"budget_tokens" in bytes(said.get("thinking", b"")):
        inference["maxTokens"] = said["max_tokens"]
    return inference, {name: said[name] for name in ("thinking", "output_config", "top_k") if name in said}


def _of_others(request: ChatRequest, family: Family, dropped: set[str]) -> tuple[Wire, Wire]:
    inference: Wire = {}
    for name, value in (
        ("maxTokens", request.max_output),
        ("temperature", request.temperature),
        ("topP", request.top_p),
    ):
        if value is not None:
            inference[name] = value
    additional: Wire = {}
    if request.top_k is not None:
        if family.top_k is None:
            dropped.add("top_k")
        else:
            value_of: object = request.top_k
            for step in reversed(family.top_k):
                value_of = {step: value_of}
            assert isinstance(value_of, dict)
            additional |= value_of
    wanted = request.reasoning
    if wanted is not None and wanted.enabled and wanted.effort != "none":
        effort = _EFFORTS.get(wanted.effort or "")
        if family.effort and effort is not None:
            additional["reasoning_effort"] = effort
        else:
            dropped.add("reasoning_effort" if wanted.effort is not None else "thinking")
    return inference, additional


def _tool_config(request: ChatRequest, family: Family, dropped: set[str]) -> Wire | None:
    choice = request.tool_choice
    mode = choice.mode if choice is not None else "auto"
    called = any(isinstance(part, ToolCall) for message in request.messages for part in message.parts)
    if not request.tools:
        if mode not in ("auto", "none"):
            raise UnsupportedOperation("a tool must be called, but there are no tools", param="tool_choice")
        if called:
            raise UnsupportedOperation(
                "this provider wants the tools of earlier calls in every request", param="tools"
            )
        return None
    if mode == "none":
        if called:
            raise UnsupportedOperation(
                "this provider cannot be forbidden to call tools after earlier calls", param="tool_choice"
            )
        return None
    if request.parallel_tools is False:
        dropped.add("parallel_tool_calls")
    tools: list[Wire] = []
    for i, tool in enumerate(request.tools):
        tools.append({"toolSpec": _tool(tool, i, dropped)})
        tools += cache_points(tool.cached, family.tool_marks, dropped)
    config: Wire = {"tools": tools}
    if choice is not None:
        config["toolChoice"] = {
            "auto": {"auto": {}},
            "required": {"any": {}},
            "tool": {"tool": {"name": choice.name}},
        }[mode]
    return config


def _tool(tool: Tool, i: int, dropped: set[str]) -> Wire:
    spec: Wire = {"name": tool.name, "inputSchema": {"json": schema_of(tool, i)}}
    if tool.description and not tool.description.isspace():
        spec["description"] = tool.description
    if tool.strict:
        dropped.add("strict")
    return spec


def _extra(extra: Mapping[str, str], dropped: set[str], taken: frozenset[str]) -> None:
    """What has no field: structure is refused and tuning dropped."""
    for name, text in extra.items():
        if name not in taken:
            dropped.update(lost(name, text))
