"""One exchange: what is sent, and every way an answer may be framed."""

from __future__ import annotations

import asyncio
import resource

import pytest

from llmgw.core.errors import (
    UpstreamTimeout,
)
from llmgw.ports.transport import Call, Transport
from tests.contracts.transport_cases import MIB, Heard, TransportCases, origin, post
from tests.fakes.upstream import (
    ScriptedUpstream,
    chunk,
    chunk_bytes,
    cut,
    delay,
    end,
    event,
    flood,
    hang,
    head_bytes,
    headers,
    json_reply,
    pieces,
    raw,
    sse_head,
)


class ExchangeCases(TransportCases):
    """A request goes out, its answer comes back."""

    async def test_request_arrives_as_given(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """The head as it is, then the length, then the body."""
        upstream.script(json_reply({"ok": True}, headers={"X-Up": "One"}))

        heard = await self.ask(transport, post(origin(upstream), b'{"a":1}'))

        head = b"POST /v1/chat HTTP/1.1\r\nhost: up\r\naccept-encoding: identity\r\ncontent-length: 7\r\n\r\n"
        assert upstream.requests[0].head == head
        assert upstream.requests[0].body == b'{"a":1}'
        assert (heard.status, heard.body, heard.length) == (200, b'{"ok": true}', 12)
        assert (b"x-up", b"One") in heard.headers

    async def test_sink_hears_nothing_before_send_returns(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """Not even about a request that cannot be sent."""
        for to in (origin(upstream), origin(upstream, allow_private=False)):
            heard = Heard()
            transport.send(post(to), heard)
            assert not heard.done
            await heard.over()

    @pytest.mark.parametrize("size", [0, 1000, 65536, 65537, 3 * MIB])
    async def test_body_of_any_size(
        self, transport: Transport, upstream: ScriptedUpstream, size: int
    ) -> None:
        """Arrives whole, and the connection is kept."""
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        upstream.default(json_reply({}))

        for _ in range(2):
            await self.ask(transport, post(origin(upstream), body))

        assert [request.body == body for request in upstream.requests] == [True, True]
        assert len(upstream.connections) == 1

    async def test_chunked_body(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Comes de-chunked, each chunk as it arrives, without extensions and trailers."""
        upstream.script(headers(200), raw(b"3;x=y\r\nHel\r\n"), chunk(b"lo"), raw(b"0\r\ntrailer: t\r\n\r\n"))

        heard = await self.ask(transport, post(origin(upstream)))

        assert (heard.body, heard.length) == (b"Hello", None)
        assert b"trailer" not in dict(heard.headers)

    async def test_body_to_the_end_of_file(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Neither length nor chunks: closing is the end."""
        upstream.script(raw(b"HTTP/1.1 200 OK\r\n\r\nHello"), cut())

        heard = await self.ask(transport, post(origin(upstream)))

        assert (heard.ended, heard.body, heard.length) == (True, b"Hello", None)

    async def test_answer_without_body(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """204 has none, and the connection is kept."""
        upstream.script(raw(b"HTTP/1.1 204 No Content\r\n\r\n"))
        upstream.script(json_reply({}))

        first = await self.ask(transport, post(origin(upstream)))
        await self.ask(transport, post(origin(upstream)))

        assert (first.status, first.body) == (204, b"")
        assert len(upstream.connections) == 1

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    async def test_answer_in_pieces(
        self, transport: Transport, upstream: ScriptedUpstream, size: int
    ) -> None:
        """The same however the bytes are cut."""
        whole = head_bytes(200, {"X-One": "1"}) + chunk_bytes(b"Hel") + chunk_bytes(b"lo") + b"0\r\n\r\n"
        upstream.script(pieces(whole, size))

        heard = await self.ask(transport, post(origin(upstream)))

        assert (heard.status, heard.body, dict(heard.headers)[b"x-one"]) == (200, b"Hello", b"1")

    async def test_chunks_come_as_they_are_sent(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """A first token does not wait for a second."""
        upstream.script(sse_head(), event("Hel"), hang())
        heard = Heard()

        transport.send(post(origin(upstream), streamed=True), heard)

        await heard.until(lambda: heard.chunks, within_s=1)
        assert heard.body == b"data: Hel\n\n"

    async def test_informational_heads_are_swallowed(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """100 and 103 are not the answer."""
        early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        upstream.script(raw(early), delay(0.01), json_reply({}))

        heard = await self.ask(transport, post(origin(upstream)))

        assert heard.status == 200
        assert b"link" not in dict(heard.headers)

    async def test_redirect_is_delivered(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Never followed."""
        upstream.script(headers(302, {"location": upstream.base_url + "/elsewhere"}, length=0))

        heard = await self.ask(transport, post(origin(upstream)))

        assert heard.status == 302
        assert len(upstream.requests) == 1

    async def test_paused_client_stops_the_upstream(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """A client that does not read fills the socket's buffers, not our memory."""
        piece = chunk_bytes(b"x" * 65536)
        upstream.script(headers(200), flood(piece, 1024), end())
        calls: list[Call] = []
        heard = Heard(lambda _: calls[0].pause() if len(heard.chunks) == 1 else None)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        calls.append(transport.send(post(origin(upstream), streamed=True, idle_s=0.1), heard))
        await heard.until(lambda: heard.chunks)
        # Longer than the idle limit: the client's slowness is not the upstream's silence.
        await asyncio.sleep(0.4)
        sent, got = upstream.connections[0].sent, len(heard.body)

        await asyncio.sleep(0.05)
        stalled = upstream.connections[0].sent == sent

        assert stalled
        assert sent < 32 * MIB
        assert got < MIB
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
        assert heard.error is None
        calls[0].resume()
        calls[0].resume()
        assert (await heard.over(within_s=10)).ended
        assert len(heard.body) == 64 * MIB

    async def test_paused_call_still_ends(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """The total counts while the client is slow."""
        upstream.script(sse_head(), event("x"), hang())
        calls: list[Call] = []
        heard = Heard(lambda _: calls[0].pause())
        calls.append(transport.send(post(origin(upstream), streamed=True, idle_s=0.1, total_s=0.5), heard))

        error = await heard.failed()

        assert isinstance(error, UpstreamTimeout)
        assert "0.5" in error.message

    async def test_idle_clock_after_resume(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Reading on, silence counts again."""
        upstream.script(sse_head(), event("x"), hang())
        calls: list[Call] = []
        heard = Heard(lambda _: calls[0].pause())
        calls.append(transport.send(post(origin(upstream), streamed=True, idle_s=0.1), heard))
        await heard.until(lambda: heard.chunks)

        calls[0].resume()

        assert (await heard.failed()).phase == "body"

    async def test_end_while_paused(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """An answer that was whole when the client paused ends; its connection reads again."""
        upstream.default(raw(head_bytes(length=2) + b"ok"))
        calls: list[Call] = []
        heard = Heard(lambda _: calls[0].pause())
        calls.append(transport.send(post(origin(upstream)), heard))
        await heard.over()

        again = await self.ask(transport, post(origin(upstream)))

        assert again.body == b"ok"
        assert len(upstream.connections) == 1
