"""`python -m tests.bench dialects`: what translating costs beside passing on.

A stream of 200 deltas is fed event by event, as one that trickles is; a request of 1 KB is read and
written. Every dialect against every other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from llmgw.core import events
from llmgw.core.chat import STOP, ChatRequest
from llmgw.core.events import ChatEvent
from llmgw.core.usage import Usage
from llmgw.dialects import anthropic, gemini, ollama, openai_chat, openai_responses
from llmgw.dialects.base import Dialect
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.dialects.translation import TranslatedStream
from llmgw.dialects.usage_taps import StreamTap

MOST_PER_EVENT_US, MOST_PER_REQUEST_US = 20.0, 60.0
"""What is asked."""

DIALECTS: dict[str, Dialect] = {
    "openai chat": openai_chat.DIALECT,
    "openai responses": openai_responses.DIALECT,
    "anthropic": anthropic.DIALECT,
    "gemini": gemini.DIALECT,
    "ollama": ollama.DIALECT,
}
DELTAS = 200
ROUNDS = 30

Feeder = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Result:
    """Microseconds for an event from the upstream, and for a request of the client."""

    upstream: str
    client: str
    event_us: float
    request_us: float


def stream(dialect: Dialect) -> list[bytes]:
    """The chunks of an answer of `DELTAS` words, one for each event that has bytes."""
    said: list[ChatEvent] = [events.Started("c1", "m", 1_700_000_000), events.PartStarted(0, 0, events.TEXT)]
    said += [events.Delta(0, 0, f" word{n}") for n in range(DELTAS)]
    said += [
        events.PartEnded(0, 0),
        events.ChoiceEnded(0, STOP),
        events.Counted(Usage(20, DELTAS)),
        events.Finished(),
    ]
    encoder = dialect.encoder(ChatRequest(model="m", messages=()), "m", True)
    return [chunk for event in said if (chunk := encoder.feed(event))]


def request(dialect: Dialect) -> bytes:
    """1 KB, in a few turns."""
    turn = "The harbour town wakes before the sun does, and the baker has sold his first loaves. "
    roles = ("user", "assistant", "user", "assistant", "user")
    chat = {
        "model": "m",
        "temperature": 0.2,
        "max_tokens": 500,
        "messages": [{"role": "system", "content": "Be brief."}]
        + [{"role": role, "content": turn * 2} for role in roles],
    }
    return dialect.render_request(openai_chat.DIALECT.parse_request(json.dumps(chat).encode(), "", True)).body


def fastest(run: Callable[[], object], calls: int) -> float:
    """Microseconds of CPU a call, in the quickest of the rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        run()
        best = min(best, (time.process_time_ns() - began) / calls / 1000)
    return best


def fed(make: Callable[[], Feeder], chunks: Sequence[bytes]) -> float:
    """Microseconds for a chunk."""

    def run() -> None:
        feed = make()
        for chunk in chunks:
            feed(chunk)

    return fastest(run, len(chunks))


def passed_on_us() -> float:
    """An event that goes on as it came."""
    endpoint = ENDPOINTS["/v1/chat/completions"]
    return fed(lambda: StreamTap(endpoint, False).feed, stream(openai_chat.DIALECT))


def measure() -> list[Result]:
    return [_crossing(upstream, client) for upstream in DIALECTS for client in DIALECTS if upstream != client]


def _crossing(upstream: str, client: str) -> Result:
    asked = ChatRequest(model="m", messages=())
    source, target = DIALECTS[upstream], DIALECTS[client]
    body = request(target)

    def carry() -> None:
        for _ in range(50):
            source.render_request(target.parse_request(body, "m", True))

    return Result(
        upstream,
        client,
        fed(lambda: TranslatedStream(source, target, asked, "m", True).feed, stream(source)),
        fastest(carry, 50),
    )


def passed(results: Sequence[Result]) -> bool:
    return all(
        result.event_us <= MOST_PER_EVENT_US and result.request_us <= MOST_PER_REQUEST_US
        for result in results
    )


def render(results: Sequence[Result], passed_on: float) -> Table:
    """A row for a pair."""
    table = Table(
        title=f"{MOST_PER_EVENT_US:.0f} \N{MICRO SIGN}s of CPU an event and {MOST_PER_REQUEST_US:.0f} a"
        f" 1 KB request are asked; passed on as it came, an event is {passed_on:.1f}"
    )
    for title in ("upstream", "client"):
        table.add_column(title)
    for title in ("\N{MICRO SIGN}s an event", "\N{MICRO SIGN}s a request"):
        table.add_column(title, justify="right")
    for result in results:
        table.add_row(
            result.upstream,
            result.client,
            f"{result.event_us:.1f}",
            f"{result.request_us:.1f}",
            style="" if passed([result]) else "red",
        )
    return table
