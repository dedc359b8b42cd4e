"""A request's members that have no field of ours, when Gemini is to have them.

`extra` names Gemini's own by their path (`tools.googleSearch`); those go back to their places. Other
dialects' are told as dropped, or refused when the answer would not be what was asked for without them.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from llmgw.dialects.gemini_parts import Wire
from llmgw.dialects.unsaid import lost

_OURS = frozenset({"safetySettings", "cachedContent", "labels", "serviceTier", "modelArmorConfig"})
_GROUPS = ("generationConfig.", "toolConfig.", "tools.")
_WRITTEN = frozenset(
    {
        "functionDeclarations",
        "functionCallingConfig",
        "allowedFunctionNames",
        "candidateCount",
        "maxOutputTokens",
        "temperature",
        "topP",
        "topK",
        "stopSequences",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "responseMimeType",
        "responseJsonSchema",
        "responseSchema",
        "thinkingConfig",
    }
)


def put_back(extra: Mapping[str, str], body: Wire) -> list[str]:
    """Add to `body` what is Gemini's. Returns the names of what is dropped.

    Raises UnsupportedOperation for structure that Gemini lacks.
    """
    dropped = []
    for name, value in extra.items():
        if name in _OURS:
            body[name] = Raw(value.encode())
        elif name.startswith(_GROUPS):
            if not _put_back(body, name.split("."), Raw(value.encode())):
                dropped.append(name)
        else:
            dropped += lost(name, value)
    return dropped


def _put_back(body: Wire, path: list[str], value: Raw) -> bool:
    """Set a member by its path, unless it is one that is written from our own fields."""
    *parents, name = path
    if name in _WRITTEN or any("_" in step for step in path):
        # Google would take `candidate_count` for the member that is ours.
        return False
    if parents == ["tools"]:
        tools = body.setdefault("tools", [])
        if isinstance(tools, list):
            tools.append({name: value})
        return True
    for parent in parents:
        inner = body.setdefault(parent, {})
        if not isinstance(inner, dict):
            return False
        body = inner
    body[name] = value
    return True
