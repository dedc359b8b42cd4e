"""Every official SDK against every family of upstreams: what goes up, and what the SDK makes of the answer.

The clients are the SDKs themselves; the upstreams read and write their own family's wire, by nothing of
llmgw's, and answer what they are asked.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.families import CITIES, INPUT, OUTPUT, PERSON, PIXEL, SIGNATURE
from tests.fakes.sdks import (
    AUTH,
    BROKEN,
    CITY,
    FORBIDDEN,
    INVALID,
    LIMIT,
    LIMITED,
    NOT_FOUND,
    PERSON_SCHEMA,
    SYSTEM,
    TOOL,
    Anthropic,
    OpenAIChat,
    OpenAIResponses,
    Sdk,
)
from tests.fakes.sdks_other import Cohere, Google, Mistral, Ollama
from tests.fakes.stage import ROWS, UPSTREAM_KEY, Stage

SDKS = {
    "openai-chat": OpenAIChat,
    "openai-responses": OpenAIResponses,
    "anthropic": Anthropic,
    "google-genai": Google,
    "mistralai": Mistral,
    "ollama": Ollama,
    "cohere": Cohere,
}
STOPS = {
    "openai-chat": ("stop", "tool_calls"),
    "openai-responses": ("completed", "completed"),
    "anthropic": ("end_turn", "tool_use"),
    "google-genai": ("STOP", "STOP"),
    "mistralai": ("stop", "tool_calls"),
    "ollama": ("stop", "stop"),
    "cohere": ("COMPLETE", "TOOL_CALL"),
}
"""The SDK's words for an answer that is over, and for one that waits for a tool."""
SIGNING = ("anthropic", "bedrock", "gemini")
CARRYING = ("openai-chat", "openai-responses", "anthropic", "google-genai")
"""SDKs whose dialect has room for a signature."""
RELAYED = ("openai", "compatible", "ollama")
"""Families that speak OpenAI's chat completions: what Mistral's SDK gets of them are their own bytes."""
WHOLE_OR_STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


@pytest.fixture(scope="module")
def sdks(stage: Stage) -> Iterator[dict[str, Sdk]]:
    made: dict[str, Sdk] = {name: sdk(stage.root, "sk-test") for name, sdk in SDKS.items()}
    yield made
    for sdk in made.values():
        sdk.close()


