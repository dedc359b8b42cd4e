"""Upstreams that stall, cut, reset and lie."""

from __future__ import annotations

import gzip

import pytest

from llmgw.core.errors import (
    UpstreamBroken,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmgw.ports.transport import Origin, Transport
from tests.contracts.transport_cases import MIB, TransportCases, origin, post
from tests.fakes.upstream import (
    ScriptedUpstream,
    chunk,
    chunk_bytes,
    cut,
    deaf,
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
    reset,
    sse_head,
)


class FailureCases(TransportCases):
    """Each failure is told as what it was, and leaves nothing open."""

    async def test_nobody_listens(self, transport: Transport) -> None:
        """A refused connection is unreachable, at once (J01)."""
        async with ScriptedUpstream() as gone:
            to = origin(gone)

        error = await self.refused(transport, post(to))

        assert (type(error), error.phase) == (UpstreamUnreachable, "connect")

    async def test_connect_timeout(self, transport: Transport, ca_file: str) -> None:
        """A peer that accepts and never shakes hands (J01)."""
        async with ScriptedUpstream() as silent:
            to = Origin("https", "127.0.0.1", silent.port, ca=ca_file, allow_private=True)

            error = await self.refused(transport, post(to, connect_s=0.1))

            assert (type(error), error.phase) == (UpstreamTimeout, "connect")
            assert await silent.closed()

    async def test_first_byte_timeout(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """A stream that does not begin (J02), though its connection had been used."""
        upstream.script(json_reply({}))
        upstream.script(hang())
        await self.ask(transport, post(origin(upstream)))

        error = await self.refused(transport, post(origin(upstream), streamed=True, first_byte_s=0.1))

        assert (type(error), error.phase) == (UpstreamTimeout, "first byte")
        assert await upstream.closed()
        assert len(upstream.requests) == 2

    async def test_first_byte_timeout_is_for_streams(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """A whole answer may take up to the total."""
        upstream.script(delay(0.4), json_reply({}))

        heard = await self.ask(transport, post(origin(upstream), first_byte_s=0.1, idle_s=0.1))

        assert heard.ended

    @pytest.mark.parametrize("streamed", [True, False])
    async def test_idle_timeout(
        self, transport: Transport, upstream: ScriptedUpstream, streamed: bool
    ) -> None:
        """A body that stalls (J03)."""
        upstream.script(sse_head(), event("Hel"), hang())

        heard = await self.ask(transport, post(origin(upstream), streamed=streamed, idle_s=0.1))

        assert isinstance(heard.error, UpstreamTimeout)
        assert heard.error.phase == "body"
        assert heard.chunks
        assert await upstream.closed()

    async def test_idle_clock_starts_again(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """Slow is not silent."""
        steps = [step for _ in range(5) for step in (event("x"), delay(0.1))]
        upstream.script(sse_head(), *steps, end())

        heard = await self.ask(transport, post(origin(upstream), streamed=True, idle_s=0.3))

        assert heard.ended

    async def test_total_timeout(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """However busy the upstream."""
        upstream.script(sse_head(), *[step for _ in range(50) for step in (event("x"), delay(0.05))])

        heard = await self.ask(transport, post(origin(upstream), streamed=True, total_s=0.3))

        assert isinstance(heard.error, UpstreamTimeout)
        assert heard.error.phase == "body"

    async def test_total_timeout_before_an_answer(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """For a whole answer it is the only limit."""
        upstream.script(hang())

        error = await self.refused(transport, post(origin(upstream), total_s=0.2))

        assert (type(error), error.phase) == (UpstreamTimeout, "first byte")

    @pytest.mark.parametrize("how", [cut(), reset()], ids=["cut", "reset"])
    @pytest.mark.parametrize(
        ("before", "phase"),
        [
            (b"", "first byte"),
            (b"HTTP/1.1 2", "first byte"),
            (b"HTTP/1.1 200 OK\r\nx: y\r\n", "first byte"),
            (head_bytes(length=10), "body"),
            (head_bytes(length=10) + b"short", "body"),
            (head_bytes(), "body"),
            (head_bytes() + chunk_bytes(b"Hel"), "body"),
            (head_bytes() + b"5\r\nHel", "body"),
            (head_bytes() + chunk_bytes(b"Hel") + b"0\r\n", "body"),
        ],
    )
    async def test_cut_at_every_phase(
        self, transport: Transport, upstream: ScriptedUpstream, how: object, before: bytes, phase: str
    ) -> None:
        """Broken, and where (J04)."""
        upstream.script(raw(before), how)  # type: ignore[arg-type]

        error = await self.refused(transport, post(origin(upstream)))

        assert (type(error), error.phase) == (UpstreamBroken, phase)

    async def test_reset_of_a_body_to_the_end_of_file(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """A reset is not an end."""
        upstream.script(raw(b"HTTP/1.1 200 OK\r\n\r\nHel"), reset())

        error = await self.refused(transport, post(origin(upstream)))

        assert (type(error), error.phase) == (UpstreamBroken, "body")

    async def test_reset_while_sending(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """The phase says that the upstream did not want it all."""
        upstream.script(deaf(), delay(0.02), reset(), early=True)

        error = await self.refused(transport, post(origin(upstream), b"x" * 16 * MIB))

        assert (type(error), error.phase) == (UpstreamBroken, "send")

    async def test_upstream_that_hangs_up_on_connect(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """A connection reset as soon as it is accepted."""
        upstream.greet(reset())

        error = await self.refused(transport, post(origin(upstream)))

        assert isinstance(error, UpstreamBroken)

    @pytest.mark.parametrize(
        "answer",
        [
            b"<html>hello</html>",
            b"\x16\x03\x01\x02\x00",
            b"HTTP/9.9 200 OK\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: b\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx y: a\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        ],
    )
    @pytest.mark.parametrize("size", [1, 1000])
    async def test_c10_j13_malformed_answer(
        self, transport: Transport, upstream: ScriptedUpstream, answer: bytes, size: int
    ) -> None:
        """Refused as such (C10), whole or byte by byte, and the connection is closed."""
        upstream.script(pieces(answer, size), hang())

        heard = await self.ask(transport, post(origin(upstream)))

        assert isinstance(heard.error, UpstreamMalformed)
        assert await upstream.closed()

    @pytest.mark.parametrize(
        "answer",
        [
            [raw(b"HTTP/1.1 200 OK\r\nx: "), flood(b"a" * 65536, 80)],
            [raw(b"HTTP/1.1 200 OK\r\n"), flood(b"x: y\r\n" * 1000, 1000)],
            [raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 201 + b"content-length: 0\r\n\r\n")],
            [raw(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 65536 + b"\r\ncontent-length: 0\r\n\r\n")],
            [flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 1000)],
            [flood(b"\r\n" * 1000, 1000)],
            [headers(200), raw(b"5;x="), flood(b"a" * 65536, 80)],
            [headers(200), chunk(b"a"), raw(b"0\r\n"), flood(b"x: y\r\n" * 10000, 80)],
        ],
        ids=["value", "headers", "201 headers", "64 KiB", "informational", "blank", "extension", "trailers"],
    )
    async def test_c10_endless_head(
        self, transport: Transport, upstream: ScriptedUpstream, answer: list[object]
    ) -> None:
        """A head, a chunk line or trailers of any size are cut off early (C10, J12)."""
        upstream.script(*answer, hang())  # type: ignore[arg-type]

        heard = await self.ask(transport, post(origin(upstream), streamed=True))

        assert isinstance(heard.error, UpstreamMalformed)
        assert await upstream.closed()
        assert upstream.connections[0].sent < 5 * MIB

    async def test_head_of_a_decent_size(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """200 headers, 50 KiB."""
        fields = {f"x-{n}": "v" * 250 for n in range(198)}
        upstream.script(json_reply({}, headers=fields))

        heard = await self.ask(transport, post(origin(upstream)))

        assert len(heard.headers) == 200

    @pytest.mark.parametrize("declared", [True, False])
    async def test_body_cap(self, upstream: ScriptedUpstream, declared: bool) -> None:
        """A whole answer has a largest size; one that says so is refused before its body (J12)."""
        transport = self.build(max_body=MIB)
        if declared:
            upstream.script(headers(200, length=MIB + 1), hang())
        else:
            upstream.script(headers(200), flood(chunk_bytes(b"x" * 65536), 1000), hang())

        heard = await self.ask(transport, post(origin(upstream)))

        assert isinstance(heard.error, UpstreamMalformed)
        assert len(heard.body) <= MIB
        assert (heard.status is None) is declared
        assert await upstream.closed()
        await transport.close()

    async def test_stream_has_no_cap(self, upstream: ScriptedUpstream) -> None:
        """A stream is relayed, not kept."""
        transport = self.build(max_body=MIB)
        upstream.script(headers(200), flood(chunk_bytes(b"x" * 65536), 32), end())

        heard = await self.ask(transport, post(origin(upstream), streamed=True))

        assert (heard.ended, len(heard.body)) == (True, 2 * MIB)
        await transport.close()

    async def test_compression_is_refused(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """We asked for identity: a gzip bomb is refused at its head (J12)."""
        bomb = gzip.compress(b"\0" * MIB)
        upstream.script(headers(200, {"content-encoding": "gzip"}, length=len(bomb)), raw(bomb))

        heard = await self.ask(transport, post(origin(upstream)))

        assert isinstance(heard.error, UpstreamMalformed)
        assert heard.status is None

    async def test_identity_said_aloud(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """`content-encoding: identity` is none."""
        upstream.script(json_reply({}, headers={"content-encoding": "identity"}))

        assert (await self.ask(transport, post(origin(upstream)))).ended

    async def test_longer_than_declared(self, transport: Transport, upstream: ScriptedUpstream) -> None:
        """The declared length is the answer; the rest closes the connection."""
        upstream.script(raw(head_bytes(length=2) + b"ok, and more"))
        upstream.script(json_reply({}))

        heard = await self.ask(transport, post(origin(upstream)))
        await self.ask(transport, post(origin(upstream)))

        assert (heard.ended, heard.body) == (True, b"ok")
        assert len(upstream.connections) == 2
