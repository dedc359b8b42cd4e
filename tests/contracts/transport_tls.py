"""TLS to an upstream: verified or refused."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from llmgw.core.errors import (
    UpstreamBroken,
    UpstreamUnreachable,
)
from llmgw.ports.transport import Call, Origin, Transport
from tests.contracts.transport_cases import MIB, Heard, TransportCases, origin, post, server_tls
from tests.fakes.upstream import (
    ScriptedUpstream,
    chunk_bytes,
    cut,
    end,
    event,
    flood,
    hang,
    head_bytes,
    headers,
    json_reply,
    raw,
    reset,
    sse_head,
)


class TlsCases(TransportCases):
    """The exchange is the same, the certificate is checked."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_tls(self, transport: Transport, ca: trustme.CA, ca_file: str, host: str) -> None:
        """Verified by address or name, kept and used again."""
        async with self.secure(ca) as upstream:
            upstream.script(json_reply({"ok": 1}))
            upstream.script(sse_head(), *[event("x" * 500) for _ in range(200)], end())
            upstream.script(json_reply({"ok": 2}))
            to = origin(upstream, host=host, ca=ca_file)

            first = await self.ask(transport, post(to))
            stream = await self.ask(transport, post(to, streamed=True))
            last = await self.ask(transport, post(to))

            assert (first.body, last.body) == (b'{"ok": 1}', b'{"ok": 2}')
            assert len(stream.body) == 200 * 508
            assert len(upstream.connections) == 1

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_tls_large_bodies(
        self, transport: Transport, ca: trustme.CA, ca_file: str, version: ssl.TLSVersion
    ) -> None:
        """Megabytes in both directions."""
        tls = server_tls(ca.issue_cert("127.0.0.1"))
        tls.minimum_version = tls.maximum_version = version
        async with ScriptedUpstream(tls=tls) as upstream:
            body = bytes(range(256)) * 4096 * 4
            upstream.default(raw(head_bytes(length=len(body)) + body))

            for _ in range(2):
                heard = await self.ask(transport, post(origin(upstream, ca=ca_file), body))
                assert heard.body == body

            assert [request.body == body for request in upstream.requests] == [True, True]
            assert len(upstream.connections) == 1

    async def test_tls_back_pressure(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """Encrypted bytes wait in the socket too."""
        async with self.secure(ca) as upstream:
            upstream.script(headers(200), flood(chunk_bytes(b"x" * 65536), 256), end())
            calls: list[Call] = []
            heard = Heard(lambda _: calls[0].pause() if len(heard.chunks) == 1 else None)
            to = origin(upstream, ca=ca_file)
            calls.append(transport.send(post(to, streamed=True, idle_s=0.2), heard))
            await heard.until(lambda: heard.chunks)
            await asyncio.sleep(0.3)

            assert len(heard.body) < MIB
            calls[0].resume()
            assert (await heard.over(within_s=10)).ended
            assert len(heard.body) == 16 * MIB

    async def test_tls_cancel(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """Closes at once."""
        async with self.secure(ca) as upstream:
            upstream.script(sse_head(), event("Hel"), hang())
            heard = Heard()
            call = transport.send(post(origin(upstream, ca=ca_file), streamed=True), heard)
            await heard.until(lambda: heard.chunks)

            call.cancel()

            assert await upstream.closed(within_s=0.5)

    async def test_tls_body_cut_without_close_notify(
        self, transport: Transport, ca: trustme.CA, ca_file: str
    ) -> None:
        """Anyone on the wire can end the TCP stream, so that is no end of a body."""
        async with self.secure(ca) as upstream:
            upstream.script(raw(b"HTTP/1.1 200 OK\r\n\r\nHel"), reset())

            error = await self.refused(transport, post(origin(upstream, ca=ca_file)))

            assert (type(error), error.phase) == (UpstreamBroken, "body")

    async def test_tls_body_to_the_end(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """With close_notify it is one."""
        async with self.secure(ca) as upstream:
            upstream.script(raw(b"HTTP/1.1 200 OK\r\n\r\nHello"), cut())

            heard = await self.ask(transport, post(origin(upstream, ca=ca_file)))

            assert (heard.ended, heard.body) == (True, b"Hello")

    async def test_tls_stale_connection(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """Replaced as a plain one is."""
        async with self.secure(ca) as upstream:
            upstream.script(json_reply({}))
            upstream.script(cut())
            upstream.script(json_reply({}))
            to = origin(upstream, ca=ca_file)

            await self.ask(transport, post(to))

            assert (await self.ask(transport, post(to))).ended

    async def test_tls_bytes_after_the_end(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """A second answer in a record of its own is not the next request's."""
        good, evil = head_bytes(length=2) + b"ok", head_bytes(length=4) + b"EVIL"
        async with self.secure(ca) as upstream:
            upstream.default(raw(good), raw(evil))
            to = origin(upstream, ca=ca_file)
            second = Heard()

            class First(Heard):
                def on_end(self) -> None:
                    super().on_end()
                    transport.send(post(to), second)

            first = First()
            transport.send(post(to), first)
            await first.over()
            await second.over()

            assert (first.body, second.body) == (b"ok", b"ok")

    async def test_tls_unknown_authority(self, transport: Transport, ca: trustme.CA) -> None:
        """Not in the system's store (E12)."""
        async with self.secure(ca) as upstream:
            error = await self.refused(transport, post(origin(upstream)))

            assert (type(error), error.phase) == (UpstreamUnreachable, "connect")
            assert "self-signed" in (error.detail or "") or "local issuer" in (error.detail or "")
            assert upstream.requests == []

    async def test_tls_wrong_name(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """A good certificate for another host (E12)."""
        async with self.secure(ca, "other.example") as upstream:
            error = await self.refused(transport, post(origin(upstream, host="localhost", ca=ca_file)))

            assert isinstance(error, UpstreamUnreachable)
            assert "mismatch" in (error.detail or "")
            assert upstream.requests == []

    async def test_tls_expired(self, transport: Transport, ca: trustme.CA, ca_file: str) -> None:
        """A certificate of the past (E12)."""
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        tls = server_tls(ca.issue_cert("127.0.0.1", not_after=past))
        async with ScriptedUpstream(tls=tls) as upstream:
            error = await self.refused(transport, post(origin(upstream, ca=ca_file)))

            assert isinstance(error, UpstreamUnreachable)
            assert "expired" in (error.detail or "")

    async def test_tls_to_a_plain_port(
        self, transport: Transport, upstream: ScriptedUpstream, ca_file: str
    ) -> None:
        """Never downgraded."""
        upstream.greet(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), cut())
        to = Origin("https", "127.0.0.1", upstream.port, ca=ca_file, allow_private=True)

        error = await self.refused(transport, post(to))

        assert isinstance(error, UpstreamUnreachable)
        assert upstream.requests == []

    async def test_client_certificate(
        self, transport: Transport, ca: trustme.CA, ca_file: str, tmp_path: Path
    ) -> None:
        """Shown to an upstream that asks; without it the upstream hangs up."""
        tls = server_tls(ca.issue_cert("127.0.0.1"))
        tls.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(tls)
        ours = ca.issue_cert("gateway")
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        ours.cert_chain_pems[0].write_to_path(str(cert))
        ours.private_key_pem.write_to_path(str(key))
        async with ScriptedUpstream(tls=tls) as upstream:
            upstream.default(json_reply({}))
            shown = origin(upstream, ca=ca_file, client_cert=str(cert), client_key=str(key))

            heard = await self.ask(transport, post(shown))
            error = await self.refused(transport, post(origin(upstream, ca=ca_file)))

            assert heard.ended
            assert isinstance(error, (UpstreamBroken, UpstreamUnreachable))
            assert len(upstream.requests) == 1

    async def test_bundle_that_is_missing(self, transport: Transport, tmp_path: Path) -> None:
        """Unreachable, with the reason in the detail."""
        to = Origin("https", "127.0.0.1", 1, ca=str(tmp_path / "none.pem"), allow_private=True)

        error = await self.refused(transport, post(to))

        assert isinstance(error, UpstreamUnreachable)
        assert "none.pem" in (error.detail or "")
        assert "none.pem" not in error.message
