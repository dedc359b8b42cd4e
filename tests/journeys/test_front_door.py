"""The front door of a running gateway: who holds it up, who floods it, and what good traffic notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from tests.fakes.process import GatewayProcess, key_for, rows
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
server:
  lame_duck: 100ms
  drain_timeout: 5s
  front_door: {header_timeout: 1s, body_timeout: 3s, max_body: 8MiB}
TLS
providers:
  demo: {kind: echo, first_token: 1ms, tokens_per_second: 1000}
models:
  echo: {targets: [{provider: demo, model: echo}]}
limits: {global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}
tenants:
  acme: {}
"""
MIB = 1024 * 1024


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "llmgw.yaml").write_text(CONFIG.replace("TLS", ""))
    return tmp_path


@pytest.fixture
def key(place: Path) -> str:
    return key_for("acme", place)


@pytest.fixture
def gateway(place: Path, key: str) -> Iterator[GatewayProcess]:
    with GatewayProcess(place) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawClient]:
    client = await RawClient.connect(port)
    try:
        yield client
    finally:
        client.writer.transport.abort()
        await asyncio.sleep(0)


def rss(gateway: GatewayProcess) -> int:
    pages = Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def descriptors(gateway: GatewayProcess) -> int:
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def cpu_s(gateway: GatewayProcess) -> float:
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def good(gateway: GatewayProcess, key: str, count: int = 1) -> None:
    for _ in range(count):
        async with connected(gateway.port) as client:
            await client.send(request(chat(model="echo"), key=key))
            assert (await client.read_answer()).status == 200


async def closed_after_s(client: RawClient, since: float) -> float:
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(client.reader.read(), 20)
    return time.monotonic() - since


def test_b01_b02_slow_and_silent_clients_are_ended_in_time(gateway: GatewayProcess, key: str) -> None:
    """Good traffic goes on meanwhile, and their descriptors come back."""

    async def scene() -> list[float]:
        await good(gateway, key)
        before = descriptors(gateway)
        since = time.monotonic()
        clients = [await RawClient.connect(gateway.port) for _ in range(300)]
        for client in clients[::2]:
            await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ")
        held = asyncio.gather(*(closed_after_s(client, since) for client in clients))
        await good(gateway, key, 20)
        times = await held
        for client in clients:
            client.writer.transport.abort()
        async with asyncio.timeout(5):
            while descriptors(gateway) > before + 5:
                await asyncio.sleep(0.05)
        return times

    times = asyncio.run(scene())

    # One second, a tick of one second, and a busy machine.
    assert min(times) > 0.9
    assert max(times) < 8


