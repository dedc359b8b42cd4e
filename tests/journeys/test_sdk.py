"""The official OpenAI SDK against `llmgw serve --demo`, and against one llmgw behind another."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import openai
import pytest

from tests.fakes.process import GatewayProcess, rows

SECOND = """
version: 1
providers:
  first: {{kind: openai_compatible, base_url: "{url}", api_key: "{key}", allow_private: true}}
models:
  echo: {{targets: [{{provider: first, model: echo}}]}}
  gpt-4o: {{targets: [{{provider: first, model: gpt-4o}}]}}
  text-embedding-3-small: {{targets: [{{provider: first, model: text-embedding-3-small}}]}}
"""


class Place:
    """A gateway, a key for it, and where its configuration is."""

    def __init__(self, gateway: GatewayProcess, key: str, config: str) -> None:
        self.gateway = gateway
        self.key = key
        self.config = config

    def client(self, **how: object) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.gateway.url, api_key=self.key, max_retries=0, **how)  # type: ignore[arg-type]

    def usage(self) -> dict[str, int]:
        """The whole of what was used, once all of it is in the database."""
        report = rows("usage", "report", "-c", self.config, cwd=self.gateway.directory)
        return Counter({name: sum(row[name] or 0 for row in report) for name in TOTALS})


TOTALS = ("requests", "input_tokens", "output_tokens")


@pytest.fixture(scope="module", params=["demo", "behind another"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("first")
    with GatewayProcess(directory, "--demo") as first:
        key = (directory / "llmgw-demo" / "demo.key").read_text().strip()
        if request.param == "demo":
            yield Place(first, key, "llmgw-demo/llmgw.yaml")
            return
        directory = tmp_path_factory.mktemp("second")
        (directory / "llmgw.yaml").write_text(SECOND.format(url=first.url, key=key))
        issued = rows("keys", "create", "--tenant", "default", cwd=directory)
        with GatewayProcess(directory) as second:
            yield Place(second, issued["key"], "llmgw.yaml")


@pytest.fixture
def ledger(place: Place) -> Iterator[Counter[str]]:
    """What the test's SDK saw must be what the report says, to the unit."""
    before = place.usage()
    seen: Counter[str] = Counter()
    yield seen
    end = time.monotonic() + 5
    while (used := Counter(place.usage()) - Counter(before)) != seen and time.monotonic() < end:
        time.sleep(0.2)
    assert used == seen


def saw(ledger: Counter[str], usage: object) -> None:
    ledger["requests"] += 1
    ledger["input_tokens"] += usage.prompt_tokens  # type: ignore[attr-defined]
    ledger["output_tokens"] += getattr(usage, "completion_tokens", 0)


MESSAGES = [{"role": "user", "content": "Hello there, gateway"}]


def test_chat(place: Place, ledger: Counter[str]) -> None:
    answer = place.client().chat.completions.create(model="echo", messages=MESSAGES)

    assert "Hello there, gateway" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    saw(ledger, answer.usage)


@pytest.mark.parametrize("include", [True, False])
def test_stream(place: Place, ledger: Counter[str], include: bool) -> None:
    """With or without `include_usage` the tokens are the same, and only who asks sees them."""
    whole = place.client().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    saw(ledger, whole.usage)
    options = {"stream_options": {"include_usage": True}} if include else {}

    chunks = list(
        place.client().chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, **options)
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == (1 if include else 0)
    assert all(chunk.choices for chunk in chunks) is not include
    saw(ledger, usages[0] if include else whole.usage)


def test_tools(place: Place, ledger: Counter[str]) -> None:
    """A call, its result, and the answer; streamed arguments add up to the same call."""
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    client = place.client()
    how = {"model": "gpt-4o", "tools": [tool], "tool_choice": "required"}
    first = client.chat.completions.create(messages=MESSAGES, **how)
    saw(ledger, first.usage)
    (call,) = first.choices[0].message.tool_calls
    assert call.function.name == "get_weather"

    streamed = ""
    for chunk in client.chat.completions.create(
        messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **how
    ):
        if chunk.usage is not None:
            saw(ledger, chunk.usage)
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                streamed += piece.function.arguments or ""
    assert streamed == call.function.arguments

    answer = client.chat.completions.create(
        model="gpt-4o",
        tools=[tool],
        messages=[
            *MESSAGES,
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "14 degrees"},
        ],
    )
    saw(ledger, answer.usage)
    assert "14 degrees" in answer.choices[0].message.content


