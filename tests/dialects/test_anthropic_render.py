from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.chat import (
    ChatRequest,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.anthropic_render import render_count_request, render_request
from llmgw.dialects.anthropic_request import parse_request
from tests.dialects.anthropic_golden import REQUEST, WIRE

HELLO = (Message("user", (Text("hello"),)),)
TOOLS = (Tool("f", parameters='{"type":"object"}'),)
OLD, BUDGET, BOTH, ADAPTIVE, ALWAYS = (
    "claude-3-5-sonnet-20241022",
    "claude-sonnet-4-5",
    "claude-opus-4-6",
    "claude-opus-4-8",
    "claude-opus-5",
)


def render(model: str = BUDGET, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    rendered = render_request(ChatRequest(**{"model": model, "messages": HELLO} | fields))
    return json.loads(rendered.body), rendered.dropped


def test_rich_conversation() -> None:
    rendered = render_request(REQUEST)

    assert json.loads(rendered.body) == {k: v for k, v in json.loads(WIRE).items() if v is not None}
    assert not rendered.dropped
    assert '"input":{"city":  "Mölln", "n": 1.50}'.encode() in rendered.body


def test_least_that_can_be_said() -> None:
    body, dropped = render()

    assert body == {
        "model": BUDGET,
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": "hello"}],
    }
    assert dropped == ()


def test_tuning_that_cannot_be_said_is_named() -> None:
    body, dropped = render(
        seed=1,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        temperature=1.7,
        top_p=0.5,
        stop=("\n", "END"),
        extra={
            "logit_bias": '{"1":2}',
            "service_tier": '"flex"',
            "metadata": '{"a":"b"}',
            "stream_options": '{"include_usage":true}',
            "logprobs": "false",
            "modalities": '[ "text" ]',
        },
    )

    assert body["temperature"] == 1
    assert body["stop_sequences"] == ["END"]
    assert not {"top_p", "metadata", "service_tier", "logit_bias"} & body.keys()
    assert dropped == (
        "frequency_penalty",
        "logit_bias",
        "metadata",
        "presence_penalty",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "top_p",
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"choices": 2}, "n"),
        ({"format": Format("json")}, "response_format"),
        ({"tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"extra": {"logprobs": "true"}}, "logprobs"),
        ({"extra": {"modalities": '["text","audio"]'}}, "modalities"),
        ({"extra": {"previous_response_id": '"resp_1"'}}, "previous_response_id"),
        ({"extra": {"tools": '[{"type":"web_search"}]'}}, "tools"),
        ({"extra": {"tools.googleSearch": '{"x":1}'}}, "tools.googleSearch"),
        ({"extra": {"context_management": '[{"type":"compaction"}]'}}, "context_management"),
    ],
)
def test_structure_that_cannot_be_said_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedOperation) as refusal:
        render(**fields)

    assert refusal.value.param == param