def test_a05_a08_b04_floods_leave_nothing_in_memory(gateway: GatewayProcess, key: str) -> None:
    head = request(b"", key=key, headers={"transfer-encoding": "chunked"}).replace(
        b"content-length: 0\r\n", b""
    )
    floods = {
        "a chunk's extension": (head + b"1;", b"x" * 65_536),
        "a field": (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx: ", b"y" * 65_536),
        "fields": (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n", b"x: y\r\n" * 10_000),
        "a URL": (b"GET /v1/", b"x" * 65_536),
        "trailers": (head + b"0\r\n", b"x: y\r\n" * 10_000),
        "chunks": (head, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    }

    async def flood(first: bytes, piece: bytes) -> int:
        async with connected(gateway.port) as client:
            with contextlib.suppress(ConnectionError):
                await client.send(first)
                for _ in range(20 * MIB // len(piece)):
                    await client.send(piece)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                return (await client.read_answer()).status
        return 0

    async def scene() -> dict[str, int]:
        await good(gateway, key, 20)
        statuses = {}
        for name, (first, piece) in floods.items():
            before = rss(gateway)
            statuses[name] = await flood(first, piece)
            # Of what is no body, only what one read of the socket brings is ever there.
            assert rss(gateway) - before < (24 if name == "chunks" else 12) * MIB, name
        await good(gateway, key)
        return statuses

    statuses = asyncio.run(scene())

    # Zero where the reset came before the answer could be read.
    assert statuses["a chunk's extension"] in (0, 400)
    assert statuses["a field"] in (0, 431)
    assert statuses["fields"] in (0, 431)
    assert statuses["a URL"] in (0, 414)
    assert statuses["trailers"] in (0, 431)
    assert statuses["chunks"] in (0, 413)


def test_b03_a_body_that_trickles_in_holds_nothing(gateway: GatewayProcess, key: str) -> None:
    async def scene() -> int:
        async with connected(gateway.port) as client:
            await client.send(request(b"{", key=key, headers={"content-length": str(MIB)}))
            for _ in range(60):
                await asyncio.sleep(0.1)
                if client.reader._buffer:  # type: ignore[attr-defined]
                    break
                await client.send(b" ")
            return (await client.read_answer()).status

    assert asyncio.run(scene()) == 408
    assert gateway.stop() == 0
    assert rows("usage", "report", cwd=gateway.directory) == []


def test_b06_large_bodies_do_not_hold_up_small_ones(gateway: GatewayProcess, key: str) -> None:
    """They are parsed beside the event loop. Of no model, as the provider here would itself hold up all."""
    body = chat("word " * 800_000, model="nobody's")

    async def large() -> int:
        async with connected(gateway.port) as client:
            await client.send(request(body, key=key))
            return int((await asyncio.wait_for(client.reader.readuntil(b"\r\n"), 60)).split(b" ")[1])

    async def scene() -> tuple[list[int], list[float]]:
        await good(gateway, key)
        under_way = asyncio.gather(*(large() for _ in range(12)))
        waits = []
        while not under_way.done():
            began = time.monotonic()
            await good(gateway, key)
            waits.append(time.monotonic() - began)
        return await under_way, waits

    statuses, waits = asyncio.run(scene())

    assert set(statuses) == {404}
    # The client's own work on 48 MB is in it, on a machine that may be busy.
    assert sorted(waits)[len(waits) // 2] < 5


def test_a_tls_handshake_has_a_deadline(place: Path, key: str) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(place / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(place / "key.pem"))
    (place / "llmgw.yaml").write_text(CONFIG.replace("TLS", "  tls: {cert: cert.pem, key: key.pem}"))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    async def scene(port: int) -> tuple[list[float], bytes]:
        since = time.monotonic()
        async with connected(port) as silent, connected(port) as begun:
            await begun.send(b"\x16\x03\x01\x02\x00\x01")
            times = await asyncio.gather(*(closed_after_s(client, since) for client in (silent, begun)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        writer.write(request(chat(model="echo"), key=key))
        line = await reader.readline()
        writer.transport.abort()
        return times, line

    with GatewayProcess(place) as gateway:
        times, line = asyncio.run(scene(gateway.port))

    assert line.startswith(b"HTTP/1.1 200")
    assert min(times) > 0.9
    assert max(times) < 8


async def test_b10_more_clients_than_descriptors(gateway: GatewayProcess, key: str) -> None:
    """It neither ends nor spins, and serves again once they have left."""
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (128, 128))
    async with contextlib.AsyncExitStack() as crowd:
        for _ in range(300):
            await crowd.enter_async_context(connected(gateway.port))
        before = cpu_s(gateway)
        await asyncio.sleep(2)
        assert cpu_s(gateway) - before < 1.0
    began = time.monotonic()
    while True:
        with contextlib.suppress(AssertionError, ConnectionError, asyncio.IncompleteReadError):
            await good(gateway, key)
            break
        assert time.monotonic() - began < 10
    await good(gateway, key, 5)


async def test_l16_a_process_that_was_suspended_goes_on(gateway: GatewayProcess, key: str) -> None:
    """A stream under way ends well, and nothing has expired that had time left."""
    async with connected(gateway.port) as client:
        await client.send(request(chat(" ".join(["word"] * 2000), model="echo", stream=True), key=key))
        await client.read_head()
        os.kill(gateway.pid, signal.SIGSTOP)
        await asyncio.sleep(3)
        os.kill(gateway.pid, signal.SIGCONT)
        body = b""
        while piece := await client.read_chunk():
            body += piece
        assert body.endswith(b"data: [DONE]\n\n")
    await good(gateway, key, 3)
    assert gateway.ready()
