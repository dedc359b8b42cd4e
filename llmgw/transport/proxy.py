"""The HTTP proxy between us and an upstream.

Plain requests go to it in absolute form with our credentials for it; TLS goes through a CONNECT
tunnel, and only the CONNECT carries the credentials. Proxies named in the environment are never
looked at. Source: RFC 9112 3.2.2 (absolute form), RFC 9110 9.3.6 (CONNECT).
"""

from __future__ import annotations

import asyncio
import base64
from typing import cast
from urllib.parse import unquote, urlsplit

from llmgw.core.errors import UpstreamUnreachable
from llmgw.ports.transport import Origin

MAX_ANSWER = 16 * 1024


def authority(host: str, port: int) -> bytes:
    """`host:port`, IPv6 in brackets."""
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("ascii")


class HttpProxy:
    """A proxy, seen from one origin."""

    __slots__ = ("_credentials", "_target", "host", "port")

    def __init__(self, url: str, origin: Origin) -> None:
        """Raises UpstreamUnreachable when `url` is not `http://[user:pass@]host[:port]`."""
        try:
            parts = urlsplit(url)
            port = parts.port
            self._target = authority(origin.host, origin.port)
        except ValueError as error:
            raise UpstreamUnreachable("the proxy's address is not valid", phase="connect") from error
        if parts.scheme != "http" or not parts.hostname:
            raise UpstreamUnreachable("the proxy's address is not valid", phase="connect")
        self.host = parts.hostname
        self.port = port or 80
        self._credentials = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._credentials = b"proxy-authorization: Basic " + base64.b64encode(pair) + b"\r\n"

    def absolute(self, head: bytes) -> bytes:
        """`head` with its target in absolute form and our credentials added."""
        method, _, rest = head.partition(b" ")
        return b"%b http://%b%b%b" % (method, self._target, rest, self._credentials)

    def connect(self) -> bytes:
        """The request that asks for a tunnel."""
        return b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (self._target, self._target, self._credentials)


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel; the next protocol takes the transport over when `ready` is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: HttpProxy) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self._proxy = proxy
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._proxy.connect())

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            return
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > MAX_ANSWER:
                self._fail("the proxy's answer is too large")
            return
        status = head.partition(b"\r\n")[0].split(b" ", 2)
        # The upstream's TLS waits for our first word, so nothing may follow the head.
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or rest:
            self._fail("the proxy's answer is not HTTP/1.1")
        elif len(status[1]) != 3 or not status[1].startswith(b"2"):
            self._fail(f"the proxy refused the tunnel with status {status[1][:3].decode('latin-1')}")
        else:
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the proxy closed the connection")

    def _fail(self, message: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(UpstreamUnreachable(message, phase="connect"))
            # Nobody asks the ones that lost the race of addresses.
            self.ready.exception()