def test_own_members_find_their_places_again() -> None:
    body, dropped = render(
        tools=TOOLS,
        user="u",
        reasoning=Reasoning(effort="xhigh", budget=None),
        model=BOTH,
        extra={
            "tools": '[{"type":"web_search_20250305","name":"web_search"}]',
            "context_management": '{"edits":[]}',
            "output_config.effort": '"max"',
            "metadata.team": "7",
            "service_tier": '"auto"',
            "cache_control": '{"type":"ephemeral"}',
        },
    )

    assert body["tools"][1] == {"type": "web_search_20250305", "name": "web_search"}
    assert body["context_management"] == {"edits": []}
    assert body["output_config"] == {"effort": "max"}
    assert body["metadata"] == {"user_id": "u", "team": 7}
    assert (body["service_tier"], body["cache_control"]) == ("auto", {"type": "ephemeral"})
    assert dropped == ()


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "config", "dropped"),
    [
        (OLD, Reasoning(effort="high"), None, None, ("reasoning_effort",)),
        (OLD, Reasoning(budget=2000), None, None, ("thinking",)),
        (BUDGET, Reasoning(effort="low"), {"type": "enabled", "budget_tokens": 2048}, None, ()),
        (BUDGET, Reasoning(budget=10), {"type": "enabled", "budget_tokens": 1024}, None, ()),
        (BUDGET, Reasoning(), {"type": "enabled", "budget_tokens": 8192}, None, ()),
        (BOTH, Reasoning(budget=3000), {"type": "enabled", "budget_tokens": 3000}, None, ()),
        (BOTH, Reasoning(effort="xhigh"), {"type": "adaptive"}, {"effort": "high"}, ()),
        (ADAPTIVE, Reasoning(effort="minimal"), {"type": "adaptive"}, {"effort": "low"}, ()),
        (ADAPTIVE, Reasoning(effort="xhigh"), {"type": "adaptive"}, {"effort": "xhigh"}, ()),
        (ADAPTIVE, Reasoning(budget=9000), {"type": "adaptive"}, {"effort": "high"}, ("reasoning.budget",)),
        (ADAPTIVE, Reasoning(shown=True), {"type": "adaptive", "display": "summarized"}, None, ()),
        (ADAPTIVE, Reasoning(shown=False), {"type": "adaptive", "display": "omitted"}, None, ()),
        (ADAPTIVE, Reasoning(enabled=False, effort="none"), None, None, ()),
        (ALWAYS, Reasoning(enabled=False), {"type": "disabled"}, None, ()),
    ],
)
def test_thinking_as_the_model_has_it(
    model: str, reasoning: Reasoning, thinking: object, config: object, dropped: tuple[str, ...]
) -> None:
    body, told = render(model, reasoning=reasoning)

    assert (body.get("thinking"), body.get("output_config"), told) == (thinking, config, dropped)


def test_budget_is_less_than_the_answer() -> None:
    roomy, _ = render(reasoning=Reasoning(budget=40_000))
    tight, _ = render(reasoning=Reasoning(budget=40_000), max_output=2000)
    none, dropped = render(reasoning=Reasoning(effort="high"), max_output=1000)

    assert (roomy["thinking"]["budget_tokens"], roomy["max_tokens"]) == (40_000, 44_096)
    assert (tight["thinking"]["budget_tokens"], tight["max_tokens"]) == (1999, 2000)
    assert "thinking" not in none
    assert dropped == ("reasoning_effort",)


def test_thinking_gives_way_to_a_tool_that_must_be_called() -> None:
    body, dropped = render(
        tools=TOOLS, tool_choice=ToolChoice("tool", "f"), reasoning=Reasoning(effort="high"), temperature=0.5
    )

    assert body["tool_choice"] == {"type": "tool", "name": "f"}
    assert "thinking" not in body
    assert body["temperature"] == 0.5
    assert dropped == ("reasoning_effort",)


def test_thinking_gives_way_when_the_turn_has_calls_without_thoughts() -> None:
    """Anthropic refuses it; other providers' clients have no thoughts to give back."""
    call, result = ToolCall("c", "f", "{}"), ToolResult("c", (Text("r"),))
    thought = Thinking("t", "Esig")

    for parts, thinks in (((call,), False), ((thought, call), True)):
        messages = (*HELLO, Message("assistant", parts), Message("user", (result,)))
        body, dropped = render(messages=messages, reasoning=Reasoning(effort="low"))
        assert ("thinking" in body, dropped) == (thinks, () if thinks else ("reasoning_effort",))


def test_sampling_gives_way_to_thinking() -> None:
    body, dropped = render(reasoning=Reasoning(effort="low"), temperature=0.2, top_k=5, top_p=0.97)

    assert body["top_p"] == 0.97
    assert not {"temperature", "top_k"} & body.keys()
    assert dropped == ("temperature", "top_k")


def test_newest_models_take_no_sampling() -> None:
    body, dropped = render(ADAPTIVE, temperature=0.2, top_k=5, top_p=0.97)

    assert not {"temperature", "top_p", "top_k"} & body.keys()
    assert dropped == ("temperature", "top_k", "top_p")


