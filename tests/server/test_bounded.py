"""Deadlines, paces and caps of a connection, on a clock that is told the time. Under both parsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from llmgw.server.bounded import httptools_parser
from llmgw.server.front_door import FrontDoor
from llmgw.server.h11_parser import H11Parser
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, end, event, hang, json_reply, sse_head

DOOR = FrontDoor(body_timeout_s=30, max_body=4 * 1024 * 1024)
OTHER_PATH = "/v1/chat/completions?by=asgi"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply({"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
        yield up


@pytest.fixture(params=[httptools_parser, H11Parser], ids=["httptools", "h11"])
async def gateway(
    upstream: ScriptedUpstream, request: pytest.FixtureRequest
) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(upstream, make_parser=request.param, door=DOOR) as running:
        yield running


async def after(gateway: RunningGateway, *seconds: float) -> None:
    """Let the gateway see what was sent, then let it be that much later, tick by tick."""
    await asyncio.sleep(0.05)
    now = asyncio.get_running_loop().time()
    for each in seconds:
        gateway.listener.check_deadlines(now + each)


async def is_open(client: RawClient) -> bool:
    await asyncio.sleep(0.05)
    return not client.reader.at_eof()


async def stuck(gateway: RunningGateway) -> None:
    """Until what waits to be sent to the one client has not changed for half a second."""
    async with asyncio.timeout(20):
        same = 0
        before = -1
        while same < 10:
            await asyncio.sleep(0.05)
            (connection,) = gateway.listener.state.connections
            waiting = connection.transport.get_write_buffer_size()
            same = same + 1 if waiting == before and waiting else 0
            before = waiting


async def test_b02_who_says_nothing_is_closed_without_a_word(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await after(gateway, 9.5)
    assert await is_open(client)

    await after(gateway, 10.5)

    assert await client.reader.read() == b""
    assert gateway.reports == []


@pytest.mark.parametrize("said", [b"\r\n", b"P", b"POST "])
async def test_b02_who_says_next_to_nothing_too(gateway: RunningGateway, said: bytes) -> None:
    """The time counts from the connection, whatever comes meanwhile."""
    client = await gateway.connect()
    await client.send(said)

    await after(gateway, 9.5, 10.5)

    assert await client.reader.read() == b""


async def test_b01_a_head_that_comes_byte_by_byte(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    for byte in b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway.test\r\nx: ":
        await client.send(bytes([byte]))
    await after(gateway, 9.5)
    assert await is_open(client)

    await after(gateway, 10.5)

    answer = await client.read_answer()
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
    assert await client.at_end()


async def test_b01_the_first_heads_time_begins_with_the_connection(gateway: RunningGateway) -> None:
    """Else a client would get the time of both for nothing."""
    client = await gateway.connect()
    await after(gateway, 9.0)
    (connection,) = gateway.listener.state.connections
    connection.idle_since -= 9.0  # type: ignore[union-attr, operator]
    await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ")

    await after(gateway, 1.5)

    assert (await client.read_answer()).status == 408


async def test_b01_the_second_head_has_its_own_time(gateway: RunningGateway) -> None:
    client = await gateway.open(chat())
    assert (await client.read_answer()).status == 200
    await after(gateway, 60.0)
    await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ")

    await after(gateway, 9.5)
    assert await is_open(client)
    await after(gateway, 10.5)

    assert (await client.read_answer()).status == 408


async def test_an_empty_line_behind_an_answer_begins_nothing(gateway: RunningGateway) -> None:
    """Some clients send one behind a body; their next request may be a minute away."""
    client = await gateway.open(chat())
    assert (await client.read_answer()).status == 200
    await client.send(b"\r\n")
    await after(gateway, 60.0)

    await client.send(request(chat()))

    assert (await client.read_answer()).status == 200
    await after(gateway, 80.0)
    assert await client.at_end()


async def test_a_head_behind_a_long_answer_waits_for_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """What was sent ahead must not cut the answer that is under way."""
    gate = asyncio.Event()

    async def wait(connection: object) -> None:
        await gate.wait()

    upstream.script(sse_head(), event({"choices": []}), wait, event("[DONE]"), end())  # type: ignore[arg-type]
    client = await gateway.open(chat(stream=True))
    await client.read_head()
    await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ")
    await after(gateway, 20.0, 25.0)
    gate.set()

    rest = b""
    while piece := await client.read_chunk():
        rest += piece

    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/nowhere"])
async def test_an_idle_connection_is_closed(gateway: RunningGateway, path: str) -> None:
    client = await gateway.open(chat(), path=path)
    await client.read_answer()
    await after(gateway, 70.0)
    assert await is_open(client)

    await after(gateway, 80.0)

    assert await client.at_end()


async def test_b03_a_body_that_trickles(gateway: RunningGateway) -> None:
    """Less than a KiB each second, over ten seconds."""
    client = await gateway.connect()
    await client.send(request(b"{", headers={"content-length": "1000000"}))
    await after(gateway, 0.0)
    await client.send(b" " * 10_000)
    await after(gateway, 9.0)
    assert await is_open(client)

    await after(gateway, 10.5)

    answer = await client.read_answer()
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
    assert gateway.journal.entries == []


async def test_b03_a_body_that_comes_along(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await client.send(request(b"{", headers={"content-length": "100000"}))
    await after(gateway, 0.0)
    for second in (10.5, 21.0):
        await client.send(b" " * 11_000)
        await after(gateway, second)
    assert await is_open(client)

    await after(gateway, 31.0)

    assert (await client.read_answer()).status == 408


async def test_b03_by_the_app(upstream: ScriptedUpstream) -> None:
    async with RunningGateway(upstream, door=FrontDoor(body_timeout_s=0.1)) as gateway:
        client = await gateway.connect()
        await client.send(request(b"{", path=OTHER_PATH, headers={"content-length": "100000"}))

        answer = await client.read_answer()

    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
@pytest.mark.parametrize(
    ("line", "more"),
    [
        (b"0\r\n", b"a:\r\n" * 16_384),
        (b"0\r\na: ", b"x" * 65_536),
        (b"1;", b"x" * 65_536),
    ],
    ids=["fields behind the body", "one field behind the body", "a chunk's extension"],
)
async def test_a05_what_comes_without_any_more_body_is_not_kept(
    gateway: RunningGateway, path: str, line: bytes, more: bytes
) -> None:
    """However large the body was before."""
    body = b"x" * (2 * 1024 * 1024)
    client = await gateway.connect()
    await client.send(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n".encode()
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n" % (len(body), body)
        + line
    )

    for _ in range(16):
        client.writer.write(more)
        await asyncio.sleep(0.01)

    answer = await client.read_answer()
    assert answer.status in (400, 431)
    assert await client.at_end()


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_b08_who_stops_reading_is_cut(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str
) -> None:
    """The upstream is let go at once, what was delivered is settled, and nothing is held."""
    pieces = [event({"choices": [{"delta": {"content": "word " * 12_800}}]}) for _ in range(600)]
    upstream.script(sse_head(), *pieces, hang())
    client = await gateway.connect(receive_buffer=65_536)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(request(chat(stream=True), path=path))
    await stuck(gateway)

    await after(gateway, 0.0, 29.0)
    assert gateway.gateway.under_way
    await after(gateway, 31.0)

    assert await upstream.closed(within_s=1)
    (record,) = await gateway.settled(within_s=20)
    assert record.outcome == "client_gone"
    assert gateway.in_flight == 0
    assert gateway.held == 0


async def test_b08_who_never_reads_the_end_of_an_answer(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """However much of it the provider has sent: it does not stay in our memory."""
    upstream.default(
        json_reply({"id": "x" * 16_000_000, "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    )
    client = await gateway.connect(receive_buffer=65_536)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(request(chat()))
    await stuck(gateway)

    await after(gateway, 0.0, 31.0)
    await asyncio.sleep(0.05)

    assert not gateway.listener.state.connections
    await gateway.settled()
    assert gateway.in_flight == 0


async def test_who_does_not_take_a_refusal_is_cut(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    await client.send(b"garbage\r\n\r\n")
    assert (await client.read_answer()).status == 400

    await after(gateway, 6.0)
    await asyncio.sleep(0.05)

    assert not gateway.listener.state.connections


async def test_a_trusted_proxy_may_have_any_number_of_connections(upstream: ScriptedUpstream) -> None:
    """And its word on who somebody is is taken; see `trusted_proxies`."""
    door = FrontDoor(connections_per_ip=1, trusted=(ip_network("127.0.0.0/8"),))
    async with RunningGateway(upstream, door=door) as gateway:
        clients = [await gateway.open(chat()) for _ in range(3)]
        for client in clients:
            assert (await client.read_answer()).status == 200

        connections = list(gateway.listener.state.connections)

    assert all(connection._trusted for connection in connections)  # type: ignore[union-attr]
