"""Where the text of a streamed answer stands in its events, for every dialect that clients read.

A reader is told each event as it is decoded. It says which strings go on from one event to the
next, which of those have come to their end, and how an event looks that carries the rest of one.
Whatever else an event says is whole in it.

A text ends where its dialect says so. Where it does not, thoughts end when the answer begins, and
both end when a tool is called.

Facts: the vendors' API references on streaming; Mistral's content may be a list of chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import ANTHROPIC, COHERE, GEMINI, OLLAMA

Event = dict[str, Any]  # Any: decoded JSON
Part = tuple[object, str, object]
"""The answer it belongs to, what it is, and which one of those."""


class Place(NamedTuple):
    """A string in an event. path: members and positions. is_json: it is a piece of JSON."""

    path: tuple[str | int, ...]
    part: Part
    is_json: bool = False


class Seen(NamedTuple):
    """What an event holds.

    ended: parts that do not go on after it. proofs: where signatures of parts stand.
    repeats: it says again what other events have said.
    """

    places: list[Place]
    ended: list[Part]
    proofs: list[Place]
    repeats: bool = False


class TextPlaces(Protocol):
    """Of one stream."""

    def read(self, event: Event) -> Seen:
        """What is in an event."""

    def parts(self) -> list[Part]:
        """Every part there has been."""

    def rest(self, part: Part, text: str) -> Event:
        """An event with no more than `text` of a part that there has been."""


class _Parts:
    """Remembers parts, with what a dialect needs to write one more event of them."""

    def __init__(self) -> None:
        self._parts: dict[Part, Any] = {}  # Any: what that is

    def parts(self) -> list[Part]:
        """Every part there has been."""
        return list(self._parts)

    def _of(self, answer: object, *kinds: str) -> list[Part]:
        """The parts of one answer, of some kinds or all."""
        return [part for part in self._parts if part[0] == answer and (not kinds or part[1] in kinds)]


_THOUGHTS = ("reasoning_content", "reasoning", "chunk", "detail")
_ANSWERS = ("content", "refusal")
_HEAD = ("id", "object", "created", "model", "system_fingerprint")


class _ChatPlaces(_Parts):
    """OpenAI's chat and completions, and what others add to it."""

    def __init__(self) -> None:
        super().__init__()
        self._head: Event = {}

    def read(self, event: Event) -> Seen:
        """What is in an event."""
        seen = Seen([], [], [])
        self._head = {name: event[name] for name in _HEAD if name in event}
        for at, choice in enumerate(_list(event.get("choices"))):
            answer = choice.get("index", at)
            found = [*_chat_places(choice, answer, ("choices", at))]
            seen.places.extend(found)
            self._parts.update((place.part, None) for place in found)
            kinds = {place.part[1] for place in found}
            if "call" in kinds:
                seen.ended.extend(self._of(answer, *_THOUGHTS, *_ANSWERS))
            elif kinds & set(_ANSWERS) and not kinds & set(_THOUGHTS):
                seen.ended.extend(self._of(answer, *_THOUGHTS))
            if choice.get("finish_reason") is not None:
                seen.ended.extend(self._of(answer))
            for index, detail in enumerate(_list(_dict(choice.get("delta")).get("reasoning_details"))):
                part = (answer, "detail", detail.get("index", index))
                path = ("choices", at, "delta", "reasoning_details", index, "signature")
                seen.proofs.append(Place(path, part))
        return seen

    def rest(self, part: Part, text: str) -> Event:
        """An event with the rest of a part."""
        answer, kind, index = part
        if kind == "text":
            choice: Event = {"index": answer, "text": text, "logprobs": None, "finish_reason": None}
        else:
            shapes: Mapping[str, Event] = {
                "chunk": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]},
                "detail": {"reasoning_details": [{"type": "reasoning.text", "text": text, "index": index}]},
                "call": {"tool_calls": [{"index": index, "function": {"arguments": text}}]},
                "function": {"function_call": {"arguments": text}},
                "audio": {"audio": {"transcript": text}},
            }
            choice = {"index": answer, "delta": shapes.get(kind, {kind: text}), "finish_reason": None}
        return {**self._head, "choices": [choice]}


