"""Streams that an upstream breaks off anywhere: clients hear of it, in their dialect, every time.

An upstream of each dialect answers with text, thoughts and a tool call, and is cut at a random
byte: by a reset, or by an end that looks clean. Both ends are real sockets.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from llmgw.core import events
from llmgw.core.chat import STOP, ChatRequest
from llmgw.core.events import ChatEvent
from llmgw.core.usage import Usage
from llmgw.dialects import anthropic, gemini, ollama, openai_chat, openai_responses
from llmgw.dialects.base import Dialect
from llmgw.wire.sse import SseSplitter, event_data
from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, Step, UpstreamConnection, chunk, end, headers, reset

POINTS = 500
"""Cuts of each dialect, spread over its clients."""
USER = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Side:
    """path, body: how a client asks for a stream. provider: how an upstream is configured.

    finish: in the event after which the upstream has said all. success: what ends a good stream.
    """

    dialect: Dialect
    provider: str
    path: str
    body: dict[str, object]
    finish: bytes
    success: tuple[bytes, ...]


SIDES = {
    "chat": Side(
        openai_chat.DIALECT,
        'kind: openai_compatible, base_url: "{url}/v1"',
        "/v1/chat/completions",
        {"messages": USER, "stream": True},
        b'"finish_reason":"',
        (b"[DONE]", b'"finish_reason":"'),
    ),
    "responses": Side(
        openai_responses.DIALECT,
        'kind: openai, base_url: "{url}/v1"',
        "/v1/responses",
        {"input": "hi", "stream": True},
        b"response.completed",
        (b"response.completed", b"response.incomplete"),
    ),
    "messages": Side(
        anthropic.DIALECT,
        'kind: anthropic, base_url: "{url}"',
        "/v1/messages",
        {"messages": USER, "stream": True, "max_tokens": 99},
        b"message_stop",
        (b"message_stop",),
    ),
    "gemini": Side(
        gemini.DIALECT,
        'kind: gemini, base_url: "{url}/v1beta"',
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        b"finishReason",
        (b"finishReason",),
    ),
    "ollama": Side(
        ollama.DIALECT,
        'kind: ollama, base_url: "{url}"',
        "/api/chat",
        {"messages": USER, "stream": True},
        b'"done":true',
        (b'"done":true',),
    ),
}
ARRAY = Side(
    gemini.ARRAY,
    "",
    "/v1beta/models/{model}:streamGenerateContent",
    {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    b"finishReason",
    (b"finishReason", b"\n]"),
)
"""Of clients only: upstreams are asked for events."""
CLIENTS = {**SIDES, "array": ARRAY}
SAID: list[ChatEvent] = [
    events.Started("c1", "m", 1_700_000_000),
    events.PartStarted(0, 0, events.TEXT),
    *(events.Delta(0, 0, word) for word in ("Grüße ", "aus ", 'der "Stadt"\n', "\N{SNOWMAN} ", "am Meer.")),
    events.PartEnded(0, 0),
    events.PartStarted(0, 1, events.TOOL_CALL, call_id="call_1", name="weather"),
    *(events.Delta(0, 1, piece) for piece in ('{"city":', ' "Oslo"', "}")),
    events.PartEnded(0, 1),
    events.ChoiceEnded(0, STOP),
    events.Counted(Usage(20, 9)),
    events.Finished(),
]


def answer_of(side: Side) -> tuple[bytes, int]:
    """A whole stream, and the byte before which it is not complete."""
    encoder = side.dialect.encoder(ChatRequest(model="m", messages=()), "m", True)
    whole = b"".join(encoder.feed(event) for event in SAID)
    return whole, whole.index(side.finish)


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    rows = [
        f"{name}: {{{side.provider.format(url=upstream.base_url)}, allow_private: true"
        + ("}" if name == "ollama" else ", api_key: k}")
        for name, side in SIDES.items()
    ]
    models = [
        f"{name}: {{targets: [{{provider: {name}, model: m}}], retry: {{attempts: 1}}, breaker: off}}"
        for name in SIDES
    ]
    unlimited = "limits: {global: off, per_tenant: off, per_user: off}\n"
    async with RunningGateway(
        upstream, providers="\n".join(rows), models="\n".join(models), extra=unlimited
    ) as running:
        yield running


def heard(client: str, body: bytes) -> list[dict[str, object]]:
    """What a client reads. Fails when something is neither an event nor JSON."""
    if client == "ollama":
        assert body.endswith(b"\n")
        return [json.loads(line) for line in body.splitlines()]
    if client == "array":
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        read: list[dict[str, object]] = json.loads(body + b"]")
        return read
    splitter = SseSplitter()
    raw = splitter.feed(body)
    assert not splitter.pending
    return [json.loads(data) for one in raw if (data := event_data(one)) is not None]


def is_error(client: str, event: dict[str, object]) -> bool:
    if client == "responses":
        return event.get("type") in ("error", "response.failed")
    if client == "messages":
        return event.get("type") == "error"
    return "error" in event


def cut_off(source: str, fraction: float, last: Step, cuts: list[int]) -> Step:
    """A part of an answer, in the dialect of the path that was asked."""

    async def step(connection: UpstreamConnection) -> None:
        asked = connection.upstream.requests[-1].target
        side = next((one for one in ("chat", "responses") if asked == SIDES[one].path), source)
        whole, complete = answer_of(SIDES[side])
        cuts.append(1 + int(fraction * (complete - 1)))
        kind = "application/x-ndjson" if side == "ollama" else "text/event-stream"
        await headers(200, {"content-type": kind})(connection)
        await chunk(whole[: cuts[-1]])(connection)
        await last(connection)

    return step


@pytest.mark.parametrize("source", SIDES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_k04_a_cut_anywhere_ends_in_an_error_and_never_in_success(
    gateway: RunningGateway, upstream: ScriptedUpstream, source: str, client: str
) -> None:
    """Whole events, the last of them an error; or an error's status when nothing had come."""
    rng = random.Random(f"{source}>{client}")
    asker = CLIENTS[client]
    begun = 0
    cuts: list[int] = []
    for _ in range(POINTS // len(SIDES)):
        upstream.script(cut_off(source, rng.random(), rng.choice((end(), reset())), cuts))
        answer = await gateway.ask({"model": source, **asker.body}, path=asker.path.format(model=source))
        if answer.status != 200:
            assert answer.status == 502
            assert "error" in answer.json
            continue
        begun += 1
        read = heard(client, answer.body)
        assert is_error(client, read[-1]), (cuts[-1], answer.body)
        assert not any(mark in answer.body for mark in asker.success), (cuts[-1], answer.body)
    await gateway.quiet()

    assert len(cuts) == POINTS // len(SIDES)
    assert begun > len(cuts) // 2
    outcomes = {record.outcome for record in gateway.records}
    assert outcomes <= {"upstream_truncated", "upstream_error"}, outcomes
