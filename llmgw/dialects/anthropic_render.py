"""A messages request, written for an upstream.

What cannot be said depends on the model (`anthropic_models`): thinking by budget or by effort, and which
sampling it takes. Thinking gives way where Anthropic's reference excludes it: when a tool must be called,
and when the turn it would join has calls without their thoughts.

JSON mode without a schema is refused: the schema of "any object" is not one that Anthropic takes.

System text amid a conversation stands after a user's turn and before an answer or nothing, one message at
a time, or not at all (Anthropic: "Mid-conversation system messages").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import ChatRequest, Format, Tool
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.anthropic_models import ModelFacts, facts_of
from llmgw.dialects.anthropic_turns import (
    Wire,
    lacks_thoughts,
    marked,
    render_messages,
    render_texts,
    schema_of,
)
from llmgw.dialects.base import Rendered
from llmgw.dialects.system_turns import moved
from llmgw.dialects.unsaid import lost

_encode = msgspec.json.Encoder().encode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


class _Typed(Struct):
    type: str = ""


_decode_typed = msgspec.json.Decoder(list[_Typed]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode

_OWN = frozenset({"cache_control", "container", "inference_geo", "mcp_servers", "speed"})
"""Anthropic's further members, which go on as they came."""

_SERVICE_TIERS = frozenset({'"auto"', '"standard_only"'})
_OWN_TOOL = re.compile(r"\w+_\d{8}|mcp_toolset")

