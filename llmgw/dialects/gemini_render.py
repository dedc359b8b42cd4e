"""Writes a request for Gemini.

Schemas go out as JSON Schema (`parametersJsonSchema`, `responseJsonSchema`). Gemini 3 refuses a call in
the history that lacks the signature it was made with; for calls that another model made, or whose
signature the client's dialect could not carry, Google names a stand-in (Gemini API: thought signatures).
How much to think is a level from Gemini 3 on and a budget before; the budgets for the efforts are those
of Google's own OpenAI compatibility.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw

from llmgw.core.chat import (
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest
from llmgw.dialects.base import Rendered
from llmgw.dialects.gemini_extra import put_back
from llmgw.dialects.gemini_parts import SKIP_SIGNATURE, Wire, arguments_object, render_parts
from llmgw.dialects.gemini_results import media_parts, render_response
from llmgw.dialects.gemini_signatures import is_gemini, upstream_signature
from llmgw.dialects.gemini_wire import is_made
from llmgw.dialects.system_turns import moved

_encode = msgspec.json.Encoder().encode

_GEMINI_3 = re.compile(r"gemini-(?:[3-9]|\d\d|(?:pro|flash|flash-lite)-latest)")
_NO_THINKING = re.compile(r"gemini-(?:1|2\.0)")
_LEVELS = {"none": "minimal", "minimal": "minimal", "xhigh": "high", "max": "high"}
_PRO_LEVELS = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
_BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
_SMALLEST_PRO_BUDGET = 128
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}


def render_request(request: ChatRequest) -> Rendered:
    """What an upstream is sent; the model stands in its URL. Raises InvalidRequest, UnsupportedOperation."""
    writer = _Writer(request)
    return Rendered(_encode(writer.body()), tuple(writer.dropped))


def render_count_request(request: ChatRequest, vertex: bool = False) -> Rendered:
    """For `countTokens`. The Gemini API takes a whole request only under a member of its own."""
    writer = _Writer(request)
    body = writer.body()
    if not vertex:
        name = request.model if "/" in request.model else f"models/{request.model}"
        body = {"generateContentRequest": {"model": name, **body}}
    return Rendered(_encode(body), tuple(writer.dropped))


class _Writer:
    """Writes one request. dropped: what could not be said, in order."""

    def __init__(self, request: ChatRequest) -> None:
        self.dropped: list[str] = []
        self._request = moved(request, self._drop)
        self._third = _GEMINI_3.search(request.model) is not None
        self._pro = "pro" in request.model
        self._calls: dict[str, tuple[int, str]] = {}

    def body(self) -> Wire:
        request = self._request
        body: Wire = {"contents": self._contents()}
        if request.system:
            for text in request.system:
                self._lose(text)
            body["systemInstruction"] = {"parts": [{"text": text.text} for text in request.system]}
        if request.tools:
            body["tools"] = [{"functionDeclarations": self._declarations()}]
        config = self._tool_config()
        if config:
            body["toolConfig"] = {"functionCallingConfig": config}
        generation = self._generation()
        if generation:
            body["generationConfig"] = generation
        for name in put_back(request.extra, body):
            self._drop(name)
        if request.user is not None:
            self._drop("user")
        if request.parallel_tools is False:
            self._drop("parallel_tool_calls")
        return body

    def _drop(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # Turns.

    def _contents(self) -> list[Wire]:
        contents: list[Wire] = []
        for role, parts in self._turns():
            for part in parts:
                self._lose(part)
            if role == "user":
                parts = self._in_order(parts)
            wire = render_parts(parts, self._call_or_result, upstream_signature)
            if role == "assistant" and self._third:
                _sign_first_call(wire)
            if wire:
                contents.append({"role": "model" if role == "assistant" else "user", "parts": wire})
        if not contents:
            raise InvalidRequest("there is nothing to answer", param="messages")
        return contents

    def _turns(self) -> Iterator[tuple[str, tuple[Part, ...]]]:
        """The messages, those that only follow each other with more results joined into one turn."""
        held: Message | None = None
        for message in self._request.messages:
            if message.name is not None:
                self._drop("name")
            if held is not None and _has_results(held) and _has_results(message):
                held = Message("user", (*held.parts, *message.parts))
                continue
            if held is not None:
                yield held.role, held.parts
            held = message
        if held is not None:
            yield held.role, held.parts

    def _in_order(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Results in the order of their calls, where Gemini cannot match them by id."""
        results = [part for part in parts if isinstance(part, ToolResult)]
        if len(results) < 2 or not any(is_made(result.call_id) for result in results):
            return parts
        ordered = iter(sorted(results, key=lambda result: self._calls.get(result.call_id, (0, ""))[0]))
        return tuple(next(ordered) if isinstance(part, ToolResult) else part for part in parts)

    def _call_or_result(self, part: ToolCall | ToolResult) -> Iterable[Wire]:
        return (self._call(part),) if isinstance(part, ToolCall) else self._result(part)

    def _call(self, part: ToolCall) -> Wire:
        try:
            call: Wire = {"name": part.name, "args": arguments_object(part.arguments)}
        except ValueError:
            raise InvalidRequest(
                f"the arguments of tool call '{part.id}' are not a JSON object", param="messages"
            ) from None
        if not is_made(part.id):
            call["id"] = part.id
        self._calls[part.id] = (len(self._calls), part.name)
        wire: Wire = {"functionCall": call}
        if part.signature is not None:
            wire["thoughtSignature"] = part.signature
        return wire

    def _result(self, part: ToolResult) -> list[Wire]:
        known = self._calls.get(part.call_id)
        if known is None:
            raise InvalidRequest(f"tool result '{part.call_id}' answers no tool call", param="messages")
        texts = [text.text for text in part.parts if isinstance(text, Text)]
        result: Wire = {"name": known[1], "response": render_response(texts, part.failed)}
        if not is_made(part.call_id):
            result["id"] = part.call_id
        media = media_parts(part.parts)
        if not media or self._third:
            if media:
                result["parts"] = media
            return [{"functionResponse": result}]
        # Before Gemini 3 a result has no parts; what it shows stands beside it.
        return [{"functionResponse": result}, *media]

    def _lose(self, part: Part) -> None:
        """Tell what of a part has no place."""
        if isinstance(part, Thinking):
            if part.redacted is not None:
                self._drop("redacted_thinking")
            elif part.signature is not None and not is_gemini(part.signature):
                self._drop("signature")
            return
        if getattr(part, "cached", None) is not None:
            self._drop("cache_control")
        if isinstance(part, Image) and part.detail not in (None, "auto"):
            self._drop("detail")
        elif isinstance(part, File) and part.name is not None:
            self._drop("filename")
        elif isinstance(part, ToolResult):
            for inner in part.parts:
                self._lose(inner)

    # Tools.

    def _declarations(self) -> list[Wire]:
        out = []
        for tool in self._request.tools:
            declared: Wire = {"name": tool.name}
            if tool.description is not None:
                declared["description"] = tool.description
            if tool.parameters is not None:
                declared["parametersJsonSchema"] = Raw(tool.parameters.encode())
            if tool.strict:
                self._drop("strict")
            if tool.cached is not None:
                self._drop("cache_control")
            out.append(declared)
        return out

    def _tool_config(self) -> Wire:
        request = self._request
        choice = request.tool_choice
        if choice is None:
            return {}
        if not request.tools:
            if choice.mode in ("required", "tool"):
                raise InvalidRequest("a tool must be called, but there are none", param="tool_choice")
            return {}
        config: Wire = {"mode": _MODES.get(choice.mode, "AUTO")}
        if choice.mode == "tool":
            config["allowedFunctionNames"] = [choice.name]
        return config

    # Configuration.

    def _generation(self) -> Wire:
        request = self._request
        config: Wire = {
            "candidateCount": request.choices if request.choices > 1 else None,
            "maxOutputTokens": request.max_output,
            "temperature": request.temperature,
            "topP": request.top_p,
            "topK": request.top_k,
            "stopSequences": list(request.stop) or None,
            "seed": request.seed,
            "presencePenalty": request.presence_penalty,
            "frequencyPenalty": request.frequency_penalty,
        }
        wanted = request.format
        if wanted is not None:
            config["responseMimeType"] = "application/json"
            if wanted.schema is not None:
                config["responseJsonSchema"] = Raw(wanted.schema.encode())
            if wanted.description is not None:
                self._drop("response_format.description")
        if request.reasoning is not None:
            config["thinkingConfig"] = self._thinking(request.reasoning) or None
        return {name: value for name, value in config.items() if value is not None}

    def _thinking(self, reasoning: Reasoning) -> Wire:
        config: Wire = {} if reasoning.shown is None else {"includeThoughts": reasoning.shown}
        effort = reasoning.effort if reasoning.enabled else "none"
        if _NO_THINKING.search(self._request.model):
            if effort != "none":
                self._drop("reasoning_effort")
            return {}
        if effort == "none" and (self._third or self._pro):
            # These models always think.
            self._drop("reasoning_effort")
        if reasoning.enabled and reasoning.budget is not None:
            config["thinkingBudget"] = reasoning.budget
        elif effort is None:
            pass
        elif self._third:
            level = (_PRO_LEVELS if self._pro else _LEVELS).get(effort, effort)
            config["thinkingLevel"] = (
                "high" if level == "medium" and "gemini-3-pro" in self._request.model else level
            )
        elif effort == "none" and self._pro:
            config["thinkingBudget"] = _SMALLEST_PRO_BUDGET
        elif effort in _BUDGETS:
            config["thinkingBudget"] = _BUDGETS[effort]
        else:
            self._drop("reasoning_effort")
        return config


def _has_results(message: Message) -> bool:
    return message.role == "user" and any(isinstance(part, ToolResult) for part in message.parts)


def _sign_first_call(parts: list[Wire]) -> None:
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", SKIP_SIGNATURE)
            return
