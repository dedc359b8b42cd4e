"""What the transport contract asks with: a sink that remembers, requests, an authority of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trustme

from llmgw.core.errors import (
    UpstreamError,
)
from llmgw.ports.transport import Headers, Origin, Sink, Timeouts, Transport, UpstreamRequest
from tests.fakes.upstream import (
    ScriptedUpstream,
)

MIB = 1024 * 1024


class Heard:
    """A sink that remembers, and fails the test that calls it out of turn."""

    def __init__(self, on_chunk: Callable[[bytes], object] | None = None) -> None:
        self.status: int | None = None
        self.headers: Headers = []
        self.length: int | None = None
        self.chunks: list[bytes] = []
        self.error: UpstreamError | None = None
        self.ended = False
        self.wrong: list[str] = []
        self.silenced = False
        self._on_chunk = on_chunk
        self._news = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def done(self) -> bool:
        return self.ended or self.error is not None

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        self._check("head", self.status is None)
        self.status, self.headers, self.length = status, headers, length
        self._news.set()

    def on_chunk(self, data: bytes) -> None:
        self._check("chunk", self.status is not None and data != b"" and type(data) is bytes)
        self.chunks.append(data)
        self._news.set()
        if self._on_chunk is not None:
            self._on_chunk(data)

    def on_end(self) -> None:
        self._check("end", self.status is not None)
        self.ended = True
        self._news.set()

    def on_error(self, error: UpstreamError) -> None:
        self._check("error", isinstance(error, UpstreamError))
        self.error = error
        self._news.set()

    def _check(self, what: str, in_turn: bool) -> None:
        if not in_turn or self.done or self.silenced:
            self.wrong.append(what)

    async def until(self, condition: Callable[[], object], within_s: float = 3.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def over(self, within_s: float = 3.0) -> Heard:
        """Wait for the ending; then nothing may follow."""
        await self.until(lambda: self.done, within_s)
        await asyncio.sleep(0)
        assert self.wrong == []
        return self

    async def failed(self, within_s: float = 3.0) -> UpstreamError:
        await self.over(within_s)
        assert self.error is not None
        return self.error


def origin(upstream: ScriptedUpstream, *, host: str | None = None, **more: object) -> Origin:
    scheme = upstream.base_url.partition(":")[0]
    return Origin(scheme, host or upstream.host, upstream.port, **{"allow_private": True, **more})  # type: ignore[arg-type]


def post(to: Origin, body: bytes = b"{}", *, streamed: bool = False, **times: float) -> UpstreamRequest:
    head = b"POST /v1/chat HTTP/1.1\r\nhost: up\r\naccept-encoding: identity\r\n"
    return UpstreamRequest(to, head, body, Timeouts(**times), streamed)


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class TransportCases:
    """What each group of cases builds on."""

    def build(self, *, max_body: int = 64 * MIB) -> Transport:
        """A transport on the running loop. max_body: the cap for answers that are not streamed."""
        raise NotImplementedError

    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        transport = self.build()
        yield transport
        await transport.close()

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[ScriptedUpstream]:
        async with ScriptedUpstream() as upstream:
            yield upstream

    @pytest.fixture
    def ca(self) -> trustme.CA:
        """An authority of our own."""
        return trustme.CA()

    @pytest.fixture
    def ca_file(self, ca: trustme.CA, tmp_path: Path) -> str:
        """Its certificate."""
        path = tmp_path / "ca.pem"
        ca.cert_pem.write_to_path(str(path))
        return str(path)

    async def ask(self, transport: Transport, request: UpstreamRequest, within_s: float = 5.0) -> Heard:
        heard = Heard()
        sink: Sink = heard
        transport.send(request, sink)
        return await heard.over(within_s)

    async def refused(
        self, transport: Transport, request: UpstreamRequest, within_s: float = 5.0
    ) -> UpstreamError:
        heard = Heard()
        transport.send(request, heard)
        return await heard.failed(within_s)

    def secure(self, ca: trustme.CA, *names: str) -> AbstractAsyncContextManager[ScriptedUpstream]:
        return ScriptedUpstream(tls=server_tls(ca.issue_cert(*(names or ("127.0.0.1", "localhost")))))
