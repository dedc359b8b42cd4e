from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
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
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.events import (
    REFUSED,
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
from llmgw.dialects.base import RATE_LIMIT
from llmgw.dialects.openai_chat import DIALECT, dialect_for

SOME = st.text(min_size=1, max_size=8)
ANY = st.text(max_size=8)
MAYBE = st.none() | SOME
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | ANY,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANY, inner, max_size=2),
    max_leaves=4,
).map(lambda value: json.dumps({"v": value}, indent=1))
DATA = st.sampled_from(["", "QQ==", "QUJD"])
IDS = st.text("abcXYZ019_-", min_size=1, max_size=40)

TEXTS = st.builds(Text, ANY)
IMAGES = st.builds(Image, st.sampled_from(["image/png", "image/jpeg"]), DATA) | st.builds(
    Image, url=st.just("https://x/a.png"), detail=st.none() | st.just("low")
)
FILES = st.builds(File, st.just("application/pdf"), DATA, name=SOME)
AUDIO = st.builds(Audio, st.sampled_from(["audio/mpeg", "audio/wav", "audio/ogg"]), DATA)
THOUGHTS = st.builds(Thinking, SOME, MAYBE) | st.builds(lambda text: Thinking("", None, text), SOME)
CALLS = st.builds(ToolCall, IDS, SOME, JSON)


@st.composite
def messages(draw: st.DrawFn, thoughts: bool) -> tuple[Message, ...]:
    """Turns by turns, each tool's result after its call."""
    turns: list[Message] = []
    results: Sequence[Part] = ()
    for _ in range(draw(st.integers(1, 3))):
        own = draw(st.lists(TEXTS | IMAGES | FILES | AUDIO, min_size=0 if results else 1, max_size=3))
        turns.append(Message("user", (*results, *own), None if results else draw(MAYBE)))
        calls = draw(st.lists(CALLS, max_size=2, unique_by=lambda call: call.id))
        parts: list[Part] = draw(st.lists(THOUGHTS, max_size=2)) if thoughts else []
        parts += draw(st.lists(st.builds(Text, SOME), min_size=0 if calls else 1, max_size=2))
        parts += draw(st.lists(st.builds(Refusal, SOME), max_size=1))
        turns.append(Message("assistant", (*parts, *calls), draw(MAYBE)))
        results = [
            ToolResult(call.id, tuple(draw(st.lists(TEXTS, min_size=1, max_size=2)))) for call in calls
        ]
    return tuple(turns) if not results else (*turns, Message("user", tuple(results)))


def requests(*, thoughts: bool = False) -> st.SearchStrategy[ChatRequest]:
    tools = st.lists(
        st.builds(Tool, SOME, MAYBE, st.none() | JSON, st.none() | st.booleans()), min_size=1, max_size=2
    )
    choice = st.sampled_from(
        [ToolChoice("auto"), ToolChoice("none"), ToolChoice("required"), ToolChoice("tool", "f")]
    )
    with_tools = st.fixed_dictionaries(
        {"tools": tools.map(tuple)}, optional={"tool_choice": choice, "parallel_tools": st.booleans()}
    )
    members = st.fixed_dictionaries(
        {"model": SOME, "messages": messages(thoughts)},
        optional={
            "system": st.lists(TEXTS, max_size=2).map(tuple),
            "max_output": st.integers(0, 9999),
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "stop": st.lists(SOME, max_size=2).map(tuple),
            "seed": st.integers(-9, 9),
            "presence_penalty": st.floats(-2, 2),
            "frequency_penalty": st.floats(-2, 2),
            "choices": st.integers(1, 3),
            "format": st.just(Format("json"))
            | st.builds(Format, st.just("schema"), st.none() | JSON, SOME, MAYBE, st.none() | st.booleans()),
            "reasoning": st.sampled_from([Reasoning(False, "none"), Reasoning(True, "high")]),
            "stream": st.booleans(),
            "user": SOME,
        },
    )
    return st.tuples(members, st.just({}) | with_tools).map(lambda both: ChatRequest(**both[0], **both[1]))


@settings(deadline=None)
@given(requests())
def test_a_request_written_and_read_is_the_same(request: ChatRequest) -> None:
    rendered = DIALECT.render_request(request)

    assert rendered.dropped == ()
    assert DIALECT.parse_request(rendered.body, "", False) == request


@settings(deadline=None)
@given(requests(thoughts=True))
def test_a_request_with_thoughts_written_for_openrouter_and_read_is_the_same(request: ChatRequest) -> None:
    dialect = dialect_for("openrouter")
    rendered = dialect.render_request(request)

    assert rendered.dropped == ()
    assert dialect.parse_request(rendered.body, "", False) == request


def thoughts_of_an_answer() -> st.SearchStrategy[list[Thinking]]:
    """One without a signature, or several of which one has something to be sent back."""
    several = st.lists(THOUGHTS, min_size=1, max_size=3)
    return (
        st.just([])
        | st.builds(Thinking, SOME).map(lambda thought: [thought])
        | several.filter(lambda thoughts: any(t.signature or t.redacted for t in thoughts))
    )