_SMALLEST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_BY_BUDGET = ((2048, "low"), (8192, "medium"), (24576, "high"))
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}
_NOT_COUNTED = frozenset(
    {
        "container",
        "inference_geo",
        "max_tokens",
        "metadata",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""Members that a request to count tokens does not have."""


def render_request(request: ChatRequest) -> Rendered:
    """The body. Raises UnsupportedOperation for structure that the dialect lacks."""
    dropped: set[str] = set()
    return Rendered(_encode(_body(request, dropped)), tuple(sorted(dropped)))


def render_count_request(request: ChatRequest) -> Rendered:
    """The body for `/v1/messages/count_tokens`."""
    dropped: set[str] = set()
    body = _body(request, dropped)
    return Rendered(
        _encode({name: value for name, value in body.items() if name not in _NOT_COUNTED}),
        tuple(sorted(dropped)),
    )


def _body(request: ChatRequest, dropped: set[str]) -> Wire:
    if request.choices != 1:
        raise UnsupportedOperation("this provider gives one choice", param="n")
    facts = facts_of(request.model)
    request = moved(request, dropped.add, _fits if facts.system_amid else None)
    body: Wire = {
        "model": request.model,
        "max_tokens": request.max_output if request.max_output is not None else facts.max_output,
        "messages": render_messages(request, dropped),
    }
    system = render_texts(request.system)
    if system is not None:
        body["system"] = system
    if request.tools:
        body["tools"] = [_tool(tool, i) for i, tool in enumerate(request.tools)]
    _extra(request.extra, body, dropped)
    _tool_choice(request, body)
    config = body.get("output_config", {})
    assert isinstance(config, dict)
    if request.format is not None:
        config["format"] = _format(request.format)
    thinking = _thinking(request, facts, body, config, dropped)
    details = _nested(request.extra, "thinking.")
    if thinking is not None:
        body["thinking"] = thinking | details
    else:
        dropped |= {f"thinking.{name}" for name in details}
    if config:
        body["output_config"] = config
    _sampling(request, facts, thinking is not None and thinking["type"] != "disabled", body, dropped)
    metadata: Wire = {"user_id": request.user} if request.user is not None else {}
    metadata |= _nested(request.extra, "metadata.")
    if metadata:
        body["metadata"] = metadata
    if request.stream:
        body["stream"] = True
    return body


def _fits(before: str | None, after: str | None) -> bool:
    """Whether system text may stand between turns of these roles."""
    return before == "user" and after in ("assistant", None)


def _sampling(request: ChatRequest, facts: ModelFacts, thinks: bool, body: Wire, dropped: set[str]) -> None:
    stop = [text for text in request.stop if text and not text.isspace()]
    if len(stop) != len(request.stop):
        dropped.add("stop")
    if stop:
        body["stop_sequences"] = stop
    for name in ("seed", "presence_penalty", "frequency_penalty"):
        if getattr(request, name) is not None:
            dropped.add(name)
    temperature, top_p, top_k = request.temperature, request.top_p, request.top_k
    if not facts.sampling:
        for name in ("temperature", "top_p", "top_k"):
            if getattr(request, name) is not None:
                dropped.add(name)
        return
    if temperature is not None and temperature > 1:
        temperature = 1.0
        dropped.add("temperature")
    if thinks:
        if temperature not in (None, 1):
            temperature = None
            dropped.add("temperature")
        if top_p is not None and not 0.95 <= top_p <= 1:
            top_p = None
            dropped.add("top_p")
        if top_k is not None:
            top_k = None
            dropped.add("top_k")
    if facts.one_sampler and temperature is not None and top_p is not None:
        if top_p != 1:
            dropped.add("top_p")
        top_p = None
    for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k)):
        if value is not None:
            body[name] = value


def _thinking(
    request: ChatRequest, facts: ModelFacts, body: Wire, config: Wire, dropped: set[str]
) -> Wire | None:
    """`thinking`, None to say nothing; effort goes to `config`, and room for a budget to `body`."""
    wanted = request.reasoning
    if wanted is None:
        return None
    said = config.pop("effort", None)
    effort = wanted.effort
    if not wanted.enabled or effort == "none":
        return {"type": "disabled"} if facts.thinks_unasked else None
    if not (facts.budget or facts.adaptive) or (
        request.tool_choice is not None
        and request.tool_choice.mode in ("required", "tool")
        and body.get("tools")
    ):
        dropped.add("reasoning_effort" if effort is not None else "thinking")
        return None
    thinking: Wire
    if facts.adaptive and (wanted.budget is None or not facts.budget):
        if wanted.budget is not None and effort is None:
            effort = next((name for most, name in _BY_BUDGET if wanted.budget <= most), "xhigh")
            dropped.add("reasoning.budget")
        if effort == "xhigh" and not facts.xhigh:
            effort = "high"
        if said is not None:
            config["effort"] = said
        elif effort is not None:
            config["effort"] = _EFFORTS.get(effort, effort)
        thinking = {"type": "adaptive"}
    else:
        if wanted.budget is None and effort is not None and effort not in _BUDGETS:
            dropped.add("reasoning_effort")
        budget = _budget(request, body)
        if budget is None or lacks_thoughts(request):
            dropped.add("reasoning_effort" if effort is not None else "thinking")
            return None
        thinking = {"type": "enabled", "budget_tokens": budget}
        if facts.adaptive and effort is not None:
            config["effort"] = _EFFORTS.get(effort, effort)
    if wanted.shown is not None:
        thinking["display"] = "summarized" if wanted.shown else "omitted"
    return thinking


def _budget(request: ChatRequest, body: Wire) -> int | None:
    """Tokens to think with, less than those of the whole answer; None when there is no room for any."""
    wanted = request.reasoning
    assert wanted is not None
    budget = wanted.budget if wanted.budget is not None else _BUDGETS.get(wanted.effort or "medium", 8192)
    budget = max(budget, _SMALLEST_BUDGET)
    if request.max_output is None:
        most = body["max_tokens"]
        assert isinstance(most, int)
        body["max_tokens"] = max(most, budget + 4096)
        return budget
    budget = min(budget, request.max_output - 1)
    return budget if budget >= _SMALLEST_BUDGET else None


def _tool(tool: Tool, i: int) -> Wire:
    body: Wire = {"name": tool.name, "input_schema": schema_of(tool, i)}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.strict is not None:
        body["strict"] = tool.strict
    return marked(body, tool.cached)


def _tool_choice(request: ChatRequest, body: Wire) -> None:
    choice, parallel = request.tool_choice, request.parallel_tools
    if not body.get("tools"):
        if choice is not None and choice.mode not in ("auto", "none"):
            raise UnsupportedOperation("a tool must be called, but there are no tools", param="tool_choice")
        return
    if choice is None and parallel is None:
        return
    wire: Wire = {"type": _CHOICES[choice.mode if choice is not None else "auto"]}
    if choice is not None and choice.mode == "tool":
        wire["name"] = choice.name
    if parallel is not None and wire["type"] != "none":
        wire["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = wire


def _format(wanted: Format) -> Wire:
    if wanted.mode != "schema" or wanted.schema is None:
        raise UnsupportedOperation(
            "this provider gives JSON by a schema only; say json_schema", param="response_format"
        )
    return {"type": "json_schema", "schema": Raw(wanted.schema.encode())}


def _extra(extra: Mapping[str, str], body: Wire, dropped: set[str]) -> None:
    """What has no field: Anthropic's own goes back, of others structure is refused and tuning dropped."""
    config = _nested(extra, "output_config.")
    if config:
        body["output_config"] = config
    for name, text in extra.items():
        if name.startswith(("output_config.", "thinking.", "metadata.")):
            continue
        raw = Raw(text.encode())
        if _is_own(name, text):
            body[name] = raw
        elif name == "tools" and _are_own_tools(raw):
            mine = body.setdefault("tools", [])
            assert isinstance(mine, list)
            mine.extend(_decode_raws(raw))
        else:
            dropped.update(lost(name, text))


def _is_own(name: str, text: str) -> bool:
    """Whether a member is Anthropic's, and means there what it does here."""
    if name == "context_management":
        return text.startswith("{")
    if name == "service_tier":
        return text in _SERVICE_TIERS
    return name in _OWN


def _nested(extra: Mapping[str, str], prefix: str) -> Wire:
    """The members of an object that were kept apart."""
    return {
        name.removeprefix(prefix): Raw(text.encode())
        for name, text in extra.items()
        if name.startswith(prefix)
    }


def _are_own_tools(raw: Raw) -> bool:
    try:
        return all(_OWN_TOOL.fullmatch(tool.type) for tool in _decode_typed(raw))
    except msgspec.ValidationError:
        return False
