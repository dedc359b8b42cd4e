"""Requests of the responses API, written.

Without `stateful` the request is another dialect's: nothing of it may lean on what the provider
keeps under the gateway's credential, nor be kept there unless the client asked for it. With it,
everything in `extra` is said again.

Facts (OpenAI API reference, "Create a model response"): a response is stored unless `store` is
false; functions are strict unless `strict` is false; `include: ["reasoning.encrypted_content"]`
is refused by models that do not reason.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from llmgw.core.chat import ChatRequest, Format, Reasoning, Tool
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.base import Rendered
from llmgw.dialects.openai_responses_input import has_encrypted, render_input
from llmgw.dialects.openai_responses_items import Json
from llmgw.dialects.openai_responses_request import HOSTED_TOOLS
from llmgw.dialects.unsaid import lost

_PASSED = frozenset(
    {
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "truncation",
        "verbosity",
    }
)
"""Members that other dialects share, or that mean the same whoever says them."""
_SERVICE_TIERS = frozenset({'"auto"', '"default"', '"flex"', '"priority"', '"scale"'})
_OF_OBJECTS = ("reasoning.", "text.")
_EFFORT_BY_BUDGET = ((2048, "low"), (8192, "medium"))

_encode = msgspec.json.Encoder().encode


def render_request(request: ChatRequest, stateful: bool) -> Rendered:
    """What an upstream is sent. Raises UnsupportedOperation.

    Without `stateful` nothing is kept upstream unless the client asked for it, and thoughts are
    asked for in encrypted form, since the client has to carry them.
    """
    if request.choices > 1:
        raise UnsupportedOperation("there is one answer to a request here", param="n")
    dropped: list[str] = []
    body: Json = {"model": request.model}
    instructions, items = render_input(request, stateful, dropped)
    if instructions is not None:
        body["instructions"] = instructions
    body["input"] = items
    for name, value in (
        ("max_output_tokens", request.max_output),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("parallel_tool_calls", request.parallel_tools),
        ("user", request.user),
    ):
        if value is not None:
            body[name] = value
    if request.tools:
        body["tools"] = [_render_tool(tool, stateful) for tool in request.tools]
    if request.tool_choice is not None:
        choice = request.tool_choice
        body["tool_choice"] = (
            choice.mode if choice.name is None else {"type": "function", "name": choice.name}
        )
    if request.format is not None:
        body["text"] = {"format": _render_format(request.format)}
    reasoning = _render_reasoning(request.reasoning, dropped)
    if reasoning:
        body["reasoning"] = reasoning
    if request.stream:
        body["stream"] = True
    _render_extra(request.extra, body, stateful, dropped)
    if not stateful:
        body.setdefault("store", False)
        if (reasoning and reasoning.get("effort") != "none") or has_encrypted(request.messages):
            body["include"] = ["reasoning.encrypted_content"]
    for name, unsaid in (
        ("top_k", request.top_k is not None),
        ("stop", bool(request.stop)),
        ("seed", request.seed is not None),
        ("presence_penalty", request.presence_penalty is not None),
        ("frequency_penalty", request.frequency_penalty is not None),
    ):
        if unsaid:
            dropped.append(name)
    return Rendered(_encode(body), tuple(dict.fromkeys(dropped)))


def _render_tool(tool: Tool, stateful: bool) -> Json:
    body: Json = {"type": "function", "name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["parameters"] = Raw(tool.parameters.encode()) if tool.parameters is not None else None
    # Other dialects are not strict where nothing is said; this one is.
    if tool.strict is not None or not stateful:
        body["strict"] = bool(tool.strict)
    return body


def _render_format(form: Format) -> Json:
    if form.mode == "json":
        return {"type": "json_object"}
    body: Json = {"type": "json_schema", "name": form.name or "answer"}
    if form.description is not None:
        body["description"] = form.description
    body["schema"] = Raw((form.schema or "{}").encode())
    if form.strict is not None:
        body["strict"] = form.strict
    return body


def _render_reasoning(reasoning: Reasoning | None, dropped: list[str]) -> Json:
    """The member `reasoning`; empty where nothing can be said.

    Only models that reason know it, so a client that merely switches thinking off says nothing.
    """
    body: Json = {}
    if reasoning is None:
        return body
    effort = reasoning.effort
    if effort is None and not reasoning.enabled:
        dropped.append("reasoning")
    elif effort is None and reasoning.budget is not None:
        budget = reasoning.budget
        effort = next((word for limit, word in _EFFORT_BY_BUDGET if budget <= limit), "high")
        dropped.append("reasoning.budget")
    elif reasoning.budget is not None:
        dropped.append("reasoning.budget")
    if effort is not None:
        body["effort"] = effort
    if reasoning.shown:
        body["summary"] = "auto"
    return body


def _render_extra(extra: dict[str, str], body: Json, stateful: bool, dropped: list[str]) -> None:
    for name, text in extra.items():
        raw = Raw(text.encode())
        if not stateful and not _is_passed(name, text):
            dropped += lost(name, text)
        elif name == HOSTED_TOOLS:
            body["tools"] = [*_list(body.get("tools")), *msgspec.json.decode(raw, type=list[Raw])]
        elif name == "verbosity":
            _object(body, "text")["verbosity"] = raw
        elif name.startswith(_OF_OBJECTS):
            outer, _, inner = name.partition(".")
            _object(body, outer)[inner] = raw
        else:
            body[name] = raw


def _is_passed(name: str, text: str) -> bool:
    return text in _SERVICE_TIERS if name == "service_tier" else name in _PASSED


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _object(body: Json, name: str) -> Json:
    value = body.setdefault(name, {})
    return value if isinstance(value, dict) else {}