CHOICES = st.builds(
    lambda thoughts, texts, refusals, calls, stop: Choice((*thoughts, *texts, *refusals, *calls), stop),
    thoughts_of_an_answer(),
    st.lists(st.builds(Text, SOME), max_size=1),
    st.lists(st.builds(Refusal, SOME), max_size=1),
    st.lists(st.builds(ToolCall, IDS, SOME, JSON, MAYBE), max_size=2, unique_by=lambda call: call.id),
    st.sampled_from([STOP, LENGTH, TOOL_CALLS, CONTENT_FILTER]),
)
USAGES = st.builds(
    lambda into, out, cached, written, thought: Usage(
        into, out, min(cached, into), min(written, into - min(cached, into)), min(thought, out)
    ),
    *[st.integers(0, 99)] * 5,
)


@settings(deadline=None)
@given(
    st.builds(
        ChatAnswer,
        id=SOME,
        model=SOME,
        choices=st.lists(CHOICES, max_size=2).map(tuple),
        usage=st.none() | USAGES,
        created_s=st.integers(0, 10**10),
    )
)
def test_an_answer_written_and_read_is_the_same(answer: ChatAnswer) -> None:
    assert DIALECT.parse_answer(DIALECT.render_answer(answer)) == answer


def streamed(index: int, choice: Choice) -> list[ChatEvent]:
    """A choice as events, each text in two pieces."""
    events: list[ChatEvent] = []
    for number, part in enumerate(choice.parts):
        if isinstance(part, ToolCall):
            events.append(PartStarted(index, number, TOOL_CALL, part.id, part.name))
            text, signed = part.arguments, Signed(index, number, part.signature)
        elif isinstance(part, Thinking):
            events.append(PartStarted(index, number, THINKING))
            text, signed = part.text, Signed(index, number, part.signature, part.redacted)
        else:
            assert isinstance(part, Text | Refusal)
            events.append(PartStarted(index, number, TEXT if isinstance(part, Text) else REFUSED))
            text, signed = part.text, Signed(index, number)
        half = len(text) // 2
        events += [Delta(index, number, piece) for piece in (text[:half], text[half:]) if piece]
        if signed.signature or signed.redacted:
            events.append(signed)
        events.append(PartEnded(index, number))
    assert choice.stop is not None
    return [*events, ChoiceEnded(index, choice.stop)]


STREAMED_CHOICES = CHOICES.filter(
    # text alone tells neighbours of one kind apart from one part
    lambda choice: all(t.signature or t.redacted for t in choice.parts if isinstance(t, Thinking))
)


@settings(deadline=None)
@given(st.lists(STREAMED_CHOICES, min_size=1, max_size=2), USAGES)
def test_a_stream_written_and_read_is_the_same(choices: list[Choice], usage: Usage) -> None:
    events: list[ChatEvent] = [Started("c1", "public", 5)]
    for index, choice in enumerate(choices):
        events += streamed(index, choice)
    events += [Counted(usage), Finished()]
    encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "public", True)
    decoder = DIALECT.decoder()

    read = decoder.feed(b"".join(map(encoder.feed, events))) + decoder.close()

    assert read == events


def test_vendors() -> None:
    """Each service has its own ways, a client's dialect none."""
    request = ChatRequest(model="m", messages=(Message("user", (Text("x"),)),), max_output=5, seed=1)

    def names(vendor: str | None) -> set[str]:
        return set(json.loads(dialect_for(vendor).render_request(request).body)) - {"model", "messages"}

    assert set(json.loads(DIALECT.render_request(request).body)) >= {"max_completion_tokens", "seed"}
    assert names(None) == names("unheard-of") == {"max_tokens", "seed"}
    assert names("mistral") == {"max_tokens", "random_seed"}


def test_failures() -> None:
    assert DIALECT.parse_failure(429, b"").code == RATE_LIMIT


@pytest.mark.parametrize("vendor", ["mistral", "deepseek"])
def test_a_tool_s_turn_survives_every_vendor(vendor: str) -> None:
    call = ToolCall("toolu_1", "f", '{"x" :1}')
    request = ChatRequest(
        model="m",
        messages=(
            Message("user", (Text("x"),)),
            Message("assistant", (Thinking("hm"), call)),
            Message("user", (ToolResult("toolu_1", (Text("1"),)), Text("and?"))),
        ),
    )
    dialect = dialect_for(vendor)

    again = dialect.parse_request(dialect.render_request(request).body, "", False)

    asked, answered = again.messages[1].parts[1], again.messages[2].parts[0]
    assert again.messages[1].parts[0] == Thinking("hm")
    assert isinstance(asked, ToolCall)
    assert isinstance(answered, ToolResult)
    assert (asked.name, asked.arguments, asked.id) == ("f", '{"x" :1}', answered.call_id)
