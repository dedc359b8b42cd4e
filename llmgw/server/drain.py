"""The way out: not ready, still accepting, then only finishing, then gone.

Load balancers go on sending for a while after a readiness probe has failed, so for `lame_duck`
requests are still taken. Streams then have `drain_timeout` to end by themselves. What is left
hears an error in its dialect, is settled, and the process exits.

A worker that another has followed takes no new connection, since the other does. Each that it
has ends with the next answer, which says so, or when nothing came on it for `lame_duck`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from llmgw.core.errors import Unavailable
from llmgw.server.gateway import Gateway
from llmgw.server.listeners import Listener

_AFTER_CUT_S = 1.5


class Departure:
    """Being told to go: once to end in good order, again to hurry.

    patient: requests are taken for `lame_duck` more.
    succeeded: another process accepts at the same address already.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.patient = False
        self.succeeded = False

    def ask(self, *, patient: bool, succeeded: bool = False) -> None:
        """Have it go; asked again, at once."""
        if self.asked.is_set():
            self.hurry.set()
        else:
            self.patient = patient
            self.succeeded = succeeded
            self.asked.set()

    @contextmanager
    def on_signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """SIGTERM asks with patience, SIGINT without."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(self.ask, patient=number == signal.SIGTERM))
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


async def drain(
    gateway: Gateway,
    listeners: list[Listener],
    *,
    lame_duck_s: float,
    drain_timeout_s: float,
    hurry: asyncio.Event,
    accepting: bool = True,
) -> None:
    """End every request and connection. `hurry` set: cut now, but still settle.

    accepting: whether new connections are taken for `lame_duck_s` more. If not, a connection may
        stay so long after its last answer, and all is over when the last one is.
    """
    gateway.draining = True
    loop = asyncio.get_running_loop()
    if accepting:
        await _wait(hurry, lame_duck_s)
    for listener in listeners:
        listener.stop()
    end = loop.time() + drain_timeout_s
    while not accepting and not hurry.is_set() and loop.time() < end:
        # A client that was not told that its connection ends may be about to send on it.
        for listener in listeners:
            listener.close_idle(loop.time() - lame_duck_s)
        if not any(listener.state.connections for listener in listeners):
            break
        await _wait(hurry, 0.02)
    for listener in listeners:
        listener.close_idle()
    while gateway.under_way and loop.time() < end and not hurry.is_set():
        await _wait(hurry, 0.02)
    for strand in list(gateway.under_way):
        strand.interrupt(Unavailable("the gateway is stopping", code="draining", retry_after_s=1))
    end = loop.time() + _AFTER_CUT_S
    while gateway.under_way and loop.time() < end:
        await asyncio.sleep(0.01)
    for listener in listeners:
        await listener.finish(0.2)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
