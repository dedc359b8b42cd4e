"""Which answers may be given again, in each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    PAUSE,
    REFUSAL,
    STOP,
    TOOL_CALLS,
    ChatAnswer,
    ChatRequest,
    Choice,
    Message,
    Refusal,
    Text,
    ToolCall,
)
from llmgw.core.events import (
    REFUSED,
    TEXT,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Started,
)
from llmgw.core.operation import Endpoint
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import (
    CHAT_COMPLETIONS,
    COHERE_CHAT,
    ENDPOINTS,
    GENERATE,
    MESSAGES,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    STREAM_ARRAY,
    STREAM_GENERATE,
)
from llmgw.dialects.keepable import depends_on_itself, is_keepable
from llmgw.dialects.registry import client_dialect
from llmgw.wire.envelope import Envelope

RESPONSES = ENDPOINTS["/v1/responses"]
COMPLETIONS = ENDPOINTS["/v1/completions"]
EMBEDDINGS = ENDPOINTS["/v1/embeddings"]
TALKS = [CHAT_COMPLETIONS, RESPONSES, MESSAGES, GENERATE, OLLAMA_CHAT, OLLAMA_GENERATE, COHERE_CHAT]
CALLERS = [CHAT_COMPLETIONS, RESPONSES, MESSAGES, GENERATE, OLLAMA_CHAT, COHERE_CHAT]
"""Dialects in which tools are called."""


def name(endpoint: Endpoint) -> str:
    return endpoint.path


def answer(endpoint: Endpoint, *parts: Any, stop: str | None = STOP) -> bytes:
    said = ChatAnswer(id="x", model="m", choices=(Choice(parts or (Text("hi"),), stop),), usage=Usage(1, 1))
    return client_dialect(endpoint).render_answer(said)


def stream(endpoint: Endpoint, kind: str = TEXT, stop: str = STOP, *, whole: bool = True) -> bytes:
    """A stream as a client of the dialect gets it. whole: it came to its end."""
    asked = ChatRequest(model="m", messages=(Message("user", (Text("hi"),)),), stream=True)
    encoder = client_dialect(endpoint).encoder(asked, "m", False)
    events: list[ChatEvent] = [
        Started("x", "m"),
        PartStarted(0, 0, kind, "call_1" if kind == TOOL_CALL else None, "f" if kind == TOOL_CALL else None),
        Delta(0, 0, "{}" if kind == TOOL_CALL else "hi"),
    ]
    if whole:
        events += [PartEnded(0, 0), ChoiceEnded(0, stop), Counted(Usage(1, 1)), Finished()]
    return b"".join(encoder.feed(event) for event in events)


def streamed(endpoint: Endpoint) -> Endpoint:
    return STREAM_GENERATE if endpoint is GENERATE else endpoint


@pytest.mark.parametrize("endpoint", TALKS, ids=name)
@pytest.mark.parametrize("stop", [STOP, LENGTH])
def test_an_answer_that_ended_by_itself(endpoint: Endpoint, stop: str) -> None:
    assert is_keepable(endpoint, answer(endpoint, stop=stop), streamed=False)
    assert is_keepable(streamed(endpoint), stream(endpoint, stop=stop), streamed=True)


@pytest.mark.parametrize("endpoint", TALKS, ids=name)
def test_i07_a_partial_stream(endpoint: Endpoint) -> None:
    """Wherever it was cut."""
    assert not is_keepable(streamed(endpoint), stream(endpoint, whole=False), streamed=True)
    every = stream(endpoint)
    ending = every.rindex(b"\n", 0, len(every.rstrip()) - 1)
    assert not is_keepable(streamed(endpoint), every[: ending // 2], streamed=True)
    assert not is_keepable(streamed(endpoint), b"", streamed=True)


def test_a_stream_that_is_one_array() -> None:
    every = stream(STREAM_ARRAY)

    assert is_keepable(STREAM_ARRAY, every, streamed=True)
    assert not is_keepable(STREAM_ARRAY, stream(STREAM_ARRAY, whole=False), streamed=True)
    assert not is_keepable(STREAM_ARRAY, every[: len(every) // 2], streamed=True)


@pytest.mark.parametrize("endpoint", CALLERS, ids=name)
def test_i07_a_tool_call_is_kept_only_where_that_is_wanted(endpoint: Endpoint) -> None:
    calls = answer(endpoint, ToolCall("call_1", "f", "{}"), stop=TOOL_CALLS)
    called = stream(endpoint, TOOL_CALL, TOOL_CALLS)

    assert not is_keepable(endpoint, calls, streamed=False)
    assert not is_keepable(streamed(endpoint), called, streamed=True)
    assert is_keepable(endpoint, calls, streamed=False, tool_calls=True)
    assert is_keepable(streamed(endpoint), called, streamed=True, tool_calls=True)


@pytest.mark.parametrize("endpoint", [CHAT_COMPLETIONS, RESPONSES, MESSAGES, GENERATE], ids=name)
@pytest.mark.parametrize("stop", [CONTENT_FILTER, REFUSAL])
def test_i07_what_a_filter_stopped(endpoint: Endpoint, stop: str) -> None:
    assert not is_keepable(endpoint, answer(endpoint, stop=stop), streamed=False, tool_calls=True)
    ended = stream(endpoint, stop=stop)
    assert not is_keepable(streamed(endpoint), ended, streamed=True, tool_calls=True)


@pytest.mark.parametrize("endpoint", [CHAT_COMPLETIONS, RESPONSES], ids=name)
def test_i07_a_refusal_in_words(endpoint: Endpoint) -> None:
    refused = answer(endpoint, Refusal("I will not."))
    assert not is_keepable(endpoint, refused, streamed=False)
    assert not is_keepable(endpoint, stream(endpoint, REFUSED), streamed=True)


def test_i07_a_turn_that_the_provider_only_paused() -> None:
    assert not is_keepable(MESSAGES, answer(MESSAGES, stop=PAUSE), streamed=False)


@pytest.mark.parametrize("endpoint", TALKS, ids=name)
@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]", b"not JSON", b'{"error":{"message":"x"}}'])
def test_i07_what_is_no_answer(endpoint: Endpoint, body: bytes) -> None:
    assert not is_keepable(endpoint, body, streamed=False)
    assert not is_keepable(streamed(endpoint), b"data: " + body + b"\n\n", streamed=True)


def test_i07_an_answer_without_a_reason_for_its_end() -> None:
    body = json.loads(answer(CHAT_COMPLETIONS))
    body["choices"][0]["finish_reason"] = None

    assert not is_keepable(CHAT_COMPLETIONS, json.dumps(body).encode(), streamed=False)


def test_i07_one_choice_of_two_that_did_not_end() -> None:
    body = json.loads(answer(CHAT_COMPLETIONS))
    body["choices"].append({"index": 1, "message": {"role": "assistant", "content": "x"}})

    assert not is_keepable(CHAT_COMPLETIONS, json.dumps(body).encode(), streamed=False)


@pytest.mark.parametrize("endpoint", [CHAT_COMPLETIONS, MESSAGES, RESPONSES], ids=name)
def test_i07_a_stream_that_ended_in_an_error(endpoint: Endpoint) -> None:
    from llmgw.core.errors import UpstreamBroken

    asked = ChatRequest(model="m", messages=(), stream=True)
    encoder = client_dialect(endpoint).encoder(asked, "m", False)
    begun = encoder.feed(Started("x", "m")) + encoder.feed(PartStarted(0, 0, TEXT))
    broken = begun + encoder.fail(UpstreamBroken("it broke", phase="body"))

    assert not is_keepable(endpoint, broken, streamed=True)
    failed = begun + encoder.feed(Failed("server", "x"))
    assert not is_keepable(endpoint, failed, streamed=True)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}, True),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": "length"}]}, True),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": "content_filter"}]}, False),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": None}]}, False),
        ({"choices": []}, False),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}], "error": {"code": 1}}, False),
    ],
)
def test_completions(body: dict[str, object], kept: bool) -> None:
    text = json.dumps(body).encode()

    assert is_keepable(COMPLETIONS, text, streamed=False) is kept
    assert is_keepable(COMPLETIONS, b"data: " + text + b"\n\ndata: [DONE]\n\n", streamed=True) is kept
    assert not is_keepable(COMPLETIONS, b"data: " + text + b"\n\n", streamed=True)


def test_vectors_have_no_reason_to_end() -> None:
    assert is_keepable(EMBEDDINGS, b'{"data":[{"embedding":[0.5]}]}', streamed=False)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed", "/v1/rerank"])
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'{"error":{"message":"busy"}}',
        b'{"data":[],"results":[]}',
        b'{"embeddings":null}',
        b'{"error":"busy","data":[{"embedding":[0.5]}],"results":[{"index":0}],"embeddings":[[0.5]]}',
    ],
)
def test_i07_vectors_that_are_none(path: str, body: bytes) -> None:
    """Some upstreams tell of an error with status 200."""
    assert not is_keepable(ENDPOINTS[path], body, streamed=False)


@pytest.mark.parametrize(
    "path",
    ["/v1/images/generations", "/v1/audio/speech", "/v1/moderations", "/v1/audio/transcriptions"],
)
def test_other_operations_are_left_alone(path: str) -> None:
    assert not depends_on_itself(ENDPOINTS[path], Envelope(b'{"model":"m"}'))
    assert not is_keepable(ENDPOINTS[path], b"{}", streamed=False)


@pytest.mark.parametrize(
    ("endpoint", "body", "alone"),
    [
        (CHAT_COMPLETIONS, {"model": "m"}, True),
        (CHAT_COMPLETIONS, {"tools": [{"type": "function", "function": {"name": "f"}}]}, True),
        (CHAT_COMPLETIONS, {"tools": None}, True),
        (CHAT_COMPLETIONS, {"tools": "x"}, False),
        (CHAT_COMPLETIONS, {"tools": [1]}, False),
        (CHAT_COMPLETIONS, {"tools": [{"type": ["function"]}]}, False),
        (CHAT_COMPLETIONS, {"web_search_options": {}}, False),
        (CHAT_COMPLETIONS, {"data_sources": [{"type": "azure_search"}]}, False),
        (CHAT_COMPLETIONS, {"search_parameters": {"mode": "auto"}}, False),
        (CHAT_COMPLETIONS, {"plugins": [{"id": "web"}]}, False),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}, False),
        (COMPLETIONS, {"prompt": "x"}, True),
        (RESPONSES, {"tools": [{"type": "web_search"}]}, False),
        (RESPONSES, {"tools": [{"type": "mcp", "server_url": "x"}]}, False),
        (RESPONSES, {"previous_response_id": "resp_1"}, False),
        (RESPONSES, {"previous_response_id": None, "background": False}, True),
        (RESPONSES, {"conversation": "conv_1"}, False),
        (RESPONSES, {"background": True}, False),
        (MESSAGES, {"tools": [{"name": "f", "input_schema": {}}]}, True),
        (MESSAGES, {"tools": [{"type": "custom", "name": "f", "input_schema": {}}]}, True),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, False),
        (MESSAGES, {"mcp_servers": [{"url": "x"}]}, False),
        (MESSAGES, {"container": "c"}, False),
        (GENERATE, {"tools": [{"functionDeclarations": []}]}, True),
        (GENERATE, {"tools": [{"googleSearch": {}}]}, False),
        (GENERATE, {"cachedContent": "cachedContents/1"}, False),
        (EMBEDDINGS, {"input": "x"}, True),
    ],
)
def test_requests_that_depend_on_more_than_themselves(
    endpoint: Endpoint, body: dict[str, object], alone: bool
) -> None:
    """On what the provider keeps, or on tools that it runs."""
    assert depends_on_itself(endpoint, Envelope(json.dumps(body).encode())) is alone
