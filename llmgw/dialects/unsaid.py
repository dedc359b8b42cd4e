"""What a request says that an upstream's dialect has no words for.

Structure, without which the answer would be to another question, is refused; tuning is left out and
named. The names are those that requests of any dialect keep in `extra`.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from llmgw.core.chat import ChatRequest, Part, ToolCall, ToolResult
from llmgw.core.errors import InvalidRequest, UnsupportedOperation

STRUCTURE = frozenset(
    {
        "audio",
        "background",
        "cachedContent",
        "container",
        "context_management",
        "conversation",
        "function_call",
        "functions",
        "generationConfig.responseModalities",
        "logprobs",
        "mcp_servers",
        "modalities",
        "previous_response_id",
        "prompt",
        "tool_choice",
        "tools",
        "web_search_options",
    }
)
_SWITCHES = frozenset({"web_search_options"})
"""Structure that an empty object switches on."""
_tool = re.compile(r"tools(\.|\[\d+\](?!\.functionDeclarations))")
"""Tools that a provider runs, such as `tools.googleSearch`, which an empty object switches on."""
_MEANS_NOTHING: tuple[object, ...] = (None, False, 0, "", [], {}, ["text"], ["TEXT"])

_decode_any = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def lost(name: str, text: str) -> tuple[str, ...]:
    """The name of a member of `extra`, if leaving it out is a loss.

    Raises UnsupportedOperation for structure, unless it asks for nothing.
    """
    if name in _SWITCHES or _tool.match(name) is not None:
        asks = text not in ("null", "false")
    elif name in STRUCTURE:
        asks = _decode_any(text) not in _MEANS_NOTHING
    else:
        # What a client says of its own stream is done on the way back.
        return (name,) if name != "stream_options" else ()
    if asks:
        raise UnsupportedOperation(f"'{name}' cannot be given to this provider", param=name)
    return ()


def unknown_part(part: Part) -> UnsupportedOperation:
    """For a part that an upstream has nothing for."""
    kind = type(part).__name__.lower()
    return UnsupportedOperation(f"a part of kind '{kind}' cannot be said to this upstream", param="messages")


def unknown_media() -> UnsupportedOperation:
    """For a part of an answer that a client's dialect has nothing for."""
    return UnsupportedOperation("the answer holds what a message cannot: images, files or sound")


def arguments_of(call: ToolCall) -> str:
    """The JSON object that a call was made with. Raises InvalidRequest when it is none."""
    text = call.arguments or "{}"
    try:
        _decode_members(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidRequest(
            f"the arguments of call '{call.id}' are not a JSON object", param="messages"
        ) from None
    return text


def is_marked(request: ChatRequest) -> bool:
    """Whether anything of the prompt is marked to be cached."""
    for message in request.messages:
        for part in message.parts:
            if getattr(part, "cached", None) is not None:
                return True
            if isinstance(part, ToolResult) and any(inner.cached is not None for inner in part.parts):
                return True
    marked = (*(text.cached for text in request.system), *(tool.cached for tool in request.tools))
    return any(cached is not None for cached in marked)


def is_signed(request: ChatRequest) -> bool:
    """Whether a call has a signature that its provider wants back."""
    return any(
        isinstance(part, ToolCall) and part.signature is not None
        for message in request.messages
        for part in message.parts
    )


def unsaid(request: ChatRequest) -> list[str]:
    """What neither Cohere nor Ollama has a member for, by name."""
    found = []
    if request.user is not None:
        found.append("user")
    if request.parallel_tools is False:
        found.append("parallel_tool_calls")
    if is_marked(request):
        found.append("cache_control")
    if is_signed(request):
        found.append("signature")
    return found
