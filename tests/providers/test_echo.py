from __future__ import annotations

import pytest

from llmgw.config.providers import Echo as Settings
from llmgw.core.errors import UpstreamBroken
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.ports.transport import Timeouts, UpstreamRequest
from llmgw.providers.echo import Echo
from tests.contracts.provider import ProviderContract
from tests.providers.conftest import Asker, Heard

CHAT = "/v1/chat/completions"


class TestEcho(ProviderContract):
    @pytest.fixture
    async def provider(self) -> Echo:
        return Echo("configured-name", Settings(kind="echo"))


HOSTILE: list[tuple[str, object]] = [
    (CHAT, b""),
    (CHAT, b"[1]"),
    (CHAT, b"\xff\xfe"),
    (CHAT, b'{"messages": ' + b"[" * 900 + b"]" * 900 + b"}"),
    (CHAT, {"messages": 5}),
    (CHAT, {"messages": [5, None, True]}),
    (CHAT, {"messages": [{"role": [], "content": {"content": {"text": 5}}}]}),
    (CHAT, {"messages": "x", "tools": 5}),
    (CHAT, {"messages": "x", "tools": [5, {"function": 5}, {"function": {"name": []}}]}),
    (CHAT, {"messages": "x", "tools": [{"function": {"name": "f"}}], "tool_choice": {"function": 5}}),
    (
        CHAT,
        {"messages": "x", "tools": [{"function": {"name": "f"}}], "tool_choice": {"function": {"name": []}}},
    ),
    (CHAT, {"messages": "call f", "tools": [{"function": {"name": "f", "parameters": 5}}]}),
    (CHAT, {"messages": "call f", "tools": [{"function": {"name": "f", "parameters": {"properties": 5}}}]}),
    (
        CHAT,
        {
            "messages": "call f",
            "tools": [{"function": {"name": "f", "parameters": {"properties": {"a": {"enum": 5}, "b": 1}}}}],
        },
    ),
    (CHAT, {"messages": "x", "n": "two"}),
    (CHAT, {"messages": "x", "max_tokens": True}),
    (CHAT, {"messages": "x", "stream": True, "stream_options": 5}),
    (CHAT, {"messages": []}),
    ("/v1/embeddings", {"input": 5}),
    ("/v1/embeddings", {"input": []}),
    ("/v1/embeddings", {"input": {"a": 1}}),
    ("/v1/embeddings", {"input": "x", "dimensions": "many"}),
    ("/v1/moderations", {"input": 5}),
    ("/v1/completions", {"prompt": [[1], "a"]}),
    ("/v1/responses", {"input": [{"type": "message"}]}),
]


@pytest.mark.parametrize(("path", "body"), HOSTILE)
async def test_whatever_is_asked_is_answered(ask: Asker, path: str, body: object) -> None:
    """A body of any shape gives an answer or a 400, never an exception on the loop."""
    heard = await ask(path, body)

    assert heard.ended
    assert heard.status in (200, 400)
    if heard.status == 400:
        assert heard.json["error"]["type"] == "invalid_request_error"


async def test_path_that_echo_does_not_serve(ask: Asker) -> None:
    heard = Heard()
    ask.echo.transport.send(
        UpstreamRequest(ask.echo.origin, b"POST /v1/nothing HTTP/1.1\r\n", b"{}", Timeouts()), heard
    )
    await heard.over.wait()

    assert heard.status == 404


async def test_declared_length_is_true(ask: Asker) -> None:
    heard = await ask.chat("hello there")

    assert heard.length == len(heard.body)


async def test_stream_has_no_length(ask: Asker) -> None:
    heard = await ask.chat("hello there", stream=True)

    assert heard.length is None
    assert dict(heard.headers)[b"content-type"] == b"text/event-stream; charset=utf-8"


async def test_same_request_same_bytes(ask: Asker) -> None:
    assert (await ask.chat("hello", stream=True)).body == (await ask.chat("hello", stream=True)).body
    assert (await ask.chat("hello")).body != (await ask.chat("hello!")).body


async def test_closing_breaks_off_what_is_under_way(ask: Asker) -> None:
    _, heard = ask.send(CHAT, {"messages": "a [[echo delay=60s]]"})

    await ask.echo.transport.close()

    assert isinstance(heard.error, UpstreamBroken)


async def test_faults_can_be_switched_off() -> None:
    """Then a directive is a text like any other."""
    ask = Asker(Echo("configured-name", Settings(kind="echo", faults=False)))

    heard = await ask.chat("a [[echo status=503]]")

    assert heard.status == 200
    assert heard.json["choices"][0]["message"]["content"] == "a [[echo status=503]]"


def test_stream_usage_is_accepted_where_the_wire_has_it() -> None:
    echo = Echo("configured-name", Settings(kind="echo"))

    assert echo.stream_usage(ENDPOINTS[CHAT])
    assert not echo.stream_usage(ENDPOINTS["/v1/responses"])
