"""Carries `echo`'s answers like an upstream would: in pieces, at a pace, and with faults.

In process: no socket is opened. Pausing, cancelling and timeouts work as on a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llmgw.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from llmgw.ports.transport import Headers, Sink, Timeouts


@dataclass(slots=True)
class Reply:
    """What goes back. pieces: of the body, each sent by itself; one piece for a whole body.

    first_s, each_s: pauses before the first piece and between pieces.
    stall, cut: after how many pieces to fall silent or to break off; 0 is before the head.
    """

    status: int
    content_type: str
    pieces: Iterator[bytes]
    length: int | None = None
    first_s: float = 0.0
    each_s: float = 0.0
    stall: int | None = None
    cut: int | None = None
    headers: Headers = field(default_factory=list)


class EchoCall:
    """`ports.transport.Call` of one reply."""

    def __init__(
        self,
        reply: Reply,
        sink: Sink,
        timeouts: Timeouts,
        streamed: bool,
        ended: Callable[[EchoCall], None],
    ) -> None:
        """ended: told when nothing more will come."""
        self._loop = asyncio.get_running_loop()
        self._reply = reply
        self._sink: Sink | None = sink
        self._ended = ended
        self._timeouts = timeouts
        self._first_due = timeouts.first_byte_s if streamed else timeouts.total_s
        self._sent = -1
        self._paused = False
        self._waiting = False
        self._due = self._loop.time() + reply.first_s
        self._total = self._loop.call_later(
            timeouts.total_s, self.fail, UpstreamTimeout("the provider did not finish in time", phase="body")
        )
        self._next: asyncio.TimerHandle | asyncio.Handle = self._later(reply.first_s)

    @property
    def dispatched(self) -> bool:
        return True

    def cancel(self) -> None:
        self._sink = None
        self._next.cancel()
        self._total.cancel()
        self._ended(self)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._waiting:
            self._waiting = False
            self._next = self._loop.call_soon(self._go_on)

    def _later(self, seconds: float) -> asyncio.TimerHandle | asyncio.Handle:
        if self._sent < 0 and seconds > self._first_due:
            timeout = UpstreamTimeout("the provider did not begin to answer in time", phase="first byte")
            return self._loop.call_later(self._first_due, self.fail, timeout)
        if self._sent >= 0 and seconds > self._timeouts.idle_s:
            timeout = UpstreamTimeout("the provider went silent", phase="body")
            return self._loop.call_later(self._timeouts.idle_s, self.fail, timeout)
        if seconds <= 0:
            return self._loop.call_soon(self._go_on)
        return self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        sink = self._sink
        reply = self._reply
        if sink is None:
            return
        if self._paused:
            self._waiting = True
            return
        done = max(self._sent, 0)
        if reply.cut is not None and done >= reply.cut:
            self.fail(UpstreamBroken("the provider closed the connection", phase="body"))
            return
        if reply.stall is not None and done >= reply.stall:
            self._fall_silent(before_head=self._sent < 0)
            return
        if self._sent < 0:
            self._sent = 0
            sink.on_head(
                reply.status,
                [(b"content-type", reply.content_type.encode()), *reply.headers],
                reply.length,
            )
            if self._sink is None:
                return
        piece = next(reply.pieces, None)
        if piece is None:
            self.cancel()
            sink.on_end()
            return
        self._sent += 1
        sink.on_chunk(piece)
        if self._sink is not None:
            # Against the clock rather than from now, so that a late turn does not slow the pace.
            self._due += reply.each_s
            self._next = self._later(self._due - self._loop.time())

    def _fall_silent(self, *, before_head: bool) -> None:
        wait = self._first_due if before_head else self._timeouts.idle_s
        phase = "first byte" if before_head else "body"
        error = UpstreamTimeout("the provider went silent", phase=phase)
        self._next = self._loop.call_later(wait, self.fail, error)

    def fail(self, error: UpstreamError) -> None:
        """End the call with `error`, unless it has ended."""
        sink = self._sink
        if sink is not None:
            self.cancel()
            sink.on_error(error)
