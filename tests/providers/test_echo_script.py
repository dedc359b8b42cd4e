from __future__ import annotations

import pytest

from llmgw.core.errors import UpstreamBroken, UpstreamTimeout
from llmgw.ports.transport import Timeouts
from llmgw.providers.echo_answers import BadEchoRequest
from llmgw.providers.echo_script import Script, read_script
from tests.providers.conftest import Asker, Heard


def contents(heard: Heard) -> str:
    """The words of a streamed answer, as far as they can be read."""
    parts = []
    for data in heard.data:
        if data != b"[DONE]" and b"garbage" not in data:
            parts.append(data.split(b'"delta":')[1])
    return b"".join(parts).decode()


def test_no_directive_no_script() -> None:
    assert read_script("hello [[world]]") == (Script(), "hello [[world]]")


def test_every_directive() -> None:
    script, text = read_script(
        "say [[echo status=503 retry-after=7 delay=250ms]] this "
        "[[echo stall=1 cut=2 malformed=3 usage=none pace=50]]"
    )

    assert text == "say this"
    assert script == Script(
        status=503,
        retry_after=7,
        delay_s=0.25,
        pace=50.0,
        stall=1,
        cut=2,
        malformed=3,
        usage=False,
    )


@pytest.mark.parametrize(
    "directive",
    [
        "nonsense=1",
        "status=200",
        "status=600",
        "status=x",
        "delay=fast",
        "tokens=-1",
        "tokens=99999999999",
        "tokens=٣",
        "usage=some",
        "delay=",
    ],
)
def test_directive_that_means_nothing(directive: str) -> None:
    with pytest.raises(BadEchoRequest, match="echo"):
        read_script(f"[[echo {directive}]]")


async def test_unknown_directive_is_the_callers_mistake(ask: Asker) -> None:
    heard = await ask.chat("hi [[echo explode=now]]")

    assert heard.status == 400
    assert "explode" in heard.json["error"]["message"]


async def test_status_with_retry_after(ask: Asker) -> None:
    heard = await ask.chat("hi [[echo status=429 retry-after=7]]", stream=True)

    assert heard.status == 429
    assert dict(heard.headers)[b"retry-after"] == b"7"
    assert heard.json["error"]["code"] == "echo_fault"


async def test_number_of_tokens(ask: Asker) -> None:
    heard = await ask.chat("[[echo tokens=100]]")

    assert heard.json["usage"]["completion_tokens"] == 100


async def test_no_usage(ask: Asker) -> None:
    whole = await ask.chat("a [[echo usage=none]]")
    stream = await ask.chat("a [[echo usage=none]]", stream=True, stream_options={"include_usage": True})

    assert "usage" not in whole.json
    assert all(event["usage"] is None for event in stream.events)


async def test_cut_after_tokens(ask: Asker) -> None:
    """Exactly so many tokens come, then the connection breaks."""
    heard = await ask.chat("one two three four [[echo cut=3]]", stream=True)

    assert [event["choices"][0]["delta"]["content"] for event in heard.events] == [
        "",
        "one",
        " two",
        " three",
    ]
    assert isinstance(heard.error, UpstreamBroken)
    assert heard.error.phase == "body"


async def test_cut_in_a_response_stream(ask: Asker) -> None:
    heard = await ask(
        "/v1/responses", {"model": "echo", "input": "one two three [[echo cut=2]]", "stream": True}
    )

    assert [event["delta"] for event in heard.events if "delta" in event] == ["one", " two"]
    assert heard.error is not None


async def test_cut_of_a_whole_answer(ask: Asker) -> None:
    heard = await ask.chat("one two three [[echo cut=3]]")

    assert heard.length is not None
    assert 0 < len(heard.body) < heard.length
    assert isinstance(heard.error, UpstreamBroken)


async def test_cut_before_the_head(ask: Asker) -> None:
    heard = await ask.chat("one [[echo cut=0]]", stream=True)

    assert heard.status == 0
    assert isinstance(heard.error, UpstreamBroken)


async def test_stall_ends_with_the_idle_timeout(ask: Asker) -> None:
    ask.timeouts = Timeouts(idle_s=0.02)

    heard = await ask.chat("one two three four [[echo stall=2]]", stream=True)

    assert len(heard.chunks) == 3
    assert isinstance(heard.error, UpstreamTimeout)
    assert heard.error.phase == "body"


@pytest.mark.parametrize("stream", [True, False])
async def test_stall_before_the_head(ask: Asker, stream: bool) -> None:
    """A stream's first byte has its own time; a whole answer has the total."""
    ask.timeouts = Timeouts(first_byte_s=0.02) if stream else Timeouts(first_byte_s=0.001, total_s=0.02)

    heard = await ask.chat("one [[echo stall=0]]", stream=stream)

    assert heard.status == 0
    assert isinstance(heard.error, UpstreamTimeout)


async def test_malformed_event(ask: Asker) -> None:
    heard = await ask.chat("one two three [[echo malformed=1]]", stream=True)

    assert b"garbage" in heard.chunks[-1]
    assert len(heard.chunks) == 3
    assert "one" in contents(heard)


async def test_malformed_answer(ask: Asker) -> None:
    heard = await ask.chat("one [[echo malformed=1]]")

    with pytest.raises(ValueError, match="Expecting"):
        _ = heard.json
