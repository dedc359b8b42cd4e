"""TLS towards an upstream: always verified, driven by hand over a plain TCP transport.

The event loop's own TLS keeps a state machine, a write backlog and scheduled callbacks for every
connection. An exchange needs two things: encrypt one request, decrypt what came. Here OpenSSL
works on two memory buffers from inside the socket's callbacks, which costs less CPU a request.

Promise: no downgrade and no switch to turn verification off; the system's store or the bundle named
in the settings, TLS 1.2 or later, no renegotiation, ALPN `http/1.1`. A stream that ends without
close_notify is a cut one.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import cast

from llmgw.transport.connection import Connection

_RECORD = 16 * 1024
_SLICE = 64 * 1024


class Contexts:
    """TLS settings by the files they come from, read again when a file has changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str | None, str | None], tuple[list[int], ssl.SSLContext]] = {}

    async def context(self, ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) when a file cannot be read or used."""
        files = (ca, cert, key)
        stamps = [os.stat(path).st_mtime_ns for path in files if path is not None]
        known = self._known.get(files)
        if known is not None and known[0] == stamps:
            return known[1]
        # Reading the system's store takes milliseconds.
        built = await asyncio.to_thread(_build, ca, cert, key)
        self._known[files] = (stamps, built)
        return built


def _build(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


class TlsWire(asyncio.Protocol):
    """The TCP transport's protocol, and the transport of the connection inside.

    ready: done when the handshake is; fails with ssl.SSLError or ConnectionError.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, host: str, inner: Connection
    ) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host.rstrip("."))
        self._read = self._tls.read
        self._open = False
        self._full = False
        self._error: Exception | None = None
        self._backlog: list[memoryview] = []
        self._tcp: asyncio.Transport

    # Above: what the connection asks of its transport.

    def write(self, data: bytes) -> None:
        if self._full or len(data) > _SLICE:
            # Encrypting a large body at once would hold it twice.
            self._backlog.append(memoryview(data))
            self._pump()
            return
        self._encrypt(data)

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size() + sum(map(len, self._backlog))

    def pause_reading(self) -> None:
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        self._tcp.resume_reading()

    def is_closing(self) -> bool:
        return self._tcp.is_closing()

    def close(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # It wants the other side's close_notify, which we do not wait for.
        self._flush()
        self._tcp.close()

    def abort(self) -> None:
        self._backlog.clear()
        self._tcp.abort()

    # Below: what the TCP transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._tcp = cast("asyncio.Transport", transport)
        self._shake()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._open:
            self._drain()
        else:
            self._shake()

    def eof_received(self) -> None:
        if self._open:
            self._error = ConnectionResetError("the TLS stream ended without close_notify")
        else:
            self._unready(ConnectionResetError("closed during the TLS handshake"))
        self._tcp.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._backlog.clear()
        if self._open:
            self.inner.connection_lost(exc or self._error)
        else:
            self._unready(exc or ConnectionResetError("closed during the TLS handshake"))

    def pause_writing(self) -> None:
        self._full = True
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._pump()
        if not self._full:
            self.inner.resume_writing()

    # Between.

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self._unready(error)
            self._tcp.abort()
            return
        self._flush()
        self._open = True
        self.inner.connection_made(cast("asyncio.BaseTransport", self))
        if not self.ready.done():
            self.ready.set_result(None)
        if self._incoming.pending or self._tls.pending():
            self._drain()

    def _drain(self) -> None:
        """Decrypt all that is there and deliver it at once.

        One delivery, so that the connection sees what follows the end of a response before it
        lends itself again.
        """
        tls, incoming, read = self._tls, self._incoming, self._read
        parts = []
        ended = False
        try:
            while data := read(_RECORD):
                parts.append(data)
                # Asking in vain raises, which costs more than a read.
                if not incoming.pending and not tls.pending():
                    break
            else:
                ended = True  # close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            self._error = error
            self._flush()
            self._tcp.abort()
            return
        if parts:
            self.inner.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if ended:
            self.inner.eof_received()
        elif self._outgoing.pending:
            self._flush()

    def _pump(self) -> None:
        backlog = self._backlog
        while backlog and not self._full and not self._tcp.is_closing():
            data = backlog[0]
            if len(data) > _SLICE:
                backlog[0] = data[_SLICE:]
                data = data[:_SLICE]
            else:
                del backlog[0]
            self._encrypt(data)

    def _encrypt(self, data: bytes | memoryview) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._error = error
            self._tcp.abort()
        else:
            self._tcp.write(self._outgoing.read())

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._tcp.write(self._outgoing.read())

    def _unready(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            # Nobody asks the ones that lost the race of addresses.
            self.ready.exception()
