"""Keeps what a client is told, for whoever wants to give the answer again.

Only for requests whose policies asked for it. The client's last bytes are held back until the
answer is kept, so that whoever has an answer finds it kept when it asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from llmgw.core.exchange import Exchange
from llmgw.core.stored_reply import CACHE, StoredReply, kept_lines
from llmgw.engine.strand import sheltered
from llmgw.ports.client import Client, Flow

_GOOD = frozenset({"ok", CACHE})


class Keeper(Protocol):
    """Who wants to keep an answer.

    most_bytes: of the body; a longer one is not held in memory.
    outlasts_s: how long the call goes on for it after the client has left; 0: not at all.
    """

    most_bytes: int
    outlasts_s: float

    def keep(self, ex: Exchange, recording: Recording) -> Awaitable[None] | None:
        """Called once, at the end of every request that was recorded, whatever became of it.

        What is awaited delays the client's last bytes. What either raises is a fault of ours: it is
        logged, and nobody else hears of it.
        """


def record_for(ex: Exchange, keeper: Keeper) -> None:
    """Record the answer of `ex`, from its first byte on. For policies."""
    if ex.recording is None:
        ex.recording = Recording()
    ex.recording.add(keeper)


class Recording:
    """The client, with a memory. Implements `ports.client.Client`.

    status: 0 before the answer began. ended: it was told to its end; no error cut it off.
    size: bytes of the body so far, kept or not.
    """

    __slots__ = (
        "_client",
        "_concluding",
        "_flow",
        "_gone",
        "_head",
        "_keepers",
        "_last",
        "_most_bytes",
        "_outlasts_s",
        "_pieces",
        "_timer",
        "closed",
        "ended",
        "size",
        "status",
        "streamed",
    )

    def __init__(self) -> None:
        self.closed = False
        self.status = 0
        self.ended = False
        self.size = 0
        self.streamed = False
        self._keepers: list[Keeper] = []
        self._most_bytes = 0
        self._outlasts_s = 0.0
        self._client: Client | None = None
        self._flow: Flow | None = None
        self._head = b""
        self._pieces: list[bytes] = []
        self._last: Callable[[], None] | None = None
        self._gone = False
        self._concluding = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, keeper: Keeper) -> None:
        """Keep the answer for one more."""
        self._keepers.append(keeper)
        self._most_bytes = max(self._most_bytes, keeper.most_bytes)
        self._outlasts_s = max(self._outlasts_s, keeper.outlasts_s)

    def before(self, client: Client) -> Recording:
        """Stand before `client` from now on; called again, nothing changes."""
        if self._client is None:
            self._client = client
        return self

    def left(self, loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> bool:
        """The client has left. Whether the call goes on without it; if so, `end` ends it in time."""
        if self._client is None or not self._outlasts_s:
            return False
        if not self._gone and not self._concluding:
            self._timer = loop.call_later(self._outlasts_s, end)
        self._gone = True
        if self._flow is not None:
            self._flow.resume()
        return True

    def succeeded(self, ex: Exchange) -> bool:
        """Whether the answer is whole and good: a 2xx to its end, and no error in its stream."""
        return self.ended and 200 <= self.status < 300 and ex.outcome in _GOOD

    def reply(self, ex: Exchange, most_bytes: int) -> StoredReply | None:
        """What the client was told; None when its body is longer than `most_bytes`."""
        if self.size > min(most_bytes, self._most_bytes):
            return None
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        target, usage = ex.target, ex.usage
        return StoredReply(
            self.status,
            kept_lines(self._head),
            self._pieces[0] if self._pieces else b"",
            self.streamed,
            target.provider if target is not None else "",
            target.model if target is not None else "",
            usage.input_tokens if usage is not None else 0,
            usage.output_tokens if usage is not None else 0,
        )

    async def conclude(self, ex: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Hand the answer to those who keep it, then let the client have its end."""
        self._concluding = True
        if self._timer is not None:
            self._timer.cancel()
        waits = []
        for keeper in self._keepers:
            try:
                wait = keeper.keep(ex, self)
            except Exception as error:
                _tell(loop, error)
            else:
                if wait is not None:
                    waits.append(wait)
        if waits:
            # The client may leave, or the process stop: what is being kept is kept first.
            await sheltered(loop.create_task(_in_turn(waits, loop)))
        self._pieces = []
        if self._last is not None:
            self._last()

    # The client.

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole response."""
        assert self._client is not None
        self.status = status
        self._head = head
        self._hear(body)
        self.ended = True
        self._last = partial(self._client.send, status, head, body)

    def start(self, status: int, head: bytes) -> None:
        """Begin a response."""
        assert self._client is not None
        self.status = status
        self.streamed = True
        self._head = head
        self._client.start(status, head)

    def write(self, data: bytes) -> None:
        """Some body bytes."""
        assert self._client is not None
        self._hear(data)
        self._client.write(data)

    def end(self) -> None:
        """The response is complete."""
        assert self._client is not None
        self.ended = True
        self._last = self._client.end

    def abort(self) -> None:
        """Cut the connection."""
        assert self._client is not None
        self._client.abort()

    def attach(self, flow: Flow | None) -> None:
        """Who to pause. Nobody waits for a client that has left."""
        assert self._client is not None
        self._flow = flow
        if not self._gone:
            self._client.attach(flow)

    def _hear(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= self._most_bytes:
            self._pieces.append(data)
        else:
            self._pieces.clear()


async def _in_turn(waits: list[Awaitable[None]], loop: asyncio.AbstractEventLoop) -> None:
    for wait in waits:
        try:
            await wait
        except Exception as error:
            _tell(loop, error)


def _tell(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    """Whoever asked has its answer all the same, and the request is settled."""
    loop.call_exception_handler({"message": "an answer could not be kept", "exception": error})
