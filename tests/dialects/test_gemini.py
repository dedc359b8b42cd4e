"""What is written comes back as it was, whichever way round."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    STOP,
    TOOL_CALLS,
    Audio,
    ChatAnswer,
    ChatRequest,
    Choice,
    File,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
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
    Signed,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import Dialect
from llmgw.dialects.gemini import ARRAY, DIALECT, parse_count_answer, render_count_answer

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
ids = st.from_regex(r"own_[a-z0-9]{1,8}", fullmatch=True)
values = st.recursive(st.none() | st.booleans() | st.integers() | words, st.lists, max_leaves=3)
objects = st.dictionaries(words, values, max_size=3).map(json.dumps)
schemas = st.sampled_from(['{"type":"object"}', '{"type":"object","properties":{"a_b":{"type":"string"}}}'])
images = st.sampled_from(
    [Image(media_type="image/png", data="aW1n"), Image(media_type="image/jpeg", url="https://x.test/a.jpg")]
)
files = st.sampled_from(
    [File(media_type="application/pdf", data="cGRm"), File(media_type="video/mp4", url="gs://bucket/clip")]
)
optional = st.none() | st.floats(0, 2)
proofs = words.map("Z20A{}".format)
"""Of thoughts, as Gemini's are kept."""


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    messages = [
        Message(
            "user",
            tuple(
                draw(
                    st.lists(
                        words.map(Text) | images | files | st.just(Audio("audio/wav", "eA==")),
                        min_size=1,
                        max_size=3,
                    )
                )
            ),
        )
    ]
    taken: set[str] = set()
    for _ in range(draw(st.integers(0, 2))):
        calls = draw(
            st.lists(
                st.builds(ToolCall, ids, names, objects, st.none() | words),
                min_size=1,
                max_size=3,
                unique_by=lambda call: call.id,
            )
        )
        calls = [call for call in calls if call.id not in taken]
        taken |= {call.id for call in calls}
        opening: list[Part] = draw(
            st.lists(st.builds(Thinking, words, st.none() | proofs) | words.map(Text), max_size=2)
        )
        if draw(st.booleans()):
            opening.append(Thinking("", draw(proofs)))
        if not calls and not opening:
            continue
        messages.append(Message("assistant", (*opening, *calls)))
        results = tuple(
            ToolResult(
                call.id,
                (Text(draw(words | objects)), *draw(st.lists(images | files, max_size=1))),
                call.name,
                draw(st.booleans()),
            )
            for call in calls
        )
        messages.append(Message("user", results or (Text(draw(words)),)))
    return tuple(messages)


tools = st.lists(st.builds(Tool, names, st.none() | words, st.none() | schemas), min_size=1, max_size=3).map(
    tuple
)
requests = st.builds(
    ChatRequest,
    model=st.just("gemini-3-flash"),
    messages=conversations(),
    system=st.lists(words.map(Text), max_size=2).map(tuple),
    tools=tools,
    tool_choice=st.none()
    | st.sampled_from(
        [ToolChoice("auto"), ToolChoice("none"), ToolChoice("required"), ToolChoice("tool", "f")]
    ),
    max_output=st.none() | st.integers(1, 999),
    temperature=optional,
    top_p=optional,
    top_k=st.none() | st.integers(1, 99),
    stop=st.lists(words, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 99),
    presence_penalty=optional,
    frequency_penalty=optional,
    choices=st.integers(1, 3),
    format=st.none() | st.just(Format("json")) | st.builds(Format, st.just("schema"), schemas),
    reasoning=st.none()
    | st.builds(
        Reasoning, st.just(True), st.none() | st.sampled_from(["low", "high"]), st.none(), st.booleans()
    ),
    stream=st.booleans(),
)


def signed(request: ChatRequest) -> bool:
    """Every turn of calls has its signature, as Gemini 3 gives it."""
    return all(
        next((part.signature for part in message.parts if isinstance(part, ToolCall)), "") is not None
        for message in request.messages
    )