def _chat_places(choice: Event, answer: object, path: tuple[str | int, ...]) -> Iterator[Place]:
    """The places of one choice that have text."""
    if choice.get("text"):
        yield Place((*path, "text"), (answer, "text", 0))
    delta = _dict(choice.get("delta"))
    path = (*path, "delta")
    for name in ("reasoning_content", "reasoning", "content", "refusal"):
        if delta.get(name) and isinstance(delta[name], str):
            yield Place((*path, name), (answer, name, 0))
    for at, chunk in enumerate(_list(delta.get("content"))):
        if chunk.get("text"):
            yield Place((*path, "content", at, "text"), (answer, "content", 0))
        for inner, thought in enumerate(_list(chunk.get("thinking"))):
            if thought.get("text"):
                yield Place((*path, "content", at, "thinking", inner, "text"), (answer, "chunk", 0))
    for at, detail in enumerate(_list(delta.get("reasoning_details"))):
        for name in ("text", "summary"):
            if detail.get(name):
                part = (answer, "detail", detail.get("index", at))
                yield Place((*path, "reasoning_details", at, name), part)
    for at, call in enumerate(_list(delta.get("tool_calls"))):
        if _dict(call.get("function")).get("arguments"):
            part = (answer, "call", call.get("index", at))
            yield Place((*path, "tool_calls", at, "function", "arguments"), part, is_json=True)
    if _dict(delta.get("function_call")).get("arguments"):
        yield Place((*path, "function_call", "arguments"), (answer, "function", 0), is_json=True)
    if _dict(delta.get("audio")).get("transcript"):
        yield Place((*path, "audio", "transcript"), (answer, "audio", 0))


_ITEM_ENDS = frozenset(
    {"response.output_item.done", "response.content_part.done", "response.reasoning_summary_part.done"}
)
_RESPONSE_ENDS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "error", "transcript.text.done"}
)


class _ResponsesPlaces(_Parts):
    """OpenAI's responses, and transcripts: events of type `*.delta` and `*.done`."""

    def read(self, event: Event) -> Seen:
        """What is in an event."""
        kind = str(event.get("type"))
        seen = Seen([], [], [], repeats=kind.endswith(".done") or kind in _RESPONSE_ENDS)
        answer = event.get("output_index")
        if kind.endswith(".delta") and event.get("delta") and not kind.endswith("audio.delta"):
            part = (answer, kind, event.get("content_index", event.get("summary_index")))
            left_out = ("delta", "logprobs", "obfuscation")
            self._parts[part] = {name: value for name, value in event.items() if name not in left_out}
            seen.places.append(Place(("delta",), part, is_json="arguments" in kind))
        elif kind in _RESPONSE_ENDS:
            seen.ended.extend(self._parts)
        elif kind in _ITEM_ENDS:
            seen.ended.extend(self._of(answer))
        elif kind.endswith(".done"):
            seen.ended.extend(self._of(answer, f"{kind.removesuffix('done')}delta"))
        return seen

    def rest(self, part: Part, text: str) -> Event:
        """An event with the rest of a part."""
        return {**self._parts[part], "delta": text}


class _AnthropicPlaces(_Parts):
    """Anthropic's messages: blocks, one after the other."""

    def read(self, event: Event) -> Seen:
        """What is in an event."""
        seen = Seen([], [], [])
        kind = event.get("type")
        block = event.get("index")
        if kind == "content_block_delta":
            delta = _dict(event.get("delta"))
            if delta.get("type") == "signature_delta":
                seen.ended.extend(self._of(block))
                seen.proofs.append(Place(("delta", "signature"), (block, "thinking", 0)))
                return seen
            for name, value in delta.items():
                if name != "type" and isinstance(value, str) and value:
                    part = (block, name, 0)
                    self._parts[part] = delta.get("type")
                    seen.places.append(Place(("delta", name), part, is_json=name == "partial_json"))
        elif kind == "content_block_stop":
            seen.ended.extend(self._of(block))
        elif kind in ("message_delta", "message_stop", "error"):
            seen.ended.extend(self._parts)
        return seen

    def rest(self, part: Part, text: str) -> Event:
        """An event with the rest of a part."""
        delta = {"type": self._parts[part], part[1]: text}
        return {"type": "content_block_delta", "index": part[0], "delta": delta}


class _GeminiPlaces(_Parts):
    """Gemini's: each event is an answer of its own, with more parts."""

    def __init__(self) -> None:
        super().__init__()
        self._head: Event = {}

    def read(self, event: Event) -> Seen:
        """What is in an event."""
        seen = Seen([], [], [])
        self._head = {name: event[name] for name in ("modelVersion", "responseId") if name in event}
        for at, candidate in enumerate(_list(event.get("candidates"))):
            answer = candidate.get("index", 0)
            kinds = set()
            for index, part in enumerate(_list(_dict(candidate.get("content")).get("parts"))):
                path = ("candidates", at, "content", "parts", index)
                if not isinstance(part.get("text"), str):
                    kinds.add("call")
                    continue
                kind = "thought" if part.get("thought") is True else "text"
                kinds.add(kind)
                seen.proofs.extend(
                    Place((*path, name), (answer, "thought", 0))
                    for name in ("thoughtSignature", "thought_signature")
                    if kind == "thought" and name in part
                )
                if part["text"]:
                    self._parts[answer, kind, 0] = None
                    seen.places.append(Place((*path, "text"), (answer, kind, 0)))
            if "call" in kinds or candidate.get("finishReason") is not None:
                seen.ended.extend(self._of(answer))
            elif "text" in kinds and "thought" not in kinds:
                seen.ended.extend(self._of(answer, "thought"))
        return seen

    def rest(self, part: Part, text: str) -> Event:
        """An event with the rest of a part."""
        said: Event = {"text": text, "thought": True} if part[1] == "thought" else {"text": text}
        content = {"role": "model", "parts": [said]}
        return {"candidates": [{"content": content, "index": part[0]}], **self._head}