@pytest.fixture(params=SDKS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sdk(sdks: dict[str, Sdk], client: str) -> Sdk:
    return sdks[client]


@pytest.fixture(params=ROWS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@WHOLE_OR_STREAMED
def test_chat(stage: Stage, sdk: Sdk, client: str, family: str, stream: bool) -> None:
    """Text, why it ended, and usage with all its parts; nobody's credential goes where it must not."""
    answer = sdk.ask(family, [sdk.user("hello you")], stream=stream)
    asked = stage.asked[-1]

    assert asked.stream is stream
    assert (asked.system, asked.texts, asked.max_output) == (SYSTEM, ["hello you"], LIMIT)
    assert answer.text == "Hello there, friend"
    assert answer.stop == STOPS[client][0]
    assert answer.usage == (INPUT, OUTPUT)
    assert b"sk-test" not in stage.heads[-1]
    assert UPSTREAM_KEY.encode() in stage.heads[-1] or family in ("ollama", "bedrock")


@WHOLE_OR_STREAMED
@pytest.mark.parametrize("word", ["tools", "parallel"])
def test_tools(stage: Stage, sdk: Sdk, client: str, family: str, stream: bool, word: str) -> None:
    """Calls come down, and go back up with their results, each at its own call."""
    history = [sdk.user(f"{word} please")]
    cities = CITIES[: 2 if word == "parallel" else 1]

    called = sdk.ask(family, history, tools=True, stream=stream)
    offered = stage.asked[-1].tools
    results = [f"fine in {city}" for city in cities]
    answer = sdk.ask(family, sdk.goes_on(history, called, results), tools=True, stream=stream)
    asked = stage.asked[-1]

    assert offered.keys() == {TOOL}
    assert offered[TOOL]["properties"].keys() == CITY["properties"].keys()
    assert called.stop == STOPS[client][1]
    assert [(name, arguments) for _, name, arguments in called.calls] == [
        (TOOL, {"city": city}) for city in cities
    ]
    assert [(name, arguments) for _, name, arguments in asked.calls] == [
        (TOOL, {"city": city}) for city in cities
    ]
    assert asked.results == [(call, text) for (call, *_), text in zip(asked.calls, results, strict=True)]
    assert answer.text == " and ".join(results)


def test_image(stage: Stage, sdk: Sdk, family: str) -> None:
    answer = sdk.ask(family, [sdk.user("image of what", image=True)])

    assert stage.asked[-1].images == [("image/png", PIXEL)]
    assert "image of what" in "".join(stage.asked[-1].texts)
    assert answer.text == "a dot"


@WHOLE_OR_STREAMED
def test_schema(stage: Stage, sdk: Sdk, family: str, stream: bool) -> None:
    """The schema is where the family has a place for it, and the answer comes as text."""
    answer = sdk.ask(family, [sdk.user("schema of a person")], schema=True, stream=stream)
    schema = stage.asked[-1].schema

    assert schema["properties"].keys() == PERSON_SCHEMA["properties"].keys()
    assert schema["required"] == PERSON_SCHEMA["required"]
    assert answer.text == PERSON


# Mistral's answers as they come, of which OpenAI's SDK expects texts.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
@WHOLE_OR_STREAMED
def test_thinking(stage: Stage, sdk: Sdk, client: str, family: str, stream: bool) -> None:
    """Thoughts are shown, and their signature comes back to who signed; to nobody else."""
    if (client, family, stream) == ("openai-chat", "mistral", True):
        pytest.skip("Mistral's thoughts are parts of the content, which OpenAI's SDK cannot gather")
    history = [sdk.user("think first")]

    thought = sdk.ask(family, history, tools=True, think=True, stream=stream)
    goes_on = sdk.goes_on(history, thought, ["fine"])
    answer = sdk.ask(family, goes_on, tools=True, think=True, stream=stream)
    back = stage.asked[-1].thoughts

    speaks = family != "openai" or client == "openai-responses"
    if client == "mistralai" and family in RELAYED and not stream:
        speaks = False  # relayed as they came; its SDK has no member for them
    assert thought.thinking == ("I should ask." if speaks else "")
    assert [arguments for _, _, arguments in thought.calls] == [{"city": CITIES[0]}]
    signs = family in SIGNING or (family, client) == ("openai", "openai-responses")
    if signs and client in CARRYING:
        assert SIGNATURE in [signature for _, signature in back]
    elif family in ("anthropic", "bedrock"):
        assert {signature for _, signature in back} <= {SIGNATURE}
    assert {signature for _, signature in back} <= {None, SIGNATURE}
    assert answer.text == "fine"


@pytest.mark.parametrize(
    ("words", "situation", "statuses"),
    [
        ("error 400 context", INVALID, {400}),
        ("error 429", LIMITED, {429}),
        ("error 500", BROKEN, {500, 502}),
        ("error 529", BROKEN, {503, 529}),
    ],
)
@WHOLE_OR_STREAMED
def test_errors_of_the_upstream(
    sdk: Sdk, family: str, stream: bool, words: str, situation: str, statuses: set[int]
) -> None:
    """Each SDK raises its own exception for it."""
    with pytest.raises(sdk.errors[situation]) as raised:
        sdk.ask(family, [sdk.user(words)], stream=stream)

    assert type(raised.value) is sdk.errors[situation] or situation == BROKEN
    assert status_of(raised.value) in statuses
    assert UPSTREAM_KEY not in str(raised.value)


def test_the_gateway_s_key_is_refused(sdk: Sdk, family: str) -> None:
    """That is not the caller's fault, nor its to read; a second request is told to come back later."""
    for _ in range(2):
        with pytest.raises(sdk.errors[BROKEN]) as raised:
            sdk.ask(f"{family}-refused", [sdk.user("error 401")])
        assert status_of(raised.value) in (502, 503)
        assert UPSTREAM_KEY not in str(raised.value)


@WHOLE_OR_STREAMED
def test_errors_of_the_gateway(stage: Stage, client: str, sdk: Sdk, stream: bool) -> None:
    before = len(stage.asked)
    stranger = SDKS[client](stage.root, "sk-wrong")
    try:
        for who, model, situation, status in (
            (stranger, "openai", AUTH, 401),
            (sdk, "forbidden", FORBIDDEN, 403),
            (sdk, "nobody", NOT_FOUND, 404),
        ):
            with pytest.raises(sdk.errors[situation]) as raised:
                who.ask(model, [sdk.user("hello")], stream=stream)
            assert status_of(raised.value) == status
    finally:
        stranger.close()

    assert len(stage.asked) == before


def status_of(error: BaseException) -> object:
    """The HTTP status, by the SDK's name for it."""
    return getattr(error, "status_code", None) or getattr(error, "code", None)
