"""The life of a connection: used again, found stale, closed, waited for."""

from __future__ import annotations

import asyncio

import pytest

from llmgw.core.errors import (
    UpstreamBroken,
    UpstreamOverloaded,
)
from llmgw.ports.transport import Call, Transport
from tests.contracts.transport_cases import MIB, Heard, TransportCases, origin, post
from tests.fakes.upstream import (
    ScriptedUpstream,
    chunk_bytes,
    cut,
    deaf,
    delay,
    event,
    hang,
    head_bytes,
    json_reply,
    raw,
    reset,
    sse_head,
)


class ConnectionCases(TransportCases):
    """Who gets which connection, and when it closes."""

    async def test_connection_is_used_again(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Ten requests one after another need one connection."""
        upstream.default(json_reply({}))

        for _ in range(10):
            await self.ask(transport, post(origin(upstream)))

        assert len(upstream.connections) == 1

    async def test_request_sent_from_the_end_of_another(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """The connection is free when its sink is told the end."""
        upstream.default(json_reply({}))
        second = Heard()

        class First(Heard):
            def on_end(self) -> None:
                super().on_end()
                transport.send(post(origin(upstream)), second)

        first = First()
        transport.send(post(origin(upstream)), first)
        await first.over()
        await second.over()

        assert second.ended
        assert len(upstream.connections) == 1

    async def test_j20_origins_do_not_share(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Different settings, different connections."""
        upstream.default(json_reply({}))

        await self.ask(transport, post(origin(upstream)))
        await self.ask(transport, post(origin(upstream, max_connections=5)))

        assert len(upstream.connections) == 2

    async def test_upstream_that_wants_to_close(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """`connection: close` is honoured."""
        upstream.default(json_reply({}, headers={"connection": "close"}))

        await self.ask(transport, post(origin(upstream)))
        assert await upstream.closed()
        await self.ask(transport, post(origin(upstream)))

        assert len(upstream.connections) == 2

    @pytest.mark.parametrize("ending", [cut(), reset()], ids=["cut", "reset"])
    async def test_j14_stale_connection_is_replaced(
        self, transport: Transport, upstream: ScriptedUpstream, ending: object
    ) -> None:
        """A reused connection that dies unanswered costs the caller nothing (J14)."""
        upstream.script(json_reply({"n": 1}))
        upstream.script(ending)  # type: ignore[arg-type]
        upstream.script(json_reply({"n": 2}))

        await self.ask(transport, post(origin(upstream)))
        heard = await self.ask(transport, post(origin(upstream)))

        assert heard.body == b'{"n": 2}'
        assert len(upstream.connections) == 2

    async def test_j14_connection_closed_while_idle(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """Is not even tried."""
        upstream.script(json_reply({}), cut())
        upstream.script(json_reply({}))

        await self.ask(transport, post(origin(upstream)))
        await asyncio.sleep(0.02)
        await self.ask(transport, post(origin(upstream)))

        assert len(upstream.requests) == 2

    async def test_j14_stale_retry_happens_once(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """The fresh connection's failure is the caller's."""
        upstream.script(json_reply({}))
        upstream.script(cut())
        upstream.script(cut())

        await self.ask(transport, post(origin(upstream)))
        error = await self.refused(transport, post(origin(upstream)))

        assert (type(error), error.phase) == (UpstreamBroken, "first byte")
        assert len(upstream.requests) == 3

    async def test_j14_no_retry_after_a_byte(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """An upstream that began to answer has seen the request."""
        upstream.script(json_reply({}))
        upstream.script(raw(b"H"), delay(0.02), cut())

        await self.ask(transport, post(origin(upstream)))
        error = await self.refused(transport, post(origin(upstream)))

        assert isinstance(error, UpstreamBroken)
        assert len(upstream.requests) == 2

    async def test_no_retry_on_a_fresh_connection(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """It cannot have been stale."""
        upstream.script(cut())

        error = await self.refused(transport, post(origin(upstream)))

        assert (type(error), error.phase) == (UpstreamBroken, "first byte")
        assert len(upstream.requests) == 1

    @pytest.mark.parametrize(
        "extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL", b"garbage"], ids=["answer", "garbage"]
    )
    async def test_bytes_after_the_end_are_nobodys(
        self, transport: Transport, upstream: ScriptedUpstream, extra: bytes
    ) -> None:
        """Never the next request's answer, whether they come at once or later."""
        good = head_bytes(length=2) + b"ok"
        upstream.script(raw(good + extra))
        upstream.script(raw(good), delay(0.02), raw(extra))
        upstream.script(raw(good))

        for _ in range(3):
            heard = await self.ask(transport, post(origin(upstream)))
            assert (heard.ended, heard.body) == (True, b"ok")
            await asyncio.sleep(0.05)

        assert len(upstream.connections) == 3

    async def test_early_response(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """An answer before the body was sent is delivered; the connection is not used again."""
        upstream.script(deaf(), json_reply({"error": "no"}, 429), early=True)
        upstream.script(json_reply({}))

        heard = await self.ask(transport, post(origin(upstream), b"x" * 16 * MIB))
        await self.ask(transport, post(origin(upstream)))

        assert (heard.status, heard.ended) == (429, True)
        assert len(upstream.connections) == 2

    async def test_cancel_closes_the_connection(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """At once, and the sink hears no more."""
        upstream.script(sse_head(), event("Hel"), hang())
        heard = Heard()
        call = transport.send(post(origin(upstream), streamed=True), heard)
        await heard.until(lambda: heard.chunks)

        call.cancel()
        heard.silenced = True
        call.cancel()

        assert await upstream.closed(within_s=0.5)
        assert not heard.done
        assert heard.wrong == []

    async def test_cancel_from_a_chunk(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Chunks that came in the same segment are not delivered."""
        calls: list[Call] = []

        def leave(_: bytes) -> None:
            calls[0].cancel()
            heard.silenced = True

        heard = Heard(leave)
        upstream.script(raw(head_bytes() + chunk_bytes(b"one") + chunk_bytes(b"two") + b"0\r\n\r\n"), hang())
        calls.append(transport.send(post(origin(upstream)), heard))

        assert await upstream.received()
        assert await upstream.closed()
        assert (heard.chunks, heard.wrong, heard.done) == ([b"one"], [], False)

    async def test_cancel_before_the_answer(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Closes a connection whose answer nobody wants."""
        upstream.script(hang())
        heard = Heard()
        call = transport.send(post(origin(upstream)), heard)
        await upstream.received()

        call.cancel()

        assert await upstream.closed()
        assert not heard.done

    async def test_cancel_after_the_end(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Does no harm to who has the connection now."""
        upstream.script(json_reply({}))
        upstream.script(delay(0.05), json_reply({}))
        first = Heard()
        call = transport.send(post(origin(upstream)), first)
        await first.over()
        second = Heard()
        transport.send(post(origin(upstream)), second)

        call.cancel()
        call.pause()

        assert (await second.over()).ended
        assert len(upstream.connections) == 1

    async def test_cancel_while_connecting(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Nothing is sent."""
        heard = Heard()
        call = transport.send(post(origin(upstream)), heard)

        call.cancel()
        await asyncio.sleep(0.05)

        assert (call.dispatched, heard.done, upstream.requests) == (False, False, [])

    async def test_dispatched(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Tells a request that may have arrived from one that cannot have."""
        upstream.script(cut())
        heard = Heard()
        call = transport.send(post(origin(upstream)), heard)
        before = call.dispatched
        await heard.over()
        unreachable = Heard()
        never = transport.send(post(origin(upstream, allow_private=False)), unreachable)
        await unreachable.over()

        assert (before, call.dispatched, never.dispatched) == (False, True, False)

    async def test_close_ends_calls(self, upstream: ScriptedUpstream) -> None:
        """With an error, and leaves no connection."""
        transport = self.build()
        upstream.script(json_reply({}))
        upstream.script(hang())
        await self.ask(transport, post(origin(upstream)))
        heard = Heard()
        transport.send(post(origin(upstream)), heard)
        await upstream.received(2)

        await transport.close()

        assert isinstance(await heard.failed(), UpstreamBroken)
        assert await upstream.closed()

    async def test_call_waits_for_a_connection(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """A full pool makes it wait; the connection that gets free carries it."""
        upstream.default(delay(0.02), json_reply({}))
        to = origin(upstream, max_connections=2)

        all_heard = [Heard() for _ in range(4)]
        for heard in all_heard:
            transport.send(post(to), heard)

        for heard in all_heard:
            assert (await heard.over()).ended
        assert len(upstream.connections) == 2

    async def test_j20_full_pool_overloads(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """After a second in line; other origins do not notice (J20)."""
        upstream.script(hang())
        to = origin(upstream, max_connections=1)
        holder, waiter = Heard(), Heard()
        transport.send(post(to), holder)
        await upstream.received()
        started = asyncio.get_running_loop().time()
        call = transport.send(post(to), waiter)
        upstream.script(json_reply({}))
        await self.ask(transport, post(origin(upstream)))

        error = await waiter.failed()

        assert isinstance(error, UpstreamOverloaded)
        assert 0.9 < asyncio.get_running_loop().time() - started < 1.5
        assert not call.dispatched

    async def test_j20_full_pool_and_full_line(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """The line is bounded too."""
        upstream.script(hang())
        to = origin(upstream, max_connections=1)
        transport.send(post(to), Heard())
        transport.send(post(to), Heard())

        error = await self.refused(transport, post(to), within_s=0.5)

        assert isinstance(error, UpstreamOverloaded)

    async def test_cancelled_call_frees_its_place(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """The next in line gets a fresh connection."""
        upstream.script(hang())
        upstream.script(json_reply({}))
        to = origin(upstream, max_connections=1)
        holder = transport.send(post(to), Heard())
        await upstream.received()
        waiter = Heard()
        transport.send(post(to), waiter)

        holder.cancel()

        assert (await waiter.over(within_s=0.5)).ended
