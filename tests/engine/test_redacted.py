"""Streams to clients, redacted whatever way they come."""

from __future__ import annotations

import json
import random
from typing import Any, cast

import pytest

from llmgw.core.errors import RedactionFailed
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS, STREAM_ARRAY, STREAM_GENERATE
from llmgw.engine.redacted import RedactedEvents, RedactedTap, RedactedText
from llmgw.policies.redact import Redaction
from llmgw.redaction.kinds import KINDS
from tests.journeys.test_redaction import SAID, STREAMS, TOLD, clean, strings

ALL = {
    "chat": (CHAT_COMPLETIONS, STREAMS["/v1/chat/completions"][1]),
    "messages": (ENDPOINTS["/v1/messages"], STREAMS["/v1/messages"][1]),
    "responses": (ENDPOINTS["/v1/responses"], STREAMS["/v1/responses"][1]),
    "gemini": (STREAM_GENERATE, STREAMS["/v1beta/models/google:streamGenerateContent"][1]),
    "gemini array": (STREAM_ARRAY, STREAMS["/v1beta/models/google:streamGenerateContent"][1]),
    "ollama": (ENDPOINTS["/api/chat"], STREAMS["/api/chat"][1]),
    "cohere": (ENDPOINTS["/v2/chat"], STREAMS["/v2/chat"][1]),
}


def exchange(endpoint: Endpoint) -> Exchange:
    return Exchange("r", endpoint, {}, b"", None, 0.0, 0.0, "g")


def written(endpoint: Endpoint, events: list[Any]) -> bytes:
    """A stream as a provider's answer reaches the client."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in events]
    if endpoint is STREAM_ARRAY:
        return ("[" + "\n,\r\n".join(texts) + "\n]").encode()
    if endpoint.dialect == "ollama":
        return "".join(f"{text}\n" for text in texts).encode()
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def redacted(endpoint: Endpoint, pieces: list[bytes]) -> bytes:
    stream = RedactedEvents(Redaction([], KINDS), exchange(endpoint))
    return b"".join([*map(stream.feed, pieces), stream.close()])


def read(endpoint: Endpoint, data: bytes) -> list[Any]:
    if endpoint is STREAM_ARRAY:
        found: list[Any] = json.loads(data)
        return found
    lines = [line.removeprefix(b"data: ") for line in data.splitlines() if line not in (b"", b"data: [DONE]")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ALL)
def test_k06_however_the_bytes_are_cut(name: str) -> None:
    """The bytes are the same, they are well formed, and no value is in them."""
    endpoint, events = ALL[name]
    data = written(endpoint, events)
    whole = redacted(endpoint, [data])

    for seed in range(20):
        rng, at, pieces = random.Random(seed), 0, []
        while at < len(data):
            size = rng.choice([1, 2, 7, 50, 400])
            pieces.append(data[at : at + size])
            at += size
        assert redacted(endpoint, pieces) == whole, seed
    assert clean(whole)
    assert len(read(endpoint, whole)) >= len([one for one in events if one != "[DONE]"])


@pytest.mark.parametrize("name", ALL)
def test_k06_however_a_text_is_cut_into_events(name: str) -> None:
    """The text that a client puts together is the same."""
    endpoint, _ = ALL[name]
    for seed in range(30):
        rng, at, pieces = random.Random(seed), 0, []
        while at < len(SAID):
            size = rng.choice([1, 2, 3, 8, 40])
            pieces.append(SAID[at : at + size])
            at += size
        events, member = spoken(name, pieces)

        each = [events] if name == "gemini array" else [[one] for one in events]
        told = read(endpoint, redacted(endpoint, [written(endpoint, some) for some in each]))

        assert "".join(strings(told, member)) == TOLD, seed


def spoken(name: str, pieces: list[str]) -> tuple[list[Any], str]:
    """The events of a text, and the member that it is in."""
    if name == "chat":
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return [*({"choices": [{"index": 0, "delta": {"content": one}}]} for one in pieces), end], "content"
    if name == "messages":
        delta = {"type": "content_block_delta", "index": 0}
        end = {"type": "content_block_stop", "index": 0}
        return [*({**delta, "delta": {"type": "text_delta", "text": one}} for one in pieces), end], "text"
    if name == "responses":
        kind = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
        end = {"type": "response.output_text.done", "output_index": 0, "content_index": 0}
        return [*({**kind, "delta": one} for one in pieces), end], "delta"
    if name.startswith("gemini"):
        events = [{"candidates": [{"content": {"parts": [{"text": one}]}}]} for one in pieces]
        return [*events, {"candidates": [{"finishReason": "STOP"}]}], "text"
    if name == "ollama":
        return [*({"message": {"content": one}, "done": False} for one in pieces), {"done": True}], "content"
    kinds = {"type": "content-delta", "index": 0}
    end = {"type": "content-end", "index": 0}
    return [*({**kinds, "delta": {"message": {"content": {"text": one}}}} for one in pieces), end], "text"


@pytest.mark.parametrize("name", ALL)
def test_a_text_that_the_end_of_the_stream_ends(name: str) -> None:
    """What was held back is told, in the dialect's own form."""
    endpoint, _ = ALL[name]
    events, member = spoken(name, ["to bob@exam", "ple.com"])
    data = written(endpoint, events[:-1])
    if name == "gemini array":
        data = data.removesuffix(b"]")

    told = redacted(endpoint, [data])

    if name == "gemini array":
        told += b"]"
    assert "".join(strings(read(endpoint, told), member)) == "to [EMAIL]"


