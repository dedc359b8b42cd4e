"""The way from the parser's callbacks to the gateway, where the corpus does not look. Under both parsers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from sys import getsizeof

import pytest

from llmgw.server.bounded import httptools_parser
from llmgw.server.front_door import FrontDoor
from llmgw.server.h11_parser import H11Parser
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, delay, json_reply

LARGE = {"content": "x" * 1_500_000}
OTHER_PATH = "/v1/chat/completions?by=asgi"
REPLY = json_reply({"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}})


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(REPLY)
        yield up


@pytest.fixture(params=[httptools_parser, H11Parser], ids=["httptools", "h11"])
async def gateway(
    upstream: ScriptedUpstream, request: pytest.FixtureRequest
) -> AsyncIterator[RunningGateway]:
    door = FrontDoor(max_bodies=4_000_000)
    async with RunningGateway(upstream, make_parser=request.param, door=door) as running:
        yield running
        await running.quiet()
        assert running.gateway.bodies.held == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_b06_large_bodies_have_a_budget(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str
) -> None:
    """Those beyond it are asked to come again; small ones go on; what is over is free again."""
    upstream.default(delay(0.5), REPLY)
    asked = [gateway.ask(chat(**LARGE), path=path) for _ in range(8)]
    small = [gateway.ask(chat(), path=path) for _ in range(8)]

    answers = await asyncio.gather(*asked)
    others = await asyncio.gather(*small)

    refused = [answer for answer in answers if answer.status != 200]
    assert 0 < len(refused) < len(answers)
    for answer in refused:
        assert (answer.status, answer.json["error"]["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
    assert [answer.status for answer in others] == [200] * 8
    assert gateway.gateway.bodies.held == 0
    assert (await gateway.ask(chat(**LARGE), path=path)).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_b06_who_leaves_in_a_large_body_gives_it_back(gateway: RunningGateway, path: str) -> None:
    client = await gateway.connect()
    await client.send(request(b" " * 1_500_000, path=path, headers={"content-length": "2000000"}))
    async with asyncio.timeout(5):
        while not gateway.gateway.bodies.held:
            await asyncio.sleep(0.01)

    await client.vanish(reset=True)

    async with asyncio.timeout(5):
        while gateway.gateway.bodies.held:
            await asyncio.sleep(0.01)


async def test_b06_nothing_of_a_large_body_stays_on_an_idle_connection(gateway: RunningGateway) -> None:
    client = await gateway.open(chat(**LARGE))

    assert (await client.read_answer()).status == 200

    (connection,) = gateway.listener.state.connections
    assert connection.cycle.body == b""


async def test_b06_a_body_of_tiny_chunks_takes_no_more_than_it_holds(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    whole = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi" * 50_000}]}).encode()
    chunks = b"".join(b"2\r\n%b\r\n" % whole[at : at + 2] for at in range(0, len(whole) - 1, 2))
    last = whole[len(whole) // 2 * 2 :]
    client = await gateway.connect()
    await client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    )
    async with asyncio.timeout(20):
        while not (found := [each.cycle for each in gateway.listener.state.connections if each.cycle]):
            await asyncio.sleep(0.01)
        (cycle,) = found
        while cycle.size < len(whole) - 1:
            await asyncio.sleep(0.01)

    pieces = cycle.pieces
    assert sum(map(getsizeof, pieces), getsizeof(pieces)) < 2 * len(whole)

    await client.send((b"%x\r\n%b\r\n" % (len(last), last) if last else b"") + b"0\r\n\r\n")
    assert (await client.read_answer()).status == 200
    assert json.loads(upstream.requests[-1].body)["messages"][0]["content"] == "hi" * 50_000


SPOOFED = {
    "x-forwarded-client-cert": "Subject=root",
    "x-user": "root",
    "X-Tenant": "rival",
    "x-team": "kept",
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
@pytest.mark.parametrize("trusted", [False, True])
async def test_c08_identity_is_believed_of_trusted_proxies_only(
    upstream: ScriptedUpstream, path: str, trusted: bool
) -> None:
    """Nobody behind the door sees what a client says of itself in a proxy's words."""
    networks = (ip_network("127.0.0.0/8"),) if trusted else ()
    seen = []
    async with RunningGateway(upstream, door=FrontDoor(trusted=networks)) as gateway:
        begin = gateway.gateway.begin

        def look(client: object) -> None:
            seen.append(client.fields)  # type: ignore[attr-defined]
            begin(client)  # type: ignore[arg-type]

        gateway.gateway.begin = look  # type: ignore[assignment, method-assign]
        assert (await gateway.ask(chat(), path=path, headers=SPOOFED)).status == 200

    (fields,) = seen
    assert fields[b"x-team"] == b"kept"
    for name in (b"x-user", b"x-tenant"):
        assert (name in fields) is trusted
    # Nobody has asked proxies for certificates.
    assert b"x-forwarded-client-cert" not in fields
    assert not {"x-user", "x-tenant", "x-team"} & set(upstream.requests[0].headers)


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_java_asks_for_http2_with_its_first_post(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str
) -> None:
    """Its body must neither be lost nor be read as another request."""
    wish = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAA"}
    client = await gateway.connect()
    await client.send(request(chat("one"), path=path, headers=wish) + request(chat("two"), path=path))

    for _ in range(2):
        assert (await client.read_answer()).status == 200

    assert [json.loads(each.body)["messages"][0]["content"] for each in upstream.requests] == ["one", "two"]


