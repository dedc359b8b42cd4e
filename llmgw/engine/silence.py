"""What a stream says when its upstream says nothing, and what does not count as saying something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

KEEP_ALIVE = b": keep-alive\n\n"


class Contender:
    """A client that two targets may still speak to. A comment in one's name would decide for it."""

    @property
    def is_alone(self) -> bool:
        """Whether nobody else may answer any more."""
        raise NotImplementedError


class Bridge:
    """Says something each time nothing has come for `each_s`, so that nobody in between hangs up.

    A comment is not an answer: the idle timeout and the time to the first byte go on.
    passed: grows with what came. say: tells the client so.
    """

    __slots__ = ("_each_s", "_loop", "_passed", "_say", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        each_s: float,
        passed: Callable[[], int],
        say: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._each_s = each_s
        self._passed = passed
        self._say = say
        self._look_later()

    def close(self) -> None:
        """Say nothing more."""
        self._timer.cancel()

    def _look(self, before: int) -> None:
        if self._passed() == before:
            self._say()
        self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._each_s, self._look, self._passed())


def is_only_comments(data: bytes) -> bool:
    """Whether bytes of a stream of events only tell that the connection lives."""
    return not any(line and not line.startswith(b":") for line in data.replace(b"\r", b"\n").split(b"\n"))
