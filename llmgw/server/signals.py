"""What signals mean to the gateway while it serves, and once it has ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from llmgw.server.drain import Departure


@contextmanager
def heard(
    loop: asyncio.AbstractEventLoop, departure: Departure, reload: Callable[[], None]
) -> Iterator[None]:
    """SIGTERM and SIGINT ask `departure`, SIGHUP has `reload` called.

    When this is left everything is settled and written, so whoever is told again ends at once, and well.
    """
    with departure.on_signals(loop):
        loop.add_signal_handler(signal.SIGHUP, reload)
        yield
    for number in (signal.SIGHUP, signal.SIGUSR2):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def ignore() -> None:
    """What is left is the interpreter's end, which would have signals kill it again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(0)
