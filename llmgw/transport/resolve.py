"""From a host to the addresses we may connect to.

The address that was checked is the one connected to, so a name that answers with a public
address first and a private one next gains nothing (DNS rebinding). One private address among
the answers refuses the whole name.

When the resolver fails, the last good answer serves for up to five minutes.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from llmgw.core.errors import UpstreamUnreachable
from llmgw.wire.hosts import is_private_ip

REMEMBERED_S = 300.0
MAX_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    addresses: tuple[str, ...]
    at: float


class Resolver:
    """Looks names up, checks the addresses, remembers the last good answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: dict[str, _Answer] = {}

    async def addresses(self, host: str, port: int, *, allow_private: bool) -> tuple[str, ...]:
        """The addresses of `host` in the order to try them, at least one.

        Raises UpstreamUnreachable when there is none, or one is private and may not be used.
        """
        try:
            rows = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
            if not found:
                raise OSError("no address")
        except (OSError, UnicodeError) as error:
            found = self._remembered(host)
            if not found:
                raise UpstreamUnreachable(
                    "the upstream's name could not be resolved", phase="connect", detail=str(error)
                ) from error
        else:
            self._remember(host, found)
        if not allow_private:
            for address in found:
                if is_private_ip(address):
                    raise UpstreamUnreachable(
                        "the upstream's address is private", phase="connect", detail=f"resolved to {address}"
                    )
        return found

    def _remember(self, host: str, addresses: tuple[str, ...]) -> None:
        self._answers.pop(host, None)
        if len(self._answers) >= MAX_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        self._answers[host] = _Answer(addresses, self._loop.time())

    def _remembered(self, host: str) -> tuple[str, ...]:
        answer = self._answers.get(host)
        if answer is None or self._loop.time() - answer.at > REMEMBERED_S:
            return ()
        return answer.addresses
