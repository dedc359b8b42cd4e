"""Listening sockets and the connections that came through them."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import termios
import time
from array import array
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from llmgw.server.bounded import httptools_parser
from llmgw.server.gateway import Gateway
from llmgw.server.protocol import GatewayProtocol

_BACKLOG = 2048
_CHECKED_AT_ONCE = 64
_HANDSHAKE_S = 10.0


class ListenError(Exception):
    """An address cannot be listened on. The message says which, and why."""


def bind(name: str, host: str, port: int) -> socket.socket:
    """A listening socket, not yet accepting. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(
            f"{name} {host}:{port} cannot be listened on: {error.strerror or error}; "
            f"choose another address or stop what uses it"
        ) from None
    sock.setblocking(False)
    return sock


def reserve(name: str, host: str, port: int) -> socket.socket:
    """An address that sockets of `share` listen on; this one never does. Raises ListenError.

    Each worker has a socket of its own there and the kernel chooses by the connection's hash. Of 64
    connections the busier of two workers got 35 on average, and 45 when both accepted from one
    socket. A socket ends with its worker, so no connection waits for a dead one.
    """
    # Sharing would also be granted beside another gateway of ours that listens there already.
    exclusive = bind(name, host, port)
    with exclusive:
        address = exclusive.getsockname()
    return _shared(exclusive.family, address)


def share(reserved: socket.socket) -> socket.socket:
    """One more socket at a reserved address, not yet listening. Raises OSError."""
    return _shared(reserved.family, reserved.getsockname())


def _shared(family: int, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


class Listener:
    """One listening socket and its connections."""

    def __init__(
        self,
        sock: socket.socket,
        config: Config,
        make: Callable[[Listener], asyncio.Protocol],
        handshake_s: float = _HANDSHAKE_S,
    ) -> None:
        """handshake_s: that a client has for TLS's."""
        self._sock = sock
        self._handshake_s = handshake_s
        self._make = make
        self._server: asyncio.base_events.Server | None = None
        self.config = config
        self.state = ServerState()

    async def open(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None) -> None:
        """Begin to accept."""
        self.check_deadlines(loop.time())
        self._server = await loop.create_server(
            lambda: self._make(self),
            sock=self._sock,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self._handshake_s,
            backlog=_BACKLOG,
            start_serving=True,
        )

    def stop(self) -> None:
        """Accept no more; connections under way go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def close_idle(self, since: float | None = None) -> None:
        """Close connections that wait for a request, and the others after their response.

        since: on the loop's clock; only those that have waited from then on, and no others.
        """
        for connection in list(self.state.connections):
            if since is None or _waits_since(connection, since):
                connection.shutdown()

    def check_deadlines(self, now: float) -> None:
        """Called each second: drop the silent and the slow, and keep the date of answers current."""
        self.state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
        self._check(list(self.state.connections), 0, now)

    def _check(self, connections: list[object], first: int, now: float) -> None:
        """Some, then others in the next turn of the loop: thousands that end together hold up nobody."""
        following = first + _CHECKED_AT_ONCE
        for connection in connections[first:following]:
            if isinstance(connection, GatewayProtocol):
                connection.check_deadlines(now)
        if following < len(connections):
            asyncio.get_running_loop().call_soon(self._check, connections, following, now)

    async def finish(self, within_s: float) -> None:
        """Wait until the connections have gone, then cut the rest."""
        end = asyncio.get_running_loop().time() + within_s
        while self.state.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        for connection in list(self.state.connections):
            transport = connection.transport
            if transport is not None:
                transport.abort()


def _waits_since(connection: object, moment: float) -> bool:
    return (
        isinstance(connection, GatewayProtocol)
        and connection.idle_since is not None
        and connection.idle_since <= moment
        and not _has_sent(connection.transport)
    )


def _has_sent(transport: asyncio.Transport) -> bool:
    """Whether bytes have come that were not read yet: closing would answer them with a reset."""
    if transport.is_closing():
        return False
    sock = transport.get_extra_info("socket")
    waiting = array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, waiting)
    return waiting[0] > 0


def data_listener(
    sock: socket.socket,
    app: object,
    gateway: Gateway,
    loop: asyncio.AbstractEventLoop,
    make_parser: Callable[[object], Any] = httptools_parser,
) -> Listener:
    """The data plane: hot paths to `gateway`, the rest to `app`.

    make_parser: `httptools_parser`, or `server.h11_parser.H11Parser` for the same answers without
    httptools' C code.
    """
    config = _config(app)
    return Listener(
        sock,
        config,
        lambda listener: GatewayProtocol(listener.config, listener.state, gateway, loop, make_parser),
        gateway.limits.header_timeout_s,
    )


def admin_listener(sock: socket.socket, app: object, loop: asyncio.AbstractEventLoop) -> Listener:
    """A plain uvicorn protocol in front of `app`."""
    config = _config(app)
    return Listener(
        sock,
        config,
        lambda listener: HttpToolsProtocol(
            config=listener.config, server_state=listener.state, app_state={}, _loop=loop
        ),
    )


def _config(app: object) -> Config:
    config = Config(
        app,  # type: ignore[arg-type]
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )
    config.load()
    return config