class _OllamaPlaces(_Parts):
    """Ollama's chat and generate."""

    def __init__(self) -> None:
        super().__init__()
        self._head: Event = {}

    def read(self, event: Event) -> Seen:
        """What is in an event."""
        seen = Seen([], [], [])
        self._head = {name: event[name] for name in ("model", "created_at") if name in event}
        message = _dict(event.get("message"))
        for outer, name, holder in (
            (("message",), "content", message),
            (("message",), "thinking", message),
            ((), "response", event),
            ((), "thinking", event),
        ):
            if holder.get(name) and isinstance(holder[name], str):
                part = (outer, name, 0)
                self._parts[part] = None
                seen.places.append(Place((*outer, name), part))
        if event.get("done") or message.get("tool_calls"):
            seen.ended.extend(self._parts)
        elif any(place.part[1] != "thinking" for place in seen.places):
            seen.ended.extend(part for part in self._parts if part[1] == "thinking")
        return seen

    def rest(self, part: Part, text: str) -> Event:
        """An event with the rest of a part."""
        said: Event = {"role": "assistant", "content": ""} | {part[1]: text}
        return {
            **self._head,
            **({"message": said} if part[0] else {"response": "", part[1]: text}),
            "done": False,
        }


class _CoherePlaces(_Parts):
    """Cohere's chat, second version."""

    def read(self, event: Event) -> Seen:
        """What is in an event."""
        seen = Seen([], [], [])
        kind = str(event.get("type"))
        index = event.get("index", 0)
        message = _dict(_dict(event.get("delta")).get("message"))
        path: tuple[str | int, ...] = ("delta", "message")
        if kind == "content-delta":
            content = _dict(message.get("content"))
            for name in ("text", "thinking"):
                if content.get(name):
                    seen.places.append(Place((*path, "content", name), (index, name, kind)))
        elif kind == "tool-plan-delta" and message.get("tool_plan"):
            seen.places.append(Place((*path, "tool_plan"), (index, "tool_plan", kind)))
        elif kind == "tool-call-delta":
            if _dict(_dict(message.get("tool_calls")).get("function")).get("arguments"):
                inside = (*path, "tool_calls", "function", "arguments")
                seen.places.append(Place(inside, (index, "arguments", kind), is_json=True))
        elif kind in ("content-end", "tool-call-end"):
            seen.ended.extend(part for part in self._of(index) if part[2] == kind.replace("end", "delta"))
        elif kind in ("tool-call-start", "content-start"):
            seen.ended.extend(part for part in self._parts if part[1] == "tool_plan")
        elif kind == "message-end":
            seen.ended.extend(self._parts)
        self._parts.update((place.part, None) for place in seen.places)
        return seen

    def rest(self, part: Part, text: str) -> Event:
        """An event with the rest of a part."""
        index, name, kind = part
        shapes: Mapping[str, Event] = {
            "tool_plan": {"tool_plan": text},
            "arguments": {"tool_calls": {"function": {"arguments": text}}},
        }
        message = shapes.get(name, {"content": {name: text}})
        return {"type": kind, "index": index, "delta": {"message": message}}


def text_places(endpoint: Endpoint) -> TextPlaces:
    """The reader of a stream to a client of an endpoint."""
    made = _READERS.get(endpoint.dialect)
    if made is not None:
        return made()
    if endpoint.operation in (Operation.CHAT, Operation.COMPLETION):
        return _ChatPlaces()
    return _ResponsesPlaces()


_READERS: Mapping[str, type[_AnthropicPlaces | _GeminiPlaces | _OllamaPlaces | _CoherePlaces]] = {
    ANTHROPIC: _AnthropicPlaces,
    GEMINI: _GeminiPlaces,
    OLLAMA: _OllamaPlaces,
    COHERE: _CoherePlaces,
}


def _dict(value: object) -> Event:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Event]:
    """The objects of a list; one that is no object counts as an empty one."""
    return [_dict(one) for one in value] if isinstance(value, list) else []
