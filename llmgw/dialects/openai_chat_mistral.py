"""Chat completions as Mistral's SDKs read them.

They ask at the path of OpenAI's and differ in what they can read (their models of the wire, version 3):
a tool call comes whole in one piece of a stream, thoughts are parts of the content, and usage comes
unasked. Requests are read as OpenAI's are, which have Mistral's members too.
"""

from __future__ import annotations

import msgspec

from llmgw.core.chat import ChatAnswer, ChatRequest, Choice, Text, Thinking, ToolCall
from llmgw.core.events import (
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Delta,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
)
from llmgw.dialects.base import Dialect, StreamEncoder
from llmgw.dialects.openai_chat import OpenAIChat
from llmgw.dialects.openai_chat_answer import made_id, render_answer
from llmgw.dialects.openai_chat_encoder import Encoder
from llmgw.dialects.openai_chat_vendors import VENDORS

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode


class MistralChat(OpenAIChat):
    """always_counts: its own service always does."""

    __slots__ = ()

    always_counts = True

    def render_answer(self, answer: ChatAnswer) -> bytes:
        whole = render_answer(answer)
        contents = [_content(choice) for choice in answer.choices]
        if not any(contents):
            return whole
        body = _decode(whole)
        choices = body["choices"]
        assert isinstance(choices, list)
        for choice, content in zip(choices, contents, strict=True):
            if content is not None:
                message = choice["message"]
                message["content"] = content
                message.pop("reasoning_content", None)
                message.pop("reasoning_details", None)
        return _encode(body)

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        return MistralEncoder(request, model, include_usage=True)


def _content(choice: Choice) -> list[object] | None:
    """The content of a choice that has thoughts, None for text alone."""
    if not any(isinstance(part, Thinking) and part.text for part in choice.parts):
        return None
    content: list[object] = []
    for part in choice.parts:
        if isinstance(part, Thinking) and part.text:
            content.append(_thought(part.text, part.signature))
        elif isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
    return content


def _thought(text: str, signature: str | None = None) -> dict[str, object]:
    thought: dict[str, object] = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
    if signature is not None:
        thought["signature"] = signature
    return thought


class MistralEncoder(Encoder):
    """Implements `dialects.base.StreamEncoder`. A signature of thoughts is left out of streams."""

    __slots__ = ("_called", "_held", "_thoughts")

    def __init__(self, request: ChatRequest, model: str, include_usage: bool) -> None:
        super().__init__(request, model, include_usage)
        self._held: dict[tuple[int, int], tuple[ToolCall, list[str]]] = {}
        self._thoughts: set[tuple[int, int]] = set()
        self._called: dict[int, int] = {}

    def feed(self, event: ChatEvent) -> bytes:
        if self._over:
            return b""
        if isinstance(event, PartStarted | Delta | Signed | PartEnded):
            return self._part(event)
        if isinstance(event, ChoiceEnded | Finished):
            return b"".join(self._called_whole(*key) for key in list(self._held)) + super().feed(event)
        return super().feed(event)

    def _part(self, event: PartStarted | Delta | Signed | PartEnded) -> bytes:
        key = (event.choice, event.part)
        if isinstance(event, PartStarted):
            if event.kind == TOOL_CALL:
                self._held[key] = (ToolCall(event.call_id or made_id(), event.name or "", ""), [])
                return self._opened(event.choice)[1]
            if event.kind == THINKING:
                self._thoughts.add(key)
                return self._opened(event.choice)[1]
        elif key in self._held:
            if isinstance(event, PartEnded):
                return self._called_whole(*key)
            if isinstance(event, Delta):
                self._held[key][1].append(event.text)
            return b""
        elif key in self._thoughts:
            return self._thinking(event) if isinstance(event, Delta) else b""
        return b"" if isinstance(event, Signed) else super().feed(event)

    def _thinking(self, event: Delta) -> bytes:
        return self._chunk(event.choice, _encode({"content": [_thought(event.text)]})) if event.text else b""

    def _called_whole(self, choice: int, part: int) -> bytes:
        call, pieces = self._held.pop((choice, part))
        number = self._called.get(choice, 0)
        self._called[choice] = number + 1
        function = {"name": call.name, "arguments": "".join(pieces) or "{}"}
        said = {"index": number, "id": call.id, "type": "function", "function": function}
        return self._chunk(choice, _encode({"tool_calls": [said]}))


DIALECT: Dialect = MistralChat(VENDORS["mistral"])
