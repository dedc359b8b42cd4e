"""What is refused, with which status and code, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, hang, json_reply

DEEP = b'{"model":"gpt-4o","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LONG_NUMBER = b'{"model":"gpt-4o","n":' + b"9" * 4301 + b"}"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply({"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
        yield up


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(upstream) as running:
        yield running
        await running.quiet()
        assert running.heard.inside == 0


BODIES: list[tuple[bytes, int, str, str | None]] = [
    (b"", 400, "invalid_request", None),
    (b"{", 400, "invalid_request", None),
    (b"[]", 400, "invalid_request", None),
    (b'{"messages":[]}', 400, "invalid_request", "model"),
    (b'{"model":""}', 400, "invalid_request", "model"),
    (b'{"model":5}', 400, "invalid_request", "model"),
    (b'{"model":null}', 400, "invalid_request", "model"),
    (b'{"model":"gpt-4o","model":"echo"}', 400, "invalid_request", None),
    (b'{"model":"gpt-4o","stream":"yes"}', 400, "invalid_request", "stream"),
    (b'{"model":"gpt-4o","stream":true,"stream_options":[]}', 400, "invalid_request", "stream_options"),
    (b'{"model":"gpt-4o","temperature":NaN}', 400, "invalid_request", None),
    (b'{"model":"gpt-4o","temperature":1e999}', 400, "invalid_request", "temperature"),
    (b'{"model":"gpt-4o","x":"\\ud800"}', 400, "invalid_request", None),
    (b'\xef\xbb\xbf{"model":"gpt-4o"}', 400, "invalid_request", None),
    ('{"model":"gpt-4o"}'.encode("utf-16"), 400, "invalid_request", None),
    (DEEP, 400, "invalid_request", None),
    (LONG_NUMBER, 400, "invalid_request", "n"),
    (
        json.dumps({"model": "gpt-4o", **{str(n): n for n in range(5000)}}).encode(),
        400,
        "invalid_request",
        None,
    ),
    (b'{"model":"nope"}', 404, "model_not_found", "model"),
    (b'{"model":"forbidden"}', 404, "model_not_found", "model"),
]


@pytest.mark.parametrize(("body", "status", "code", "param"), BODIES, ids=range(len(BODIES)))
async def test_a16_b05_bodies(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    body: bytes,
    status: int,
    code: str,
    param: str | None,
) -> None:
    """Refused in OpenAI's shape, logged as what it was, and never dispatched."""
    answer = await gateway.ask(body)

    assert answer.status == status
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert answer.headers["x-request-id"]
    assert answer.headers["x-should-retry"] == "false"
    assert upstream.requests == []
    assert gateway.records == []
    await gateway.quiet()
    (report,) = gateway.reports
    assert (report.status, report.code, report.outcome) == (status, code, "refused")


CREDENTIALS: list[tuple[dict[str, Any], int]] = [
    ({"key": None}, 401),
    ({"key": "sk-wrong"}, 401),
    ({"key": "sk-old"}, 401),
    ({"key": ""}, 401),
    ({"key": "' OR 1=1 --"}, 401),
    ({"key": "llmgw_aaaaaaaaaaaaaaaa_" + "A" * 43}, 401),
    ({"key": "x" * 10_000}, 401),
    ({"key": None, "headers": {"authorization": "Basic c2s6dGVzdA=="}}, 401),
    ({"key": "sk-test", "headers": {"x-api-key": "sk-rival"}}, 401),
    ({"key": None, "headers": {"x-api-key": "sk-test"}}, 200),
    ({"key": None, "headers": {"api-key": "sk-test"}}, 200),
    ({"key": None, "headers": {"x-goog-api-key": "sk-test"}}, 200),
    ({"key": "sk-test", "headers": {"x-api-key": "sk-test"}}, 200),
    ({"key": None, "headers": {"authorization": "bearer sk-test"}}, 200),
]