@given(requests)
def test_request_comes_back_as_it_was(request: ChatRequest) -> None:
    rendered = DIALECT.render_request(request)

    assert rendered.dropped == ()
    assert DIALECT.parse_request(rendered.body, request.model, request.stream) == request
    # Nothing is added but the stand-in for a missing signature, which is read as none.
    assert (b"skip_thought_signature_validator" in rendered.body) != signed(request)


answer_parts = (
    words.map(Text)
    | st.builds(Thinking, words, st.none() | words)
    | images
    | files
    | st.builds(ToolCall, ids, names, objects, st.none() | words)
)


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    parts = tuple(draw(st.lists(answer_parts, max_size=4)))
    called = any(isinstance(part, ToolCall) for part in parts)
    return Choice(parts, draw(st.sampled_from([TOOL_CALLS if called else STOP, LENGTH, CONTENT_FILTER])))


usages = st.integers(0, 99).flatmap(
    lambda n: st.builds(Usage, st.just(n), st.just(n), st.integers(0, n), st.just(0), st.integers(0, n))
)


@given(
    st.builds(
        ChatAnswer,
        id=words,
        model=words,
        choices=st.lists(choices(), min_size=1, max_size=2).map(tuple),
        usage=st.none() | usages,
        created_s=st.none() | st.integers(0, 2**32),
    )
)
def test_answer_comes_back_as_it_was(answer: ChatAnswer) -> None:
    assert DIALECT.parse_answer(DIALECT.render_answer(answer)) == answer


@st.composite
def streams(draw: st.DrawFn) -> list[ChatEvent]:
    events: list[ChatEvent] = [Started(draw(words), "m")]
    last = ""
    called = False
    for part in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(
                [kind for kind in (TEXT, THINKING, TOOL_CALL) if kind != last or kind == TOOL_CALL]
            )
        )
        last = kind
        if kind == TOOL_CALL:
            called = True
            events.append(PartStarted(0, part, kind, draw(ids), draw(names)))
            if draw(st.booleans()):
                events.append(Signed(0, part, draw(words)))
            events.append(Delta(0, part, draw(objects)))
        else:
            events.append(PartStarted(0, part, kind))
            events += [Delta(0, part, text) for text in draw(st.lists(words, min_size=1, max_size=3))]
            if kind == THINKING and draw(st.booleans()):
                events.append(Signed(0, part, draw(words)))
        events.append(PartEnded(0, part))
    usage = draw(usages)
    return [
        *events,
        Counted(usage),
        ChoiceEnded(0, TOOL_CALLS if called else draw(st.sampled_from([STOP, LENGTH]))),
        Finished(),
    ]


@pytest.mark.parametrize("dialect", [DIALECT, ARRAY], ids=["events", "array"])
@given(events=streams(), step=st.integers(1, 400))
def test_stream_comes_back_as_it_was(dialect: Dialect, events: list[ChatEvent], step: int) -> None:
    encoder = dialect.encoder(ChatRequest(model="m", messages=()), "m", True)
    data = b"".join(encoder.feed(event) for event in events)
    decoder = dialect.decoder()

    got: list[Any] = []
    for at in range(0, len(data), step):
        got += decoder.feed(data[at : at + step])

    got += decoder.close()
    # The usage comes with the last document, which ends the last part too.
    told = [event for event in got if isinstance(event, Counted)]
    assert told == [event for event in events if isinstance(event, Counted)]
    assert [event for event in got if event not in told] == [event for event in events if event not in told]


def test_count_of_tokens() -> None:
    assert parse_count_answer(render_count_answer(12)) == 12


@pytest.mark.parametrize("body", [b"", b"{}", b'{"totalTokens":-1}', b'{"totalTokens":"5"}'])
def test_count_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a count"):
        parse_count_answer(body)
