"""Idempotency keys as clients meet them: which are good, whose they are, and what they are refused with.

Both ends are real sockets; the upstream keeps its own list of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import openai
import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.keyed import KEY, REPLAYED, Events, keyed, whole
from tests.fakes.raw_client import chat, request
from tests.fakes.upstream import ScriptedUpstream, delay, hang, json_reply


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(whole()))
        yield up


async def test_h01_missing_key_where_required(upstream: ScriptedUpstream) -> None:
    """The two members that were agreed on, where to read about it, and event 6001; nothing is asked."""
    async with RunningGateway(upstream, extra="idempotency: {mode: required}\n") as gateway:
        events = Events(gateway)

        for path in ("/v1/chat/completions", "/v1/messages"):
            answer = await gateway.ask(chat(max_tokens=5), path=path)

            assert answer.status == 400
            assert answer.json == {
                "error": "idempotency_key_required",
                "message": "Header 'Idempotency-Key' is required for POST requests",
            }
            assert 'rel="describedby"' in answer.headers["link"]
            assert answer.headers["x-llmgw-code"] == "idempotency_key_required"
            assert answer.headers["x-should-retry"] == "false"
            assert "x-request-id" in answer.headers
        assert events.ids(6001) == ["warning", "warning"]
        assert upstream.requests == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "abc",
        "8e03978e-40d5-13dd-bc93-6894a57f9324",
        "8e03978e-40d5-43dd-cc93-6894a57f9324",
        "8e03978e40d543ddbc936894a57f9324",
        KEY + "0",
        f'"{KEY}',
        f"{KEY}, {KEY}",
    ],
)
async def test_h02_malformed_keys_are_refused(upstream: ScriptedUpstream, key: str) -> None:
    async with RunningGateway(upstream) as gateway:
        answer = await gateway.ask(chat(), headers=keyed(key))

        assert answer.status == 400
        assert answer.json["error"]["code"] == "idempotency_key_invalid"
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert upstream.requests == []


async def test_h02_two_headers_are_refused(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream) as gateway:
        client = await gateway.connect()
        head = request(chat(), headers=keyed()).replace(
            b"idempotency-key", f"idempotency-key: {uuid4()}\r\nidempotency-key".encode(), 1
        )
        await client.send(head)

        assert (await client.read_answer()).json["error"]["code"] == "idempotency_key_invalid"


async def test_h02_a_key_of_a_mebibyte_is_refused(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream) as gateway:
        client = await gateway.open(chat(), headers=keyed("k" * (1 << 20)))

        assert (await client.read_head()).status == 431


async def test_h02_quoted_bare_and_upper_case_are_one_key(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream) as gateway:
        answers = [await gateway.ask(chat(), headers=keyed(key)) for key in (KEY, f'"{KEY}"', KEY.upper())]

        assert [REPLAYED in answer.headers for answer in answers] == [False, True, True]
        assert len(upstream.requests) == 1


async def test_h02_opaque_keys_are_visible_ascii(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream, extra="idempotency: {format: opaque}\n") as gateway:
        for key, status in (
            ("order-17", 200),
            ("k" * 255, 200),
            ("k" * 256, 400),
            ("two words", 400),
            ("é", 400),
        ):
            assert (await gateway.ask(chat(), headers=keyed(key))).status == status, key


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (chat("other"), {}),
        (chat(model="renamed"), {}),
        (chat(max_tokens=5), {"path": "/v1/messages"}),
        (chat(stream=True), {}),
    ],
)
async def test_h05_same_key_for_another_request(
    upstream: ScriptedUpstream, body: dict[str, object], how: dict[str, str]
) -> None:
    async with RunningGateway(upstream) as gateway:
        await gateway.ask(chat(), headers=keyed())

        answer = await gateway.ask(body, headers=keyed(), **how)

        assert answer.status == 422
        assert answer.headers["x-llmgw-code"] == "idempotency_key_reused"
        assert answer.headers["x-should-retry"] == "false"
        assert len(upstream.requests) == 1


async def test_h05_while_the_first_is_under_way(upstream: ScriptedUpstream) -> None:
    upstream.default(hang())
    async with RunningGateway(upstream) as gateway:
        await gateway.open(chat(), headers=keyed())
        await upstream.received(1)

        assert (await gateway.ask(chat("other"), headers=keyed())).status == 422
        assert (await gateway.ask(chat(), headers=keyed())).status == 409


async def test_h06_keys_of_others_are_others_keys(upstream: ScriptedUpstream) -> None:
    """Another tenant, and another key of the tenant: neither an answer nor a refusal tells of it."""
    async with RunningGateway(upstream) as gateway:
        body = chat(model="echo")
        for who in ("sk-test", "sk-held", "sk-rival"):
            answer = await gateway.ask(body | {"user": who}, key=who, headers=keyed())

            assert answer.status == 200, who
            assert REPLAYED not in answer.headers


async def test_a_caller_without_a_name_is_known_by_its_address(upstream: ScriptedUpstream) -> None:
    """Behind a trusted proxy, by the one that it tells."""
    extra = "auth: {anonymous: {tenant: rival}}\nserver: {trusted_proxies: [127.0.0.0/8]}\n"
    async with RunningGateway(upstream, extra=extra) as gateway:
        answers = [
            await gateway.ask(chat(), key=None, headers=keyed(**{"x-forwarded-for": address}))
            for address in ("203.0.113.1", "203.0.113.1", "203.0.113.2")
        ]

        assert [REPLAYED in answer.headers for answer in answers] == [False, True, False]


async def test_h04_a_duplicate_under_way_is_refused_for_a_second(upstream: ScriptedUpstream) -> None:
    upstream.script(delay(0.2), json_reply(whole()))
    async with RunningGateway(upstream) as gateway:
        first = await gateway.open(chat(), headers=keyed())
        await upstream.received(1)

        second = await gateway.ask(chat(), headers=keyed())

        assert second.status == 409
        assert second.json["error"]["code"] == "idempotency_key_in_use"
        assert second.headers["retry-after"] == "1"
        assert second.headers["x-should-retry"] == "true"
        assert (await first.read_answer()).status == 200
        assert REPLAYED in (await gateway.ask(chat(), headers=keyed())).headers
        assert len(upstream.requests) == 1


async def test_h04_duplicates_wait_when_they_are_told_to(upstream: ScriptedUpstream) -> None:
    upstream.script(delay(0.2), json_reply(whole()))
    async with RunningGateway(upstream, extra="idempotency: {wait: 5s}\n") as gateway:
        answers = await asyncio.gather(*(gateway.ask(chat(), headers=keyed()) for _ in range(20)))

        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert sum(REPLAYED in answer.headers for answer in answers) == 19
        assert len(upstream.requests) == 1


async def test_h04_one_of_those_who_wait_runs_when_the_first_fails(upstream: ScriptedUpstream) -> None:
    upstream.script(delay(0.1), json_reply({"error": {"message": "no"}}, 500))
    async with RunningGateway(upstream, extra="idempotency: {wait: 5s}\n") as gateway:
        answers = await asyncio.gather(*(gateway.ask(chat(), headers=keyed()) for _ in range(10)))

        assert sorted(answer.status for answer in answers) == [200] * 9 + [500]
        assert len(upstream.requests) == 2


async def test_h04_the_sdk_ends_with_the_answer(upstream: ScriptedUpstream) -> None:
    """Two clients with one key: the one that is refused asks again by itself."""
    upstream.script(delay(0.3), json_reply(whole("once")))
    async with RunningGateway(upstream) as gateway:
        client = openai.AsyncOpenAI(api_key="sk-test", base_url=f"http://127.0.0.1:{gateway.port}/v1")
        async with client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="gpt-4o",
                        messages=[{"role": "user", "content": "hi"}],
                        extra_headers={"Idempotency-Key": KEY},
                    )
                    for _ in range(2)
                )
            )

        assert [answer.choices[0].message.content for answer in answers] == ["once", "once"]
        assert len(upstream.requests) == 1


async def test_modes_of_routes_and_tenants(upstream: ScriptedUpstream) -> None:
    """The route's word holds over the tenant's, and that over the one for all."""
    extra = (
        "idempotency: {mode: required}\n"
        "routes:\n"
        "- {name: keyless, match: {headers: {x-team: free}}, idempotency: {mode: off}}\n"
        "- {name: strict, match: {headers: {x-team: strict}}, idempotency: {mode: required}}\n"
    )
    async with RunningGateway(upstream, extra=extra, acme="idempotency: {mode: optional}") as gateway:

        async def status(key: str, **headers: str) -> int:
            return (await gateway.ask(chat(), key=key, headers=headers)).status

        assert await status("sk-rival") == 400
        assert await status("sk-test") == 200
        assert await status("sk-test", **{"x-team": "strict"}) == 400
        assert await status("sk-rival", **{"x-team": "free"}) == 200
        ignored = [await gateway.ask(chat(), headers=keyed("any", **{"x-team": "free"})) for _ in range(2)]
        assert [REPLAYED in answer.headers for answer in ignored] == [False, False]


@pytest.mark.parametrize(
    ("path", "key", "status", "told"),
    [
        ("/v1/messages", "abc", 400, ("error", "type", "invalid_request_error")),
        ("/v1/messages", KEY, 422, ("error", "type", "invalid_request_error")),
        ("/v1beta/models/gpt-4o:generateContent", KEY, 422, ("error", "status", "INVALID_ARGUMENT")),
        ("/v2/chat", KEY, 422, ("message",)),
    ],
)
async def test_refusals_have_the_callers_dialect(
    upstream: ScriptedUpstream, path: str, key: str, status: int, told: tuple[str, ...]
) -> None:
    async with RunningGateway(upstream) as gateway:
        await gateway.ask(chat("first"), headers=keyed())
        body = chat(max_tokens=5) if "v1beta" not in path else {"contents": [{"parts": [{"text": "hi"}]}]}

        answer = await gateway.ask(body, path=path, headers=keyed(key))

        assert answer.status == status
        found = answer.json
        for name in told[:2]:
            found = found[name]
        assert len(told) == 1 or found == told[2]


async def test_a_form_with_another_boundary_is_the_same_request(upstream: ScriptedUpstream) -> None:
    """HTTP clients choose a new one each time they send it."""

    def form(boundary: str) -> bytes:
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n{{}}\r\n'
        parts = part.format("model", "", "gpt-4o") + part.format("file", '; filename="a.mp3"', "abc")
        return f"{parts}--{boundary}--\r\n".encode()

    upstream.default(json_reply({"text": "abc"}))
    async with RunningGateway(upstream) as gateway:
        answers = [
            await gateway.ask(
                form(boundary),
                path="/v1/audio/transcriptions",
                headers=keyed(**{"content-type": f"multipart/form-data; boundary={boundary}"}),
            )
            for boundary in ("aaaa", "bbbb")
        ]

        assert [answer.status for answer in answers] == [200, 200]
        assert REPLAYED in answers[1].headers
