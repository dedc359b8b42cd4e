"""Our own HTTP/1.1 client keeps the transport contract, and what it promises beyond."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from llmgw.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from llmgw.ports.transport import Headers, Timeouts
from llmgw.transport.connection import STALE_S
from llmgw.transport.http import HttpTransport
from tests.contracts.transport import TransportContract
from tests.contracts.transport_cases import MIB, Heard, origin, post
from tests.fakes.upstream import ScriptedUpstream, delay, hang, json_reply, reset


class TestHttpTransport(TransportContract):
    def build(self, *, max_body: int = 64 * MIB) -> HttpTransport:
        return HttpTransport(max_body=max_body)


async def exchange(transport: HttpTransport, upstream: ScriptedUpstream) -> Heard:
    heard = Heard()
    transport.send(post(origin(upstream)), heard)
    return await heard.over()


async def test_idle_connections_expire() -> None:
    """The surplus of a burst does not stay; the sweeper stops when nothing is left."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport(idle_s=0.05)
        upstream.default(json_reply({}))
        await exchange(transport, upstream)

        assert await upstream.closed(within_s=1.5)
        assert (await exchange(transport, upstream)).ended
        assert len(upstream.connections) == 2
        await transport.close()


async def test_last_used_is_first_lent() -> None:
    """Three connections of a burst, then one request at a time: the same one carries them all."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        upstream.default(json_reply({}))
        burst = [Heard() for _ in range(3)]
        for heard in burst:
            transport.send(post(origin(upstream)), heard)
        for heard in burst:
            await heard.over()

        for _ in range(4):
            await exchange(transport, upstream)

        assert len(upstream.connections) == 3
        assert len({id(request.connection) for request in upstream.requests[3:]}) == 1
        await transport.close()


async def test_send_after_close() -> None:
    """Told, not raised."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        await transport.close()
        await transport.close()

        heard = await exchange(transport, upstream)

        assert isinstance(heard.error, UpstreamBroken)
        assert upstream.connections == []


async def test_close_while_dialing() -> None:
    """No task and no socket stays behind."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        heard = Heard()
        transport.send(post(origin(upstream)), heard)
        await asyncio.sleep(0)

        await transport.close()

        assert isinstance(await heard.failed(), UpstreamBroken)
        assert all(connection.closed.is_set() for connection in upstream.connections)


@pytest.mark.parametrize("where", ["on_head", "on_chunk", "on_end"])
async def test_sink_that_fails(where: str) -> None:
    """Is reported to the loop, ends its own call, and harms no other."""

    class Failing(Heard):
        def on_head(self, status: int, headers: Headers, length: int | None) -> None:
            super().on_head(status, headers, length)
            self.stumble("on_head")

        def on_chunk(self, data: bytes) -> None:
            super().on_chunk(data)
            self.stumble("on_chunk")

        def on_end(self) -> None:
            super().on_end()
            self.stumble("on_end")

        def stumble(self, here: str) -> None:
            if here == where:
                raise RuntimeError(here)

    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        upstream.default(json_reply({}))
        failing = Failing()

        transport.send(post(origin(upstream)), failing)
        await failing.over()

        assert failing.ended is (where == "on_end")
        assert [str(report["exception"]) for report in reports] == [where]
        assert (await exchange(transport, upstream)).ended
        await transport.close()


async def test_equal_origins_share() -> None:
    """A reloaded configuration makes equal origins anew; their connections stay."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        upstream.default(json_reply({}))

        for to in (origin(upstream), origin(upstream), origin(upstream)):
            heard = Heard()
            transport.send(post(to), heard)
            await heard.over()

        assert len(upstream.connections) == 1
        await transport.close()


async def test_timer_rests() -> None:
    """With nothing open there is nothing to sweep, and no wake-ups."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        upstream.script(hang())
        call = transport.send(post(origin(upstream)), Heard())
        await upstream.received()
        call.cancel()
        await asyncio.sleep(0.25)

        assert transport._timer is None
        await transport.close()


async def test_a_sink_that_fails_at_a_deadline_does_not_end_the_others_deadlines() -> None:
    class Failing(Heard):
        def on_error(self, error: UpstreamError) -> None:
            super().on_error(error)
            raise RuntimeError("on_error")

    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        upstream.default(hang())
        soon = replace(post(origin(upstream)), timeouts=Timeouts(total_s=0.1))
        failing, later = Failing(), Heard()

        transport.send(soon, failing)
        await failing.over()
        transport.send(soon, later)
        await later.over()

        assert isinstance(later.error, UpstreamTimeout)
        assert [str(report["exception"]) for report in reports] == ["on_error"]
        await transport.close()


@pytest.mark.parametrize(("after_s", "requests"), [(0.0, 3), (STALE_S + 0.2, 2)])
async def test_j14_only_a_connection_that_dies_at_once_was_stale(after_s: float, requests: int) -> None:
    """What died later may have done its work: whoever sent it knows whether it may be done twice."""
    async with ScriptedUpstream() as upstream:
        transport = HttpTransport()
        upstream.script(json_reply({}))
        upstream.script(delay(after_s), reset())
        upstream.script(json_reply({}))
        await exchange(transport, upstream)

        heard = await exchange(transport, upstream)

        assert len(upstream.requests) == requests
        assert heard.ended is (requests == 3)
        assert heard.error is None or isinstance(heard.error, UpstreamBroken)
        await transport.close()
