"""Whether an answer may be given again to whoever asks the same.

It must be whole and have ended by itself: every choice with a reason, none of them a filter or a
refusal, none that is only a turn of a longer exchange. Read as the client got it, whichever target
it came from.

A request is not kept an answer for when that depends on more than the request: on a conversation
that the provider keeps, or on tools that the provider runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import LENGTH, STOP, STOP_SEQUENCE, TOOL_CALLS, Refusal, ToolCall
from llmgw.core.events import REFUSED, TOOL_CALL, ChatEvent, ChoiceEnded, Failed, Finished, PartStarted
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import GEMINI, OLLAMA_GENERATE
from llmgw.dialects.registry import client_dialect, is_translated
from llmgw.wire.envelope import Envelope, EnvelopeError
from llmgw.wire.sse import SseSplitter, event_data

_WHOLE = frozenset({Operation.EMBEDDINGS, Operation.RERANK})
_TALKS = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSES})
_ENDS = frozenset({STOP, LENGTH, STOP_SEQUENCE})
_ELSEWHERE = (
    "background",
    "cachedContent",
    "cached_content",
    "container",
    "conversation",
    "data_sources",
    "mcp_servers",
    "plugins",
    "previous_response_id",
    "search_parameters",
    "web_search_options",
)
"""Members with which an answer depends on what the provider keeps or runs."""
_OWN_TOOLS = (None, "function", "custom")
_DECLARED = frozenset({"functionDeclarations", "function_declarations"})
_NOTHING = (b"null", b"false")
_EMPTY = (b"", b"null", b"[]", b"{}")


class _Choice(Struct):
    index: int = 0
    finish_reason: str | None = None


class _Results(Struct):
    """data: OpenAI's embeddings, and some rerankers' results; predictions: Vertex AI's embeddings."""

    error: object = None
    data: Raw = Raw()
    embedding: Raw = Raw()
    embeddings: Raw = Raw()
    predictions: Raw = Raw()
    results: Raw = Raw()


class _Completion(Struct):
    choices: list[_Choice] = []
    error: object = None


class _Generated(Struct):
    done: bool = False
    done_reason: str | None = None


_results = msgspec.json.Decoder(_Results).decode
_completion = msgspec.json.Decoder(_Completion).decode
_generated = msgspec.json.Decoder(_Generated).decode


def depends_on_itself(endpoint: Endpoint, envelope: Envelope) -> bool:
    """Whether the same request can be expected to mean the same later."""
    operation = endpoint.operation
    if operation in _WHOLE:
        return True
    if operation not in _TALKS:
        return False
    members = envelope.members
    if any(name in members and bytes(members[name]) not in _NOTHING for name in _ELSEWHERE):
        return False
    if operation is Operation.RESPONSES and bytes(members.get("prompt", b"null")) not in _NOTHING:
        # One that the provider keeps, which whoever wrote it may change.
        return False
    if "tools" not in members:
        return True
    try:
        tools = envelope.value("tools")
    except EnvelopeError:
        return False
    return tools is None or (isinstance(tools, list) and all(_is_own(endpoint, tool) for tool in tools))


def is_keepable(
    endpoint: Endpoint, body: bytes, *, streamed: bool, agent: bytes = b"", tool_calls: bool = False
) -> bool:
    """Whether an answer of status 200 may be kept. agent: the client's `user-agent`.

    tool_calls: whether one that calls the client's tools may.
    """
    try:
        if endpoint.operation in _WHOLE:
            return not streamed and _has_results(body)
        if endpoint.operation is Operation.COMPLETION:
            return _is_completion(body, streamed=streamed)
        if endpoint is OLLAMA_GENERATE:
            return _is_generated(body)
        if not is_translated(endpoint):
            return False
        dialect = client_dialect(endpoint, agent)
        ends = _ENDS | {TOOL_CALLS} if tool_calls else _ENDS
        if streamed:
            decoder = dialect.decoder()
            return _has_ended([*decoder.feed(body), *decoder.close()], ends)
        choices = dialect.parse_answer(body).choices
    except Exception:
        # Whatever an upstream says that no decoder has thought of, it is not kept.
        return False
    barred = (Refusal,) if tool_calls else (Refusal, ToolCall)
    return bool(choices) and all(
        choice.stop in ends and not any(isinstance(part, barred) for part in choice.parts)
        for choice in choices
    )


def _has_ended(events: Iterable[ChatEvent], ends: frozenset[str]) -> bool:
    finished = False
    begun: set[int] = set()
    ended: set[int] = set()
    for event in events:
        if isinstance(event, Failed):
            return False
        if isinstance(event, PartStarted):
            if event.kind == REFUSED or (event.kind == TOOL_CALL and TOOL_CALLS not in ends):
                return False
            begun.add(event.choice)
        elif isinstance(event, ChoiceEnded):
            if event.stop not in ends:
                return False
            ended.add(event.choice)
        elif isinstance(event, Finished):
            finished = True
    return finished and bool(ended) and begun <= ended


def _has_results(body: bytes) -> bool:
    """Embeddings, or documents in their order: some upstreams tell of errors with status 200."""
    answer = _results(body)
    found = (answer.data, answer.embedding, answer.embeddings, answer.predictions, answer.results)
    return answer.error is None and any(bytes(one) not in _EMPTY for one in found)


def _is_completion(body: bytes, *, streamed: bool) -> bool:
    """OpenAI's older completions, which are text and nothing else."""
    if not streamed:
        answer = _completion(body)
        if answer.error is not None:
            return False
        return bool(answer.choices) and all(choice.finish_reason in _ENDS for choice in answer.choices)
    reasons: dict[int, str | None] = {}
    done = False
    for raw in SseSplitter().feed(body):
        data = event_data(raw)
        if data is None:
            continue
        if data.strip() == b"[DONE]":
            done = True
            continue
        event = _completion(data)
        if event.error is not None:
            return False
        for choice in event.choices:
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    return done and bool(reasons) and all(reason in _ENDS for reason in reasons.values())


def _is_generated(body: bytes) -> bool:
    """Ollama's `/api/generate`, whole or as lines."""
    last = _generated(body.rstrip().rpartition(b"\n")[2])
    return last.done and last.done_reason in _ENDS


def _is_own(endpoint: Endpoint, tool: Any) -> bool:  # Any: a client's JSON
    """Whether the client runs it, so that it cannot change the answer."""
    if not isinstance(tool, dict):
        return False
    if endpoint.dialect == GEMINI:
        return tool.keys() <= _DECLARED
    return tool.get("type") in _OWN_TOOLS
