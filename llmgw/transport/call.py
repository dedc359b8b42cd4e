"""One request under way, as its caller holds it.

A call outlives connections: it may wait for a free one, dial one, lose a stale one and go out
again on a fresh one. What it owns is the caller's ear (`sink`) and the clock: `due` is the
next moment something must have happened by, a float the transport's sweeper compares, so that
a request costs no timer.

Promise: the sink hears one ending, and nothing after it or after `cancel`.
"""

from __future__ import annotations

from typing import Protocol

from llmgw.core.errors import UpstreamError, UpstreamOverloaded, UpstreamTimeout
from llmgw.ports.transport import Headers, Sink, UpstreamRequest


class Deaf:
    """The sink of a connection that nobody listens to."""

    __slots__ = ()

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        """Nothing."""

    def on_chunk(self, data: bytes) -> None:
        """Nothing."""

    def on_end(self) -> None:
        """Nothing."""

    def on_error(self, error: UpstreamError) -> None:
        """Nothing."""


DEAF = Deaf()


class Carrier(Protocol):
    """The connection a call is on."""

    @property
    def phase(self) -> str:
        """How far the exchange is: "send", "first byte" or "body"."""

    def drop(self) -> None:
        """Forget the call and close the connection at once."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on, and start the idle clock again."""


class HttpCall:
    """`ports.transport.Call`.

    due: monotonic time of the next deadline; ends: of the last one.
    waiting: in the queue of a full pool.
    """

    __slots__ = (
        "_active",
        "carrier",
        "dispatched",
        "due",
        "ends",
        "paused",
        "request",
        "retried",
        "sink",
        "waiting",
    )

    def __init__(self, request: UpstreamRequest, sink: Sink, active: set[HttpCall], now: float) -> None:
        self.request = request
        self.sink = sink
        self.carrier: Carrier | None = None
        self.dispatched = False
        self.due = self.ends = now + request.timeouts.total_s
        self.paused = False
        self.retried = False
        self.waiting = False
        self._active = active
        active.add(self)

    @property
    def done(self) -> bool:
        return self.sink is DEAF

    def cancel(self) -> None:
        self.leave()
        carrier = self.carrier
        if carrier is not None:
            self.carrier = None
            carrier.drop()

    def pause(self) -> None:
        if self.paused or self.sink is DEAF:
            return
        self.paused = True
        if not self.waiting:
            # The client's slowness is not the upstream's silence: only the total counts now.
            self.due = self.ends
        if self.carrier is not None:
            self.carrier.pause()

    def resume(self) -> None:
        if not self.paused:
            return
        self.paused = False
        if self.carrier is not None:
            self.carrier.resume()

    def leave(self) -> Sink:
        """Stop listening and stop the clock; returns who listened."""
        sink = self.sink
        self.sink = DEAF
        self._active.discard(self)
        return sink

    def fail(self, error: UpstreamError) -> None:
        """End with `error`, closing the connection if there is one."""
        sink = self.leave()
        carrier = self.carrier
        if carrier is not None:
            self.carrier = None
            carrier.drop()
        sink.on_error(error)

    def overdue(self, now: float) -> None:
        """End because `due` has passed."""
        carrier = self.carrier
        if carrier is None:
            if self.waiting and now < self.ends:
                self.fail(UpstreamOverloaded("every connection to the upstream is busy", phase="connect"))
            else:
                self.fail(UpstreamTimeout("the upstream could not be reached in time", phase="connect"))
            return
        phase = carrier.phase
        times = self.request.timeouts
        if now >= self.ends:
            message = f"the upstream did not finish within {times.total_s:g} s"
        elif phase == "body":
            message = f"the upstream went silent for {times.idle_s:g} s"
        else:
            message = f"the upstream did not begin to answer within {times.first_byte_s:g} s"
        self.fail(UpstreamTimeout(message, phase=phase))