def test_embeddings(place: Place, ledger: Counter[str]) -> None:
    answer = place.client().embeddings.create(model="text-embedding-3-small", input=["one", "two"])

    assert len(answer.data) == 2
    assert answer.data[0].embedding != answer.data[1].embedding
    saw(ledger, answer.usage)


def test_completions(place: Place, ledger: Counter[str]) -> None:
    answer = place.client().completions.create(model="echo", prompt="Hello")

    assert "Hello" in answer.choices[0].text
    saw(ledger, answer.usage)


def test_responses(place: Place, ledger: Counter[str]) -> None:
    """Whole, streamed, and continued from the one before."""
    client = place.client()
    first = client.responses.create(model="gpt-4o", input="Hello")
    assert "Hello" in first.output_text
    final = None
    for event in client.responses.create(model="gpt-4o", input="Hello", stream=True):
        if event.type == "response.completed":
            final = event.response
    assert final is not None
    for response in (first, final):
        ledger["requests"] += 1
        ledger["input_tokens"] += response.usage.input_tokens
        ledger["output_tokens"] += response.usage.output_tokens
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="gpt-4o", input="more", previous_response_id="resp_of_another_tenant")


def test_images_audio_and_moderations(place: Place) -> None:
    """Passed through, multipart included; what tokens do not measure has no cost rather than none."""
    client = place.client()

    picture = client.images.generate(model="echo", prompt="a dot")
    sound = client.audio.speech.create(model="echo", voice="alloy", input="hello")
    text = client.audio.transcriptions.create(model="echo", file=("a.wav", sound.content))
    verdict = client.moderations.create(model="echo", input="hello")

    assert picture.data[0].b64_json
    assert sound.content.startswith(b"RIFF")
    assert text.text == "echo"
    assert verdict.results[0].flagged is False
    tail = rows("usage", "tail", "-n", "4", "-c", place.config, cwd=place.gateway.directory)
    assert [row["operation"] for row in tail] == ["image_generation", "speech", "transcription", "moderation"]
    assert [row["cost_nano_usd"] for row in tail][1:] == [None] * 3


def test_models(place: Place) -> None:
    names = [model.id for model in place.client().models.list()]

    assert names == ["echo", "gpt-4o", "text-embedding-3-small"]


async def test_fifty_at_once(place: Place, ledger: Counter[str]) -> None:
    async with openai.AsyncOpenAI(base_url=place.gateway.url, api_key=place.key, max_retries=0) as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model="echo", messages=[{"role": "user", "content": f"number {n}"}]
                )
                for n in range(50)
            )
        )

    for number, answer in enumerate(answers):
        assert f"number {number}" in answer.choices[0].message.content
        saw(ledger, answer.usage)


def test_abort_midway(place: Place) -> None:
    """Leaving a stream leaves one record, for what was delivered."""
    before = place.usage()
    text = " ".join(f"word{n}" for n in range(300))
    stream = place.client().chat.completions.create(
        model="echo", messages=[{"role": "user", "content": text}], stream=True
    )
    got = 0
    for chunk in stream:
        got += bool(chunk.choices and chunk.choices[0].delta.content)
        if got == 10:
            break
    stream.close()

    end = time.monotonic() + 5
    while (used := place.usage())["requests"] == before["requests"] and time.monotonic() < end:
        time.sleep(0.1)
    assert used["requests"] == before["requests"] + 1
    assert 10 <= used["output_tokens"] - before["output_tokens"] < 300


def test_wrong_key(place: Place) -> None:
    client = openai.OpenAI(base_url=place.gateway.url, api_key="sk-wrong", max_retries=0)

    with pytest.raises(openai.AuthenticationError) as refused:
        client.chat.completions.create(model="echo", messages=MESSAGES)

    assert refused.value.code == "invalid_credentials"


def test_unknown_model(place: Place) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        place.client().chat.completions.create(model="nope", messages=MESSAGES)

    assert refused.value.code == "model_not_found"
