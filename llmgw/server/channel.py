"""What a worker and its supervisor say to each other, and the socket they say it over.

A document travels pickled, with its secrets as the supervisor resolved them, so that no secret
stands in a command line, in the environment or on disk.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import msgspec

from llmgw.config.problems import Problem
from llmgw.telemetry.metrics import Tally

STACKS = signal.SIGUSR1
"""Has a worker write every thread's stack to standard error, whatever it is doing."""

_BACKLOG_BYTES = 1 << 20


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a worker: serve this. version: the supervisor's."""

    version: str
    document: bytes


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """To a worker: make ready to serve this. number: of the document, for its answer."""

    number: int
    document: bytes


class Switch(msgspec.Struct, frozen=True, tag=True):
    """To a worker: serve what it prepared under this number from now on."""

    number: int


class Ask(msgspec.Struct, frozen=True, tag=True):
    """To a worker: tell what you counted, now."""


class Lend(msgspec.Struct, frozen=True, tag=True):
    """To a worker: hand over a copy of the listening socket, for who will follow."""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """To a worker: end, in good order the first time. succeeded: another accepts in its place."""

    patient: bool
    succeeded: bool = False


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it accepts requests."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it cannot start, and why."""

    message: str


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it is ready to serve the document with this number.

    failure: why it is not. problems: the same, where it is known what in the file is wrong.
    """

    number: int
    failure: str | None = None
    problems: tuple[Problem, ...] = ()


class Switched(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it serves the document with this number."""

    number: int


class Told(msgspec.Struct, frozen=True, tag=True):
    """From a worker: what it counted since it last told. asked: as the answer to `Ask`."""

    tally: Tally
    asked: bool = False


Order = Begin | Prepare | Switch | Ask | Lend | Leave
News = Ready | Failed | Prepared | Switched | Told
_Kind = TypeVar("_Kind")
_encode = msgspec.msgpack.Encoder().encode


class Channel(Generic[_Kind]):
    """Whole messages over one socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any) -> None:
        self._reader = reader
        self._writer = writer
        # Any: a union of messages is no type to mypy.
        self._decode: Callable[[bytes], _Kind] = msgspec.msgpack.Decoder(kind).decode

    @classmethod
    async def over(cls, sock: socket.socket, kind: Any) -> Self:
        """kind: what is received."""
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, kind)

    @property
    def clogged(self) -> bool:
        """Whether the other side has not read for long."""
        return self._writer.transport.get_write_buffer_size() > _BACKLOG_BYTES

    def send(self, message: Order | News) -> None:
        """Have it sent; nothing happens when the other side is gone."""
        if not self._writer.is_closing():
            data = _encode(message)
            self._writer.write(len(data).to_bytes(4, "big") + data)

    async def receive(self) -> _Kind | None:
        """The next message, None at the end."""
        try:
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            return self._decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            # What cannot be read any more has ended, whoever's fault it is.
            return None

    async def close(self) -> None:
        """Send what is left, and end."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            # The other side went first, which is as good an end.
            return
