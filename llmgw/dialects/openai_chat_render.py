"""A chat completion request, written for an upstream.

What OpenAI's chat completions cannot say of a conversation is said another way where the model
still sees all of it: images in a tool's result follow in the user's message, plain-text documents
become text. Earlier thoughts go only to services that take them back (`Vendor.thoughts`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from llmgw.core.chat import ChatRequest, Format, Reasoning, Tool, ToolChoice
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.base import Rendered
from llmgw.dialects.openai_chat_turns import render_messages
from llmgw.dialects.openai_chat_vendors import REASONING, THINKING, Vendor
from llmgw.dialects.unsaid import lost

_encode = msgspec.json.Encoder().encode

_OWN = frozenset(
    {
        "audio",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "top_logprobs",
        "verbosity",
        "web_search_options",
    }
)
"""OpenAI's further members, which go on as they came where the vendor takes them."""

_SERVICE_TIERS = frozenset({'"auto"', '"default"', '"flex"', '"priority"', '"scale"'})

_EFFORTS = ((4096, "low"), (16384, "medium"))
"""Up to so many tokens of thinking, the effort that comes near."""


def render_request(request: ChatRequest, vendor: Vendor) -> Rendered:
    """The body. Raises UnsupportedOperation for structure that the vendor cannot have."""
    dropped: set[str] = set()
    body: dict[str, object] = {
        "model": request.model,
        "messages": render_messages(request, vendor, dropped),
    }
    if request.tools:
        body["tools"] = [_tool(tool, vendor, dropped) for tool in request.tools]
        body["tool_choice"] = _tool_choice(request.tool_choice)
        body["parallel_tool_calls"] = request.parallel_tools
    elif request.tool_choice is not None and request.tool_choice.mode not in ("auto", "none"):
        raise UnsupportedOperation("a tool must be called, but there are no tools", param="tool_choice")
    body[vendor.cap] = request.max_output
    body["temperature"] = request.temperature
    body["top_p"] = request.top_p
    body["stop"] = list(request.stop) or None
    body[vendor.seed] = request.seed
    body["presence_penalty"] = request.presence_penalty
    body["frequency_penalty"] = request.frequency_penalty
    body["n"] = request.choices if request.choices != 1 else None
    body["response_format"] = _format(request.format)
    for name, value, taken in (
        ("top_k", request.top_k, vendor.top_k),
        ("user", request.user, vendor.user),
    ):
        if taken:
            body[name] = value
        elif value is not None:
            dropped.add(name)
    if request.reasoning is not None:
        body |= _reasoning(request.reasoning, vendor, dropped)
    if request.stream:
        body["stream"] = True
        if vendor.stream_options:
            body["stream_options"] = {"include_usage": True}
    for name, text in request.extra.items():
        if vendor.own and _is_own(name, text, request.extra):
            body[name] = Raw(text.encode())
        else:
            dropped.update(lost(name, text))
    kept = {name: value for name, value in body.items() if value is not None}
    return Rendered(_encode(kept), tuple(sorted(dropped)))


def _is_own(name: str, text: str, extra: Iterable[str]) -> bool:
    """Whether a member is OpenAI's, and means there what it does here.

    `service_tier` is Anthropic's too, with other words; Responses has `top_logprobs` alone.
    """
    if name == "service_tier":
        return text in _SERVICE_TIERS
    if name == "top_logprobs":
        return "logprobs" in extra
    return name in _OWN


def _tool(tool: Tool, vendor: Vendor, dropped: set[str]) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = Raw(tool.parameters.encode())
    if tool.strict is not None:
        function["strict"] = tool.strict
    if tool.cached is not None:
        dropped.add("cache_control")
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None) -> object:
    if choice is None:
        return None
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _format(wanted: Format | None) -> object:
    if wanted is None:
        return None
    if wanted.mode == "json":
        return {"type": "json_object"}
    schema: dict[str, object] = {"name": wanted.name or "answer"}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.schema is not None:
        schema["schema"] = Raw(wanted.schema.encode())
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _reasoning(wanted: Reasoning, vendor: Vendor, dropped: set[str]) -> dict[str, object]:
    """The members that ask for thinking, in the vendor's words."""
    effort = wanted.effort
    if vendor.reasoning == REASONING:
        said: dict[str, object] = {}
        if effort is not None:
            said["effort"] = effort
        elif not wanted.enabled:
            said["enabled"] = False
        elif wanted.budget is not None:
            said["max_tokens"] = wanted.budget
        else:
            said["enabled"] = True
        if wanted.shown is not None:
            said["exclude"] = not wanted.shown
        return {"reasoning": said}
    if wanted.shown is not None:
        dropped.add("reasoning.shown")
    if effort is None and wanted.enabled and wanted.budget is not None:
        effort = next((name for most, name in _EFFORTS if wanted.budget <= most), "high")
        dropped.add("reasoning.budget")
    if vendor.reasoning == THINKING:
        thinking = {"thinking": {"type": "enabled" if wanted.enabled else "disabled"}}
        return thinking | ({"reasoning_effort": effort} if wanted.enabled and effort else {})
    if effort is None and not wanted.enabled and vendor.none:
        effort = "none"
    if effort is None:
        dropped.add("reasoning.enabled")
        return {}
    return {"reasoning_effort": effort}