async def test_what_is_ready_is_not_begun_when_what_follows_is_refused(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Its client will not hear the answer, so nobody is to pay for it."""
    client = await gateway.connect()
    await client.send(request(chat()) + request(chat()).replace(b"host:", b"no-host:"))

    assert await client.at_end()

    assert upstream.requests == []
    assert gateway.journal.entries == []


COUNT_PATH = "/v1/messages/count_tokens"


def expecting(path: str, key: str, body: bytes, length: int | None = None) -> bytes:
    """The head of a client that waits to be asked for its body."""
    whole = request(path=path, key=key, headers={"Expect": "100-continue"})
    head = whole.partition(b"\r\n\r\n")[0]
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % (length or len(body)), b"", b""])


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH, COUNT_PATH])
@pytest.mark.parametrize(
    ("key", "length", "status"), [("sk-wrong", None, 401), ("sk-test", 10**9, 413)], ids=["stranger", "large"]
)
async def test_a15_nobody_is_asked_for_a_body_that_will_be_refused(
    gateway: RunningGateway, path: str, key: str, length: int | None, status: int
) -> None:
    """It may send the body all the same, so nothing is read behind the answer."""
    client = await RawClient.connect(gateway.port)
    await client.send(expecting(path, key, b"{}", length))
    line = await asyncio.wait_for(client.reader.readline(), 5)
    assert line.split()[1] == b"%d" % status
    rest = await asyncio.wait_for(client.reader.read(), 5)
    assert b"connection: close" in rest.lower()
    await client.vanish()


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_a15_who_is_let_in_is_asked_for_the_body(gateway: RunningGateway, path: str) -> None:
    """Twice on one connection."""
    client = await RawClient.connect(gateway.port)
    body = json.dumps(chat()).encode()
    for _ in range(2):
        await client.send(expecting(path, "sk-test", body))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(body)
        assert (await client.read_answer()).status == 200
    await client.vanish()


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_a15_a_client_of_http_1_0_is_not_asked(gateway: RunningGateway, path: str) -> None:
    """It knows of no interim answers. (RFC 9110, 10.1.1)"""
    body = json.dumps(chat()).encode()
    client = await gateway.connect()
    await client.send(expecting(path, "sk-test", body).replace(b"HTTP/1.1", b"HTTP/1.0") + body)

    assert (await client.reader.read()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
async def test_a15_a_client_that_leaves_when_it_is_asked(gateway: RunningGateway, path: str) -> None:
    client = await RawClient.connect(gateway.port)
    await client.send(expecting(path, "sk-test", b"{}"))
    await client.reader.readuntil(b"\r\n\r\n")
    await client.vanish()
    await gateway.quiet()


@pytest.mark.parametrize("path", ["/v1/chat/completions", OTHER_PATH])
@pytest.mark.parametrize("behind", ["/v1/chat/completions", OTHER_PATH])
async def test_a10_a_connection_that_is_cut_ends_the_request_under_way(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
    path: str,
    behind: str,
) -> None:
    """Though others wait behind it."""
    upstream.default(delay(2), REPLY)
    client = await gateway.connect()
    await client.send(request(chat(), path=path))
    async with asyncio.timeout(5):
        while not upstream.requests:
            await asyncio.sleep(0.01)

    await client.send(request(chat(), path=behind) + b"and no request\r\n\r\n")

    assert await upstream.closed(within_s=1.5)
    await gateway.quiet()
    assert [report.outcome for report in gateway.heard.reports] == ["client_gone"]
    assert caplog.records == []
