"""The official Anthropic SDK against models of another dialect, and OpenAI's against Anthropic's.

The model behind is the built-in `echo`, which speaks OpenAI's chat completions. A second gateway in
front of the first, with a provider of kind `anthropic`, puts both translations in one road.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.fakes.process import GatewayProcess, rows

FIRST = """
version: 1
providers: {demo: {kind: echo}}
models: {echo: {targets: [{provider: demo, model: echo}]}}
limits: {per_user: {requests: 1000}}
"""
SECOND = """
version: 1
providers: {{claude: {{kind: anthropic, base_url: "{url}", api_key: "{key}", allow_private: true}}}}
models: {{claude: {{targets: [{{provider: claude, model: echo}}]}}}}
"""
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Served:
    def __init__(self, place: Path, text: str) -> None:
        place.mkdir()
        (place / "llmgw.yaml").write_text(text)
        self.place = place
        self.process = GatewayProcess(place)
        self.key = str(rows("keys", "create", "--user", "alice", cwd=place)["key"])

    @property
    def root(self) -> str:
        return self.process.url.removesuffix("/v1")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("first") / "gateway", FIRST)
    with served.process:
        yield served


@pytest.fixture(scope="module")
def second(first: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    text = SECOND.format(url=first.root, key=first.key)
    served = Served(tmp_path_factory.mktemp("second") / "gateway", text)
    with served.process:
        yield served


@pytest.fixture
def claude(first: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=first.root, api_key=first.key, max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(second: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=second.process.url, api_key=second.key, max_retries=0) as client:
        yield client


def test_a_message(claude: anthropic.Anthropic) -> None:
    """Text, stop reason and usage are where the SDK looks for them."""
    message = claude.messages.create(
        model="echo", max_tokens=50, system="be brief", messages=[{"role": "user", "content": "hello there"}]
    )

    assert [block.type for block in message.content] == ["text"]
    assert "hello there" in message.content[0].text  # type: ignore[union-attr]
    assert message.stop_reason == "end_turn"
    assert message.model == "echo"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_a_stream_of_messages(claude: anthropic.Anthropic) -> None:
    """The SDK's own accumulation of the events equals what was streamed."""
    with claude.messages.stream(
        model="echo", max_tokens=50, messages=[{"role": "user", "content": "one two three"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert "one two three" in text
    assert final.content[0].text == text  # type: ignore[union-attr]
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


def test_a_tool_is_called(claude: anthropic.Anthropic) -> None:
    """Call, result, answer; streamed and whole."""
    tools = [{"name": "weather", "description": "of a city", "input_schema": TOOL}]
    asked = [{"role": "user", "content": "weather in Paris"}]
    message = claude.messages.create(
        model="echo",
        max_tokens=50,
        messages=asked,
        tools=tools,
        tool_choice={"type": "any"},  # type: ignore[arg-type]
    )
    with claude.messages.stream(
        model="echo",
        max_tokens=50,
        messages=asked,
        tools=tools,
        tool_choice={"type": "any"},  # type: ignore[arg-type]
    ) as stream:
        streamed = stream.get_final_message()
    call = message.content[-1]
    assert call.type == "tool_use"
    answered = claude.messages.create(
        model="echo",
        max_tokens=50,
        tools=tools,  # type: ignore[arg-type]
        messages=[
            *asked,  # type: ignore[list-item]
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}],
            },
        ],
    )

    assert message.stop_reason == streamed.stop_reason == "tool_use"
    assert call.name == "weather"
    assert streamed.content[-1].type == "tool_use"
    assert streamed.content[-1].input == call.input
    assert answered.stop_reason == "end_turn"


def test_errors_are_the_sdks_own(first: Served, claude: anthropic.Anthropic) -> None:
    """Unknown model, wrong key, and an upstream's own error."""
    message = [{"role": "user", "content": "hi"}]
    with pytest.raises(anthropic.NotFoundError) as unknown:
        claude.messages.create(model="nobody", max_tokens=5, messages=message)  # type: ignore[arg-type]
    with (
        anthropic.Anthropic(base_url=first.root, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError),
    ):
        stranger.messages.create(model="echo", max_tokens=5, messages=message)  # type: ignore[arg-type]
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(
            model="echo",
            max_tokens=5,
            messages=[{"role": "user", "content": "[[echo status=429]]"}],
        )

    assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


def test_openais_sdk_in_front_of_messages(gpt: openai.OpenAI) -> None:
    """Through a provider of kind `anthropic` and back."""
    whole = gpt.chat.completions.create(model="claude", messages=[{"role": "user", "content": "hello there"}])
    stream = gpt.chat.completions.create(
        model="claude",
        messages=[{"role": "user", "content": "one two three"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert "hello there" in (whole.choices[0].message.content or "")
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.prompt_tokens > 0
    assert "one two three" in text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_the_same_dialect_stays_bytes(second: Served) -> None:
    """The Anthropic SDK through two gateways: the first passes its bytes on, usage is known all the same."""
    with (
        anthropic.Anthropic(base_url=second.root, api_key=second.key) as client,
        client.messages.stream(
            model="claude", max_tokens=50, messages=[{"role": "user", "content": "same dialect"}]
        ) as stream,
    ):
        final = stream.get_final_message()
    report = rows("usage", "tail", cwd=second.place)[-1]

    assert "same dialect" in final.content[0].text  # type: ignore[union-attr]
    assert (report["output_tokens"], report["usage_source"]) == (final.usage.output_tokens, "reported")


def test_what_cannot_be_said_is_named(second: Served) -> None:
    """Tuning that the target's dialect lacks is dropped by name, not in silence."""
    with openai.OpenAI(base_url=second.process.url, api_key=second.key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="claude", messages=[{"role": "user", "content": "hi"}], seed=7, logit_bias={"1": 1}
        )

    assert set(raw.headers["x-llmgw-dropped"].split(", ")) == {"seed", "logit_bias"}
