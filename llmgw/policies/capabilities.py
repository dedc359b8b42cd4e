"""Refuses what a model is configured not to take: pictures, tools, or a schema for its answer.

Stands in a plan only where `models.*.facts` says `false` of one of them. A body is parsed only when it has
a word that such a request must have. Fallbacks are held to the facts of the model that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmgw.core.chat import ChatRequest, Image, ToolResult
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.exchange import Exchange
from llmgw.core.facts import ModelFacts
from llmgw.core.operation import BodyKind
from llmgw.dialects.registry import client_dialect, is_translated

_WORDS = {
    "images": (b'"image', b'"input_image', b'"inlineData', b'"inline_data', b'"fileData', b'"file_data'),
    "tools": (b'"tools"',),
    "json_schema": (b"chema", b'"format"'),
}
"""In the body of whatever dialect asks for it."""
_NEEDS = {
    "images": "does not take images",
    "tools": "does not take tools",
    "json_schema": "cannot be held to a JSON schema",
}


class Capabilities:
    """Implements `ports.policy.Policy` for one model."""

    def __init__(self, model: str, facts: ModelFacts) -> None:
        self._model = model
        self._lacks = tuple(name for name in _NEEDS if getattr(facts, name) is False)

    def admit(self, ex: Exchange) -> None:
        """Raises UnsupportedOperation, and InvalidRequest for a body that cannot be read."""
        if ex.endpoint.body is not BodyKind.JSON or not is_translated(ex.endpoint):
            return
        suspected = [name for name in self._lacks if any(word in ex.body for word in _WORDS[name])]
        if not suspected:
            return
        request = client_dialect(ex.endpoint).parse_request(ex.body, ex.model or "", ex.streamed)
        for name, param in _needs_of(request):
            if name in suspected:
                raise UnsupportedOperation(f"model '{self._model[:128]}' {_NEEDS[name]}", param=param)


def _needs_of(request: ChatRequest) -> Iterator[tuple[str, str]]:
    """What a request needs of a model, and the member that asks for it."""
    for message in request.messages:
        for part in message.parts:
            inner = part.parts if isinstance(part, ToolResult) else (part,)
            if any(isinstance(one, Image) for one in inner):
                yield "images", "messages"
    if request.tools:
        yield "tools", "tools"
    if request.format is not None and request.format.schema is not None:
        yield "json_schema", "response_format"
