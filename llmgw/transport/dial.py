"""Opens a connection to an origin: name, address, proxy, TLS.

Addresses are tried in the resolver's order, the next one 250 ms after the last or as soon as it
failed; the first to connect wins (RFC 8305, the simple form). A proxy is the operator's own and may
be anywhere; what is behind it is judged by its spelling alone, because the proxy is who resolves
the name.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar

from llmgw.core.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from llmgw.ports.transport import Origin
from llmgw.transport.connection import Connection
from llmgw.transport.proxy import HttpProxy, Tunnel
from llmgw.transport.resolve import Resolver
from llmgw.transport.tls import Contexts, TlsWire
from llmgw.wire.hosts import is_private_host

STAGGER_S = 0.25

_P = TypeVar("_P", bound=asyncio.Protocol)


class Dialer:
    """Opens connections; shared by the pools of a transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: Resolver | None = None) -> None:
        self._loop = loop
        self._resolver = resolver or Resolver(loop)
        self._contexts = Contexts()

    async def dial(
        self, origin: Origin, build: Callable[[], Connection], proxy: HttpProxy | None, timeout_s: float
    ) -> Connection:
        """A connection ready to carry a request.

        build: makes the connection's protocol, once for each address tried.
        Raises UpstreamError: nothing was sent.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial(origin, build, proxy)
        except UpstreamError:
            raise
        except TimeoutError as error:
            message = f"the upstream could not be reached within {timeout_s:g} s"
            raise UpstreamTimeout(message, phase="connect") from error
        except ssl.SSLCertVerificationError as error:
            raise UpstreamUnreachable(
                "the upstream's TLS certificate was not accepted",
                phase="connect",
                detail=error.verify_message,
            ) from error
        except ssl.SSLError as error:
            raise UpstreamUnreachable(
                "the TLS handshake with the upstream failed", phase="connect", detail=str(error)
            ) from error
        except OSError as error:
            raise UpstreamUnreachable(
                "the upstream could not be reached", phase="connect", detail=str(error)
            ) from error

    async def _dial(
        self, origin: Origin, build: Callable[[], Connection], proxy: HttpProxy | None
    ) -> Connection:
        if proxy is None:
            host, port, allow_private = origin.host, origin.port, origin.allow_private
        else:
            host, port, allow_private = proxy.host, proxy.port, True
            if not origin.allow_private and is_private_host(origin.host):
                raise UpstreamUnreachable("the upstream's address is private", phase="connect")
        addresses = await self._resolver.addresses(host, port, allow_private=allow_private)
        if origin.scheme != "https":
            return (await self._connect(addresses, port, build))[1]
        context = await self._contexts.context(origin.ca, origin.client_cert, origin.client_key)

        def secured() -> TlsWire:
            return TlsWire(self._loop, context, origin.host, build())

        if proxy is None:
            transport, wire = await self._connect(addresses, port, secured)
        else:
            transport, tunnel = await self._connect(addresses, port, lambda: Tunnel(self._loop, proxy))
            try:
                await tunnel.ready
            except BaseException:
                transport.abort()
                raise
            wire = secured()
            transport.set_protocol(wire)
            wire.connection_made(transport)
        try:
            await wire.ready
        except BaseException:
            transport.abort()
            raise
        return wire.inner

    async def _connect(
        self, addresses: Sequence[str], port: int, build: Callable[[], _P]
    ) -> tuple[asyncio.Transport, _P]:
        """The first address that connects. Raises the last OSError when none does."""
        if len(addresses) == 1:
            return await self._loop.create_connection(build, addresses[0], port)
        trying: set[asyncio.Task[tuple[asyncio.Transport, _P]]] = set()
        last: BaseException = OSError("no address")
        rest = iter(addresses)
        try:
            while True:
                address = next(rest, None)
                if address is not None:
                    trying.add(self._loop.create_task(self._loop.create_connection(build, address, port)))
                elif not trying:
                    raise last
                done, trying = await asyncio.wait(
                    trying,
                    timeout=None if address is None else STAGGER_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                winner = None
                for task in done:
                    failure = task.exception()
                    if failure is not None:
                        last = failure
                    elif winner is None:
                        winner = task.result()
                    else:
                        task.result()[0].abort()
                if winner is not None:
                    return winner
        finally:
            for task in trying:
                task.add_done_callback(_discard)
                task.cancel()


def _discard(task: asyncio.Task[tuple[asyncio.Transport, _P]]) -> None:
    """Close a connection that came too late."""
    if not task.cancelled() and task.exception() is None:
        task.result()[0].abort()