@pytest.mark.parametrize("name", ALL)
def test_what_was_said_before_an_error_is_told_before_it(name: str) -> None:
    """A reader stops at the error, and would lose what comes behind it."""
    endpoint, _ = ALL[name]
    events, member = spoken(name, ["to bob@exam", "ple.com"])
    error: dict[str, Any] = {"error": {"message": "busy"}}
    if name in ("messages", "responses"):
        error["type"] = "error"

    told = read(endpoint, redacted(endpoint, [written(endpoint, [*events[:-1], error])]))

    assert "error" in told[-1]
    assert "".join(strings(told[:-1], member)) == "to [EMAIL]"


def test_an_event_that_was_cut_off_is_not_told() -> None:
    whole = b'data: {"choices": [{"index": 0, "delta": {"content": "hi "}}]}\n\n'
    data = whole + whole[:40]

    assert redacted(CHAT_COMPLETIONS, [data]).count(b"data:") == 1


def test_an_event_that_was_not_closed_but_is_whole_is_told() -> None:
    data = b'data: {"choices": [{"index": 0, "delta": {"content": "hi bob@example.com"}}]}'

    assert [*strings(read(CHAT_COMPLETIONS, redacted(CHAT_COMPLETIONS, [data])), "content")] == [
        "hi ",
        "[EMAIL]",
    ]


def test_comments_and_events_without_a_text_keep_their_bytes() -> None:
    numbers = b'data: {"x" : 1.50, "big": 123456789012345678901}\n\n'
    data = b": ping\n\nid: 7\nretry: 5\r\n\r\n" + numbers + b"data: [DONE]\n\n"

    assert redacted(CHAT_COMPLETIONS, [data]) == data


def test_answers_side_by_side_do_not_mix() -> None:
    """Each choice has its own text, and a value within one is found though another speaks between."""
    events = []
    for first, second in (("to bob", "call +49 151"), ("@example.com", " 1234 5678"), (" now", " now")):
        events.append(
            {
                "choices": [
                    {"index": 0, "delta": {"content": first}},
                    {"index": 1, "delta": {"content": second}},
                ]
            }
        )
    events += [{"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]} for index in (1, 0)]
    told = read(CHAT_COMPLETIONS, redacted(CHAT_COMPLETIONS, [written(CHAT_COMPLETIONS, events)]))

    texts: dict[int, str] = {0: "", 1: ""}
    for event in told:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")

    assert texts == {0: "to [EMAIL] now", 1: "call [PHONE] now"}


def test_a_tool_called_amid_a_text_ends_it() -> None:
    """What was held back comes before the call."""
    events = [
        {"choices": [{"index": 0, "delta": {"content": "I ask bob@example.com"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]},
    ]

    told = read(CHAT_COMPLETIONS, redacted(CHAT_COMPLETIONS, [written(CHAT_COMPLETIONS, events)]))

    assert [[*one["choices"][0]["delta"]] for one in told] == [["content"], ["content"], ["tool_calls"]]
    assert "".join(strings(told, "content")) == "I ask [EMAIL]"


@pytest.mark.parametrize("blocks", [True, False])
def test_an_end_that_cannot_be_redacted(blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not told, so the stream does not look complete."""

    class Inner:
        done = True

        def feed(self, chunk: bytes) -> bytes:
            return chunk

        def rest(self) -> bytes:
            return b'data: {"x": "bob@example.com"}\n\n'

    def breaks(*_: object, **__: object) -> str:
        raise ValueError

    tap = RedactedTap(cast("Any", Inner()), Redaction([], KINDS, blocks=blocks), exchange(CHAT_COMPLETIONS))
    monkeypatch.setattr("llmgw.engine.redacted.rewritten", breaks)

    told = tap.rest()

    assert (told == b"", tap.done) == ((True, False) if blocks else (False, True))


def test_what_is_no_json_is_a_text() -> None:
    assert redacted(CHAT_COMPLETIONS, [b"data: sorry, bob@example.com\n\n"]) == b"data: sorry, [EMAIL]\n\n"


def test_what_repeats_is_counted_once() -> None:
    """A response says at its end all that it has said."""
    endpoint, events = ALL["responses"]
    ex = exchange(endpoint)
    stream = RedactedEvents(Redaction([], ["email"]), ex)

    stream.feed(written(endpoint, events))

    assert ex.redactions == {("response", "email"): 2}


@pytest.mark.parametrize("blocks", [True, False])
def test_an_event_without_end(blocks: bool) -> None:
    """It is refused, or goes on with what was held back of the others."""
    stream = RedactedEvents(Redaction([], KINDS, blocks=blocks), exchange(CHAT_COMPLETIONS))
    stream.feed(b'data: {"choices": [{"index": 0, "delta": {"content": "bob"}}]}\n\n')
    endless = b"data: " + b"x" * 2_000_000

    if blocks:
        with pytest.raises(RedactionFailed):
            stream.feed(endless)
    else:
        told = stream.feed(endless)
        assert b'"content":"bob"' in told
        assert told.endswith(endless)
        assert stream.feed(b"more") == b"more"


def test_a_plain_text_cut_within_a_character() -> None:
    stream = RedactedText(Redaction([], KINDS), exchange(CHAT_COMPLETIONS))
    data = f"é {SAID} \udcff".encode(errors="surrogateescape")

    told = b"".join([*(stream.feed(data[at : at + 1]) for at in range(len(data))), stream.close()])

    assert told == f"é {TOLD} \udcff".encode(errors="surrogateescape")
