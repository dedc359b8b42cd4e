"""Made-up conversations, answers and streams, in the form every dialect can be read into."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from llmgw.core.chat import (
    LENGTH,
    STOP,
    TOOL_CALLS,
    ChatAnswer,
    ChatRequest,
    Choice,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.events import (
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Finished,
    PartEnded,
    PartStarted,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import Dialect

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
names = st.text("abcdefgh_", min_size=1, max_size=12)
arguments = st.sampled_from(
    ['{"a": 1.0}', '{ "b":[1,2,{"c":"\\u00e9"}] }', '{"n":12345678901234567890}', "{}"]
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    into, out = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    cached = draw(st.integers(0, into))
    return Usage(into, out, cached, draw(st.integers(0, into - cached)), draw(st.integers(0, out)))


@st.composite
def answers(draw: st.DrawFn) -> ChatAnswer:
    """thinking without a signature, then text, then calls: what every dialect has in this order."""
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(Thinking(draw(words)))
    if draw(st.booleans()):
        parts.append(Text(draw(words)))
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    parts.extend(ToolCall(f"call_{n}", name, text) for n, (name, text) in enumerate(calls))
    stop = TOOL_CALLS if calls else draw(st.sampled_from([STOP, LENGTH]))
    return ChatAnswer(
        id="resp_abc",
        model="m",
        choices=(Choice(tuple(parts), stop),),
        usage=draw(st.none() | usages()),
        created_s=1_700_000_000,
    )


def stream_of(answer: ChatAnswer, cut: int) -> list[ChatEvent]:
    """An answer as it is written. cut: characters in a delta."""
    events: list[ChatEvent] = [Started(answer.id, answer.model, answer.created_s)]
    choice = answer.choices[0]
    for number, part in enumerate(choice.parts):
        if isinstance(part, ToolCall):
            text = part.arguments
            events.append(PartStarted(0, number, TOOL_CALL, part.id, part.name))
        elif isinstance(part, Text | Thinking):
            text = part.text
            events.append(PartStarted(0, number, TEXT if isinstance(part, Text) else THINKING))
        else:
            raise AssertionError(part)
        events.extend(Delta(0, number, text[at : at + cut]) for at in range(0, len(text), cut))
        events.append(PartEnded(0, number))
    events.append(ChoiceEnded(0, choice.stop or STOP))
    if answer.usage is not None:
        events.append(Counted(answer.usage))
    return [*events, Finished()]


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Turns of text, calls and their results."""
    messages: list[Message] = []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message("user", (Text(draw(words)),)))
        said: list[Part] = [Thinking(draw(words))] if draw(st.booleans()) else []
        said.append(Text(draw(words)))
        calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
        ids = [f"call_{turn}_{number}" for number in range(len(calls))]
        said.extend(ToolCall(known, *call) for known, call in zip(ids, calls, strict=True))
        messages.append(Message("assistant", tuple(said)))
        if calls:
            results = [ToolResult(known, (Text(draw(words)),)) for known in ids]
            messages.append(Message("user", (*results, Text(draw(words)))))
            messages.append(Message("assistant", (Text(draw(words)),)))
    return ChatRequest(
        model="m",
        messages=tuple(messages),
        system=tuple(map(Text, draw(st.lists(words, max_size=2)))),
        max_output=draw(st.none() | st.integers(1, 10**6)),
        temperature=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])),
        stream=draw(st.booleans()),
    )


def decoded(dialect: Dialect, data: bytes, sizes: list[int]) -> list[ChatEvent]:
    """A stream, read in pieces of these sizes and then the rest."""
    decoder = dialect.decoder()
    events: list[ChatEvent] = []
    at = 0
    for size in sizes:
        events.extend(decoder.feed(data[at : at + size]))
        at += size
    events.extend(decoder.feed(data[at:]))
    events.extend(decoder.close())
    return events


def three_ways(dialect: Dialect, data: bytes) -> list[list[ChatEvent]]:
    """A stream read whole, byte by byte, and cut at random. The seed is printed."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    cuts = [rng.randint(1, 60) for _ in range(len(data) // 30)]
    return [decoded(dialect, data, sizes) for sizes in ([], [1] * len(data), cuts)]


def encoded(dialect: Dialect, events: list[ChatEvent], model: str = "m") -> bytes:
    """A stream, written."""
    encoder = dialect.encoder(ChatRequest(model=model, messages=()), model, True)
    return b"".join(map(encoder.feed, events))
