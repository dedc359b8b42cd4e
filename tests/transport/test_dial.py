"""Several addresses: the first that connects wins, the others leave nothing open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llmgw.core.errors import UpstreamTimeout, UpstreamUnreachable
from llmgw.ports.transport import Origin
from llmgw.transport.connection import Connection
from llmgw.transport.dial import Dialer
from llmgw.transport.pool import Pool
from llmgw.transport.resolve import Resolver
from tests.fakes.upstream import ScriptedUpstream


class Addresses(Resolver):
    """A resolver with one answer."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def addresses(self, host: str, port: int, *, allow_private: bool) -> tuple[str, ...]:
        return self._addresses


async def dial(upstream_port: int, *addresses: str, timeout_s: float = 2.0) -> Connection:
    loop = asyncio.get_running_loop()
    dialer = Dialer(loop, Addresses(*addresses))
    origin = Origin("http", "api.example", upstream_port)
    pool = Pool(loop, dialer, origin, idle_s=1, max_body=1)
    return await dialer.dial(origin, lambda: Connection(loop, pool, max_body=1), None, timeout_s)


@asynccontextmanager
async def black_hole(port: int) -> AsyncIterator[str]:
    """An address where connecting neither succeeds nor fails: a listener whose queue is full."""
    host = "127.0.0.9"
    with socket.socket() as listener:
        listener.bind((host, port))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        await asyncio.sleep(0.01)
        yield host
        for filler in fillers:
            filler.close()


async def test_j19_refused_address_is_passed_over() -> None:
    """At once, without waiting for the next one's turn."""
    async with ScriptedUpstream() as upstream:
        started = asyncio.get_running_loop().time()

        connection = await dial(upstream.port, "127.0.0.2", "127.0.0.3", "127.0.0.1")

        assert asyncio.get_running_loop().time() - started < 0.2
        connection.drop()


async def test_j19_silent_address_is_overtaken() -> None:
    """After 250 ms; the one that came too late is closed."""
    async with ScriptedUpstream() as upstream, black_hole(upstream.port) as silent:
        started = asyncio.get_running_loop().time()

        connection = await dial(upstream.port, silent, "127.0.0.1")

        assert 0.2 < asyncio.get_running_loop().time() - started < 0.6
        connection.drop()


async def test_no_address_connects() -> None:
    """The last failure is the reason."""
    async with ScriptedUpstream() as upstream:
        with pytest.raises(UpstreamUnreachable) as caught:
            await dial(upstream.port, "127.0.0.2", "127.0.0.3")

    assert caught.value.phase == "connect"
    assert caught.value.detail


async def test_every_address_is_silent() -> None:
    """The connect timeout covers them all (J01)."""
    async with ScriptedUpstream() as upstream, black_hole(upstream.port) as silent:
        with pytest.raises(UpstreamTimeout) as caught:
            await dial(upstream.port, silent, silent, timeout_s=0.4)

    assert caught.value.phase == "connect"