@pytest.mark.parametrize(("how", "status"), CREDENTIALS, ids=range(len(CREDENTIALS)))
async def test_d01_n02_credentials(
    gateway: RunningGateway, upstream: ScriptedUpstream, how: dict[str, Any], status: int
) -> None:
    """Whichever header carries the key; a wrong one is never echoed."""
    answer = await gateway.ask(chat(), **how)

    assert answer.status == status
    if status == 401:
        assert answer.json["error"]["code"] == "invalid_credentials"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert upstream.requests == []
        for text in ("sk-wrong", "1=1", "xxxx", "c2s6"):
            assert text not in answer.body.decode()


async def test_two_authorization_headers_are_refused(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    raw = request(chat()).replace(b"authorization:", b"authorization: Bearer sk-rival\r\nauthorization:")
    await client.send(raw)

    assert (await client.read_answer()).status == 401


async def test_a_key_is_held_to_its_models(gateway: RunningGateway) -> None:
    answer = await gateway.ask(chat(), key="sk-held")

    assert (answer.status, answer.json["error"]["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("method", "path", "status", "flat"),
    [
        ("GET", "/v1/chat/completions", 405, False),
        ("PUT", "/v1/chat/completions", 405, False),
        ("DELETE", "/v1/models", 405, False),
        ("HEAD", "/v1/chat/completions", 405, False),
        ("POST", "/v1/nothing", 404, False),
        ("POST", "/v1/chat/completions/", 404, False),
        ("POST", "/V1/chat/completions", 404, True),
        ("GET", "/", 404, True),
        ("POST", "/v1/../v1/chat/completions", 404, False),
        ("POST", "/v1/%2e%2e/chat/completions", 404, False),
        ("POST", "/v1//chat/completions", 404, False),
        ("POST", "//v1/chat/completions", 404, True),
        ("POST", "/v1/chat%2fcompletions", 404, False),
        ("POST", "/v1/ch%61t/completions", 404, False),
        ("POST", "/v1/files", 404, False),
        ("GET", "/v1/responses/resp_1", 404, False),
        ("POST", "/v1/batches", 404, False),
        ("GET", "/metrics", 404, True),
        ("GET", "/v1/models/nope", 404, False),
    ],
)
async def test_e08_e10_paths(
    gateway: RunningGateway, upstream: ScriptedUpstream, method: str, path: str, status: int, flat: bool
) -> None:
    """Only exact paths lead upstream; what is not metered is not there."""
    answer_client = await gateway.open(
        chat() if method in ("POST", "PUT") else None, method=method, path=path
    )
    answer = await answer_client.read_head()

    assert answer.status == status
    assert answer.headers["x-request-id"]
    if method != "HEAD":
        body = json.loads(await answer_client.reader.readexactly(int(answer.headers["content-length"])))
        if status >= 400:
            assert isinstance(body["error"], str) is flat
    if status == 405:
        assert answer.headers["allow"]
    assert upstream.requests == []


async def test_a_query_takes_the_longer_way_to_the_same_place(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    answer = await gateway.ask(chat(), path="/v1/chat/completions?api-version=1")

    assert answer.status == 200
    assert upstream.requests[0].target == "/v1/chat/completions"
    assert len(await gateway.settled()) == 1


async def test_c11_a_callers_request_id_is_shown_but_is_no_key(gateway: RunningGateway) -> None:
    """Two requests with one id leave two records."""
    for _ in range(2):
        answer = await gateway.ask(chat(), headers={"x-request-id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
    bad = await gateway.ask(chat(), headers={"x-request-id": "no spaces please"})

    assert bad.headers["x-request-id"].startswith("req_")
    records = await gateway.settled(3)
    assert len({record.request_id for record in records}) == 3
    assert [record.client_request_id for record in records] == ["mine-1", "mine-1", None]


async def test_b04_declared_too_large_is_refused_before_the_body(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    head = request(b"", headers={"content-length": str(10**9)})
    await client.send(head)

    answer = await client.read_answer()

    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"
    assert await client.at_end()


async def test_b04_chunked_too_large_is_refused_at_the_byte_past_the_limit(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    head = request(b"", headers={"transfer-encoding": "chunked"}).replace(b"content-length: 0\r\n", b"")
    await client.send(head)
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for _ in range(17):
        await client.send(piece)

    answer = await client.read_answer()

    assert answer.status == 413


async def test_b04_a_body_shorter_than_it_says_is_dropped(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = await gateway.connect()
    await client.send(request(b'{"model":', headers={"content-length": "100"}))

    await client.vanish()
    await asyncio.sleep(0.05)

    assert upstream.requests == []
    assert gateway.heard.inside == 0


async def test_b03_a_slow_body_times_out(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await client.send(request(b'{"model":', headers={"content-length": "100"}))
    await asyncio.sleep(0.05)

    gateway.listener.check_deadlines(asyncio.get_running_loop().time() + 6)

    answer = await client.read_answer()
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /v1/" + b"x" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414, "uri_too_long"),
        (b"GET /v1/" + b"x" * 1_000_000, 414, "uri_too_long"),
        (b"GET /v1/x HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
        (b"GET /v1/x HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 36_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nx: " + b"y" * 2_000_000, 431, "headers_too_large"),
    ],
    ids=range(5),
)
async def test_a08_a09_heads_over_a_cap(gateway: RunningGateway, head: bytes, status: int, code: str) -> None:
    client = await gateway.connect()
    client.writer.write(head)

    answer = await client.read_answer()

    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert gateway.reports[-1].status == status


async def test_b01_a_slow_head_times_out(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx: ")
    await asyncio.sleep(0.05)

    gateway.listener.check_deadlines(asyncio.get_running_loop().time() + 11)

    answer = await client.read_answer()
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")


async def test_b09_compressed_bodies_are_refused(gateway: RunningGateway) -> None:
    answer = await gateway.ask(b"\x1f\x8b\x08", headers={"content-encoding": "gzip"})

    assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_encoding")


async def test_chunked_bodies_are_bodies(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    client = await gateway.connect()
    raw = json.dumps(chat()).encode()
    head = request(b"", headers={"transfer-encoding": "chunked"}).replace(b"content-length: 0\r\n", b"")
    await client.send(head + b"".join(b"1\r\n%c\r\n" % byte for byte in raw) + b"0\r\n\r\n")

    assert (await client.read_answer()).status == 200
    assert upstream.requests[0].body == raw
    assert upstream.requests[0].headers["content-length"] == str(len(raw))


async def test_a11_pipelined_requests_are_answered_in_order(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Hot paths, others and errors on one connection, one at a time."""
    client = await gateway.connect()
    many = [
        request(chat("0")),
        request(None, method="GET", path="/v1/models"),
        request(b"{"),
        request(chat("3")),
        request(None, method="GET", path="/nowhere"),
        request(chat("5")),
    ]
    await client.send(b"".join(many))

    statuses = [(await client.read_answer()).status for _ in many]

    assert statuses == [200, 200, 400, 200, 404, 200]
    assert [json.loads(r.body)["messages"][0]["content"] for r in upstream.requests] == ["0", "3", "5"]


async def test_a10_garbage_behind_a_request_does_not_reach_into_its_answer(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await client.send(request(chat()) + b"\x00\x01garbage\r\n\r\n")

    rest = await asyncio.wait_for(client.reader.read(), 5)

    assert b"Invalid HTTP" not in rest


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_connection_ends_as_the_client_asks(gateway: RunningGateway, version: str) -> None:
    client = await gateway.connect()
    raw = request(chat(), headers={"connection": "close"}).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    await client.send(raw)

    assert (await client.read_answer()).status == 200
    assert await client.at_end()


async def test_a15_expect_100_continue(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    raw = request(chat(), headers={"expect": "100-continue"})
    head, _, body = raw.partition(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)

    assert (await client.read_answer()).status == 200


async def test_models_are_those_of_the_key(gateway: RunningGateway) -> None:
    async def names(key: str) -> list[str]:
        answer = await gateway.ask(None, method="GET", path="/v1/models", key=key)
        assert answer.status == 200
        return [model["id"] for model in answer.json["data"]]

    assert await names("sk-test") == ["echo", "gpt-4o", "renamed"]
    assert await names("sk-held") == ["echo"]
    assert (await gateway.ask(None, method="GET", path="/v1/models", key=None)).status == 401
    one = await gateway.ask(None, method="GET", path="/v1/models/gpt-4o")
    assert one.json["id"] == "gpt-4o"


async def test_keep_alive_connections_are_reused_and_idle_ones_closed(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    for _ in range(3):
        await client.send(request(chat()))
        assert (await client.read_answer()).status == 200

    gateway.listener.check_deadlines(asyncio.get_running_loop().time() + 100)

    assert await client.at_end()


async def test_n03_a_bug_of_ours_tells_the_caller_nothing(gateway: RunningGateway) -> None:
    def broken(ex: object) -> None:
        canary = "local-canary"
        raise RuntimeError(f"never to be seen {len(canary)}")

    gateway.gateway.generation = replace(gateway.gateway.generation, match=broken)

    answer = await gateway.ask(chat())

    assert (answer.status, answer.json["error"]["code"]) == (500, "internal_error")
    assert "never" not in answer.body.decode()
    await gateway.quiet()
    (report,) = gateway.reports
    assert report.outcome == "error"
    assert "canary" not in repr(report)


async def test_flat_errors_everywhere(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream, extra="errors: {format: flat}\n") as gateway:
        answer = await gateway.ask(b"{")
        await gateway.quiet()

    assert set(answer.json) == {"error", "message", "code", "request_id"}


async def test_g14_many_endings_leave_nothing_held(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """A few hundred requests that finish, fail or are left at any moment: all are settled."""

    async def one(number: int) -> None:
        client: RawClient = await gateway.open(chat(stream=number % 3 == 0))
        await asyncio.sleep((number % 7) * 0.001)
        if number % 2:
            await client.read_answer()
        await client.vanish(reset=number % 5 == 0)

    for start in range(0, 300, 50):
        await asyncio.gather(*(one(number) for number in range(start, start + 50)))

    await gateway.quiet()
    opened = [entry for entry in gateway.journal.entries if type(entry).__name__ == "Opened"]
    assert len(opened) == len(gateway.records)
    assert len({record.request_id for record in gateway.records}) == len(opened)
    assert gateway.heard.inside == 0


def _admitted(gateway: RunningGateway, peer: str, count: int) -> int:
    return sum(gateway.gateway.admits(peer) for _ in range(count))


async def test_b02_connections_of_one_address_are_capped(gateway: RunningGateway) -> None:
    """Loopback is exempt; a connection that ends makes room for another."""
    assert _admitted(gateway, "10.0.0.1", 150) == 100
    assert _admitted(gateway, "10.0.0.2", 1) == 1
    assert _admitted(gateway, "127.0.0.5", 150) == 150

    gateway.gateway.gone("10.0.0.1")

    assert _admitted(gateway, "10.0.0.1", 5) == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_k07_other_methods_of_stream_routes(gateway: RunningGateway, path: str, method: str) -> None:
    client = await RawClient.connect(gateway.port)
    await client.send(request(path=path, method=method))
    answer = await client.read_head()

    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    await client.vanish()


async def test_k07_stream_options_that_nobody_knows(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """They are the upstream's to judge, and not lost beside ours."""
    body = chat(stream=True, stream_options={"later": 1})
    assert (await gateway.ask(body)).status == 200
    assert upstream.requests[0].json["stream_options"] == {"later": 1, "include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
async def test_k09_a_client_that_closes_its_half_has_left(
    gateway: RunningGateway, upstream: ScriptedUpstream, stream: bool
) -> None:
    """As most servers see it. Its upstream call ends, and nothing stays held."""
    upstream.script(hang())
    client = await gateway.open(chat(stream=stream))
    assert await upstream.received(1)
    client.writer.write_eof()

    assert await upstream.closed(2.0)
    assert (await gateway.settled())[0].outcome == "client_gone"


async def test_c10_headers_of_the_upstream_stay_there(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(
        json_reply(
            {"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            200,
            {
                "set-cookie": "a=b",
                "server": "up",
                "keep-alive": "timeout=1",
                "x-ratelimit-limit-requests": "7",
                "access-control-allow-origin": "*",
                "openai-organization": "org-secret",
            },
        )
    )
    answer = await gateway.ask(chat())

    assert answer.status == 200
    assert not {
        "set-cookie",
        "server",
        "keep-alive",
        "access-control-allow-origin",
        "openai-organization",
    } & set(answer.headers)
    assert answer.headers.get("x-ratelimit-limit-requests") != "7"
