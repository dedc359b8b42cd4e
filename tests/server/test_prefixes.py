"""Paths that a route takes a prefix off. Real sockets at both ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.raw_client import Answer, chat, request
from tests.fakes.routes import refused, running, taken
from tests.fakes.upstream import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


ANTHROPIC = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
STRIPPED = [
    ("/v1/chat/completions", chat(model="echo")),
    ("/v1/chat/completions?x=1", chat(model="echo")),
    ("/v1/responses", {"model": "echo", "input": "hi"}),
    ("/v1/messages", ANTHROPIC),
    ("/v1beta/models/echo:generateContent", CONTENTS),
    ("/v1/models/echo:generateContent", CONTENTS),
    ("/v1beta/models/echo:streamGenerateContent?alt=sse", CONTENTS),
    ("/openai/deployments/echo/chat/completions?api-version=2024-10-21", chat(model="echo")),
    ("/api/chat", chat(model="echo")),
    ("/api/generate", {"model": "echo", "prompt": "hi"}),
]


@pytest.mark.parametrize(("path", "body"), STRIPPED, ids=[path for path, _ in STRIPPED])
@pytest.mark.parametrize("prefix", ["/fast", "/teams/fast"])
async def test_a_prefix_is_taken_off_every_dialects_paths(
    upstream: ScriptedUpstream, prefix: str, path: str, body: dict[str, Any]
) -> None:
    """The body and the answer are those of the path without it; so is the record's endpoint."""
    route = f"{{name: r, match: {{path: '{prefix}/**'}}, strip_prefix: {prefix}}}"
    async with running(upstream, route) as gateway:
        plain = await gateway.ask(body, path=path)
        stripped = await gateway.ask(body, path=prefix + path)
        before, after = await gateway.settled(2)

        assert (plain.status, stripped.status) == (200, 200)
        assert plain.headers["content-type"] == stripped.headers["content-type"]
        assert (before.route, after.route) == (None, "r")
        assert before.endpoint == after.endpoint


async def test_what_is_below_a_prefix_is_served_and_refused_as_without(upstream: ScriptedUpstream) -> None:
    routes = [
        "{name: r, match: {path: /fast/**, user: alice}, strip_prefix: /fast}",
        "{name: faster, match: {path: /fast/er/**}, strip_prefix: /fast/er, model: b}",
    ]
    async with running(upstream, *routes) as gateway:

        async def ask(path: str, **how: Any) -> Answer:
            return await gateway.ask(how.pop("body", chat(model="echo")), path=path, **how)

        listed = await ask("/fast/v1/models", body=None, method="GET")
        counted = await ask("/fast/v1/messages/count_tokens", body=ANTHROPIC)
        longer = await ask("/fast/er/v1/chat/completions")
        method = await ask("/fast/v1/chat/completions", body=None, method="GET")
        stranger = await ask("/fast/v1/messages", body=ANTHROPIC, key="sk-wrong")

        assert "echo" in {one["id"] for one in listed.json["data"]}
        assert counted.json["input_tokens"] > 0
        assert longer.headers["x-llmgw-model"] == "b"
        assert method.status == 405
        assert (stranger.status, stranger.json["type"]) == (401, "error")


NOWHERE = [
    "/fast/nothing",
    "/fast",
    "/fast/",
    "/fasten/v1/chat/completions",
    "/fast/fast/v1/chat/completions",
    "/slow/v1/chat/completions",
    "/f%61st/v1/chat/completions",
    "/fast/v1/chat%2Fcompletions",
    "//fast/v1/chat/completions",
    "/x/../fast/v1/chat/completions",
    "/FAST/v1/chat/completions",
]


@pytest.mark.parametrize("path", NOWHERE)
async def test_nothing_is_at_a_path_that_no_route_takes_a_prefix_off(
    upstream: ScriptedUpstream, path: str
) -> None:
    route = "{name: r, match: {path: /fast/**}, strip_prefix: /fast}"
    async with running(upstream, route) as gateway:
        answer = await gateway.ask(chat(model="echo"), path=path)

        assert answer.status in (400, 404)
        assert not gateway.records


async def test_a_prefix_serves_nobody_whom_its_route_does_not_fit(upstream: ScriptedUpstream) -> None:
    """Not by the model's name either, nor by a route that takes nothing off."""
    routes = ["{name: r, match: {path: /fast/**, user: alice}, strip_prefix: /fast}", "{name: rest}"]
    async with running(upstream, *routes) as gateway:
        assert await taken(gateway, path="/fast/v1/chat/completions") == "r"
        assert (await refused(gateway, path="/fast/v1/chat/completions", key="sk-rival"))[0] == 404
        assert await taken(gateway, key="sk-rival") == "rest"


@pytest.mark.parametrize("name", [":path", ":prefix"])
async def test_no_header_of_a_client_can_say_which_path_it_came_by(
    upstream: ScriptedUpstream, name: str
) -> None:
    routes = ["{name: r, match: {path: /fast/**}, strip_prefix: /fast}"]
    async with running(upstream, *routes) as gateway:
        client = await gateway.connect()
        await client.send(request(chat(model="echo"), headers={name: "/fast"}))
        answer = await client.read_answer()

        assert answer.status == 400
        assert not gateway.records
