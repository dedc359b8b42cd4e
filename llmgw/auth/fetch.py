"""One small JSON document from a URL of the operator's.

Through the gateway's own upstream client, so the same holds as for providers: the address that was
checked is the one connected to, certificates are verified, no redirect is followed, and neither
environment proxies nor `.netrc` are looked at.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from llmgw import __version__
from llmgw.auth.claims import NotClaims, parse_claims
from llmgw.config.upstream import Reach
from llmgw.core.errors import UpstreamError
from llmgw.ports.transport import Headers, Origin, Timeouts, Transport, UpstreamRequest
from llmgw.wire.hosts import is_private_host
from llmgw.wire.urls import parse_base_url

MAX_BYTES = 1024 * 1024
TIMEOUTS = Timeouts(connect_s=5.0, idle_s=5.0, total_s=10.0)


class NoDocument(Exception):
    """It could not be had. The text is for the log and holds no secret."""


class Source:
    """A URL and how to get there. Raises NoDocument for one that nobody should ask."""

    def __init__(self, url: str, reach: Reach, transport: Transport) -> None:
        parts = urlsplit(url)
        try:
            base = parse_base_url(f"{parts.scheme}://{parts.netloc}")
        except ValueError as error:
            raise NoDocument(str(error)) from error
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        if not target.isascii() or not target.isprintable() or " " in target:
            raise NoDocument("its URL has a character that no request can carry")
        if base.scheme != "https" and not (reach.allow_private and is_private_host(base.host)):
            raise NoDocument("its URL does not begin with https://")
        self._transport = transport
        self._origin = Origin(
            base.scheme,
            base.host,
            base.port,
            proxy=reach.proxy.get_secret_value() if reach.proxy is not None else None,
            ca=str(reach.ca) if reach.ca is not None else None,
            client_cert=str(reach.client_cert) if reach.client_cert is not None else None,
            client_key=str(reach.client_key) if reach.client_key is not None else None,
            allow_private=reach.allow_private,
        )
        self._lines = (
            f"{target} HTTP/1.1\r\nhost: {base.authority}\r\naccept: application/json\r\n"
            f"accept-encoding: identity\r\nuser-agent: llmgw/{__version__}\r\n"
        )

    async def get(self) -> dict[str, Any]:
        """What is there now. Any: a JSON object. Raises NoDocument."""
        return await self._ask("GET", "", b"")

    async def post(self, lines: str, body: bytes) -> dict[str, Any]:
        """What the answer to a form is. lines: further headers. Raises NoDocument."""
        return await self._ask("POST", lines, body)

    async def _ask(self, method: str, more: str, body: bytes) -> dict[str, Any]:
        head = f"{method} {self._lines}{more}".encode("latin-1")
        answer = _Answer()
        call = self._transport.send(UpstreamRequest(self._origin, head, body, TIMEOUTS), answer)
        try:
            await answer.ended
            return parse_claims(b"".join(answer.pieces))
        except UpstreamError as error:
            detail = f": {error.detail}" if error.detail else ""
            raise NoDocument(f"{error.message}{detail}") from error
        except NotClaims as error:
            raise NoDocument(f"what came cannot be used: {error}") from error
        finally:
            call.cancel()


class _Answer:
    """A sink that keeps a whole answer with status 200, if it is small."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._size = 0

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        if status != 200:
            self._give_up(NoDocument(f"it answers with status {status}"))
        elif (length or 0) > MAX_BYTES:
            self._give_up(NoDocument(f"it is larger than {MAX_BYTES} bytes"))

    def on_chunk(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BYTES:
            self._give_up(NoDocument(f"it is larger than {MAX_BYTES} bytes"))
        else:
            self.pieces.append(data)

    def on_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def on_error(self, error: UpstreamError) -> None:
        self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