def test_all_of_probability_is_no_loss() -> None:
    assert render(temperature=1.0, top_p=1.0)[1] == ()
    assert render(OLD, temperature=0.5, top_p=0.5)[0]["top_p"] == 0.5


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, {"type": "object", "properties": {}}),
        ("{}", {"type": "object"}),
        (' {"properties": {}}', {"type": "object", "properties": {}}),
        ('{"type":"object","x":1}', {"type": "object", "x": 1}),
    ],
)
def test_parameters_are_those_of_an_object(parameters: str | None, schema: object) -> None:
    assert render(tools=(Tool("f", parameters=parameters),))[0]["tools"][0]["input_schema"] == schema


@pytest.mark.parametrize("parameters", ["", "[]", "true", "{"])
def test_parameters_that_are_no_schema(parameters: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        render(tools=(Tool("f", parameters=parameters),))

    assert refusal.value.param == "tools[0]"


@pytest.mark.parametrize(
    ("choice", "parallel", "wire"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), True, {"type": "any", "disable_parallel_tool_use": False}),
        (ToolChoice("none"), False, {"type": "none"}),
    ],
)
def test_tool_choices(choice: ToolChoice | None, parallel: bool | None, wire: object) -> None:
    assert render(tools=TOOLS, tool_choice=choice, parallel_tools=parallel)[0].get("tool_choice") == wire


def test_choice_without_tools_is_not_said() -> None:
    assert "tool_choice" not in render(tool_choice=ToolChoice("auto"), parallel_tools=True)[0]


def test_request_to_count_has_only_what_is_counted() -> None:
    body = json.loads(render_count_request(REQUEST).body)

    assert body.keys() == {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
    }


words = st.text(min_size=1, max_size=8)
cached = st.sampled_from([None, "", "5m", "1h"])
texts = st.builds(Text, words, cached)
images = st.one_of(
    st.builds(Image, st.sampled_from(["image/png", "image/webp"]), st.just("AAAA"), cached=cached),
    st.builds(Image, url=st.just("https://example.test/a"), cached=cached),
)
thoughts = st.one_of(
    st.builds(Thinking, words, st.just("Esig")), st.builds(Thinking, st.just(""), st.none(), st.just("Edata"))
)
calls = st.builds(ToolCall, st.just("c"), words, st.sampled_from(["{}", '{"a": [1, null]}']), cached=cached)
results = st.builds(
    ToolResult,
    st.just("c"),
    st.one_of(st.tuples(), st.tuples(texts), st.tuples(texts, images)),
    failed=st.booleans(),
    cached=cached,
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    messages = [Message("user", tuple(draw(st.lists(st.one_of(texts, images), min_size=1, max_size=3))))]
    said = draw(st.lists(st.one_of(thoughts, texts), max_size=3))
    if draw(st.booleans()):
        messages.append(Message("assistant", (*said, draw(calls))))
        messages.append(Message("user", (draw(results), *draw(st.lists(texts, max_size=2)))))
    elif said:
        messages.append(Message("assistant", tuple(said)))
    return tuple(messages)


requests = st.builds(
    ChatRequest,
    model=st.just(BOTH),
    messages=conversations(),
    system=st.lists(texts, max_size=2).map(tuple),
    tools=st.lists(
        st.builds(
            Tool, words, st.none() | words, st.just('{"type":"object"}'), st.none() | st.booleans(), cached
        ),
        max_size=2,
    ).map(tuple),
    max_output=st.integers(0, 10**6),
    temperature=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 500),
    stop=st.lists(words.filter(lambda text: not text.isspace()), max_size=2).map(tuple),
    format=st.none() | st.just(Format("schema", '{"type":"object"}')),
    stream=st.booleans(),
    user=st.none() | words,
)


@given(requests)
def test_what_is_written_is_read_again(request: ChatRequest) -> None:
    rendered = render_request(request)

    assert parse_request(rendered.body, "outside", False) == request
    assert rendered.dropped == ()
