"""One connection to Redis for all of a worker's requests.

Whatever is asked in one turn of the event loop leaves in one write, and answers come back in
order. Nobody waits longer than its deadline: one timer looks at the oldest question.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import hiredis

from llmgw.config.redis_url import RedisUrl
from llmgw.stores.redis_blocking import (
    RedisRefusal,
    addresses,
    greeting,
    moved_to,
    refused,
    tls_context,
)
from llmgw.stores.redis_claims import EPOCH, Word, command

CONNECT_S = 1.0
_GRACE_S = 0.002
_HOPS = 4


class Late(Exception):
    """Redis did not answer in time."""


class Lost(Exception):
    """The connection is gone."""


class Question(Protocol):
    """Something asked. deadline: of the loop's clock. expired: it was told that it failed."""

    deadline: float
    expired: bool

    def answered(self, reply: object) -> None:
        """The answer, also when it comes after the deadline. An error is a value."""

    def failed(self, error: Exception) -> None:
        """There is no answer in time, or none at all. Called once at most."""


class Link(asyncio.Protocol):
    """lost: called once, when the connection is gone. node: host and port, as they were named."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lost: Callable[[], None] = _nothing
        self.node = ("", 0)
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[Question] = deque()
        self._out: list[bytes | Callable[[], bytes]] = []
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        waiting = self._waiting
        try:
            while (reply := reader.gets()) is not False:
                if type(reply) is list and self._is_message(reply):
                    continue
                if not waiting:
                    # Redis says something unasked when it has no room for a client.
                    self.abort()
                    return
                waiting.popleft().answered(reply)
        except hiredis.ProtocolError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def ask(self, packed: bytes | Callable[[], bytes], question: Question) -> None:
        """Send a command at the end of this turn of the loop. packed: it, or what then gives it."""
        if self._closed:
            question.expired = True
            question.failed(Lost("the connection to Redis is gone"))
            return
        self._waiting.append(question)
        self._out.append(packed)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        if self._timer is None or question.deadline < self._due:
            self._look_at(question.deadline)

    def call(self, *words: Word, within_s: float = CONNECT_S) -> asyncio.Future[object]:
        """One command's answer. Raises RedisRefusal, Late and Lost."""
        reply = _Reply(self._loop.create_future(), self._loop.time() + within_s)
        self.ask(command(*words), reply)
        return reply.future

    def abort(self) -> None:
        """End the connection; whoever waits is told now."""
        if self._transport is not None:
            self._transport.abort()
        self._end(None)

    def _is_message(self, reply: list[object]) -> bool:
        """Whether this answers nothing that was asked, and was taken."""
        return False

    def _flush(self) -> None:
        self._flushing = False
        out, self._out = self._out, []
        if out and self._transport is not None and not self._closed:
            self._transport.write(b"".join([one if isinstance(one, bytes) else one() for one in out]))

    def _look(self) -> None:
        """Fail what is late. Its answer may already be here, unread, when the loop itself was late."""
        now = self._loop.time()
        if now - self._due > _GRACE_S:
            self._look_at(now + _GRACE_S)
            return
        self._timer = None
        waiting = [question for question in self._waiting if not question.expired]
        following = [question.deadline for question in waiting if question.deadline > now]
        if following:
            self._look_at(min(following))
        for question in waiting:
            if question.deadline <= now and not question.expired:
                question.expired = True
                question.failed(Late("Redis does not answer in time"))

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = when
        self._timer = self._loop.call_at(when, self._look)

    def _end(self, error: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for question in waiting:
            if not question.expired:
                question.expired = True
                question.failed(Lost(str(error) if error else "Redis closed the connection"))
        self.lost()


class Subscription(Link):
    """A link for SUBSCRIBE, on which PING may be asked beside it. told: called for each message."""

    def __init__(self, loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
        super().__init__(loop)
        self._told = told

    def _is_message(self, reply: list[object]) -> bool:
        if reply[:1] != [b"message"]:
            return False
        self._told()
        return True


class _Reply:
    """The answer to a command as a future."""

    def __init__(self, future: asyncio.Future[object], deadline: float) -> None:
        self.future = future
        self.deadline = deadline
        self.expired = False

    def answered(self, reply: object) -> None:
        if self.future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            self.future.set_exception(RedisRefusal(str(reply)))
        else:
            self.future.set_result(reply)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


async def connect(url: RedisUrl, make: Callable[[], Link], key: bytes = EPOCH) -> Link:
    """A link to the server that has `key`, greeted. Raises OSError, Late, Lost, RedisRefusal, Unavailable."""
    loop = asyncio.get_running_loop()
    if url.kind == "sentinel":
        nodes: Sequence[tuple[str, int]] = await loop.run_in_executor(None, lambda: [*addresses(url)])
    else:
        nodes = url.nodes
    last: Exception = OSError("no node answers")
    for node in nodes:
        try:
            link = await _greeted(url, make, *node)
            return await _followed(url, make, link, key) if url.kind == "cluster" else link
        except (OSError, Late, Lost) as error:
            last = error
    raise last


async def _greeted(url: RedisUrl, make: Callable[[], Link], host: str, port: int) -> Link:
    loop = asyncio.get_running_loop()
    link = make()
    link.node = (host, port)
    context = tls_context(url) if url.tls else None
    async with asyncio.timeout(CONNECT_S):
        await loop.create_connection(lambda: link, host, port, ssl=context)
    try:
        for words in greeting(url):
            try:
                await link.call(*words)
            except RedisRefusal as refusal:
                raise RedisRefusal(refused(url, words, str(refusal))) from refusal
    except BaseException:
        link.abort()
        raise
    return link


async def _followed(url: RedisUrl, make: Callable[[], Link], link: Link, key: bytes) -> Link:
    """The link to the node of a cluster that has `key`."""
    for _ in range(_HOPS):
        try:
            await link.call("GET", key)
        except RedisRefusal as refusal:
            link.abort()
            moved = moved_to(str(refusal))
            if moved is None:
                raise
            link = await _greeted(url, make, *moved)
        else:
            return link
    return link


def _nothing() -> None:
    """What happens when nobody asked for anything."""
