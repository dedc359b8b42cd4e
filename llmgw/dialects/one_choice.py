"""What the encoders of streams share whose dialects have one choice in an answer."""

from __future__ import annotations

from llmgw.core.errors import GatewayError
from llmgw.core.events import (
    ChatEvent,
    Counted,
    Delta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
)
from llmgw.core.usage import Usage


class OneChoiceEncoder:
    """Begins a `dialects.base.StreamEncoder`, which says how each event is written.

    What is told of other choices than the first, and after the end, is passed over.
    """

    __slots__ = ("_ended", "_stop", "_usage")

    def __init__(self) -> None:
        self._stop: str | None = None
        self._usage: Usage | None = None
        self._ended = False

    def feed(self, event: ChatEvent) -> bytes:
        if self._ended:
            return b""
        if isinstance(event, Delta):
            return b"" if event.choice else self._delta(event)
        if isinstance(event, Counted):
            self._usage = event.usage
            return b""
        if isinstance(event, Started):
            return self._start(event)
        if isinstance(event, Failed):
            return self._break(event)
        if isinstance(event, Finished):
            return self._finish()
        if event.choice:
            return b""
        if isinstance(event, PartStarted):
            return self._begin_part(event)
        if isinstance(event, PartEnded):
            return self._end_part(event.part)
        if isinstance(event, Signed):
            return self._sign(event)
        self._stop = event.stop
        return b""

    def fail(self, error: GatewayError) -> bytes:
        return b"" if self._ended else self._break(error)

    def _start(self, event: Started) -> bytes:
        raise NotImplementedError

    def _begin_part(self, event: PartStarted) -> bytes:
        raise NotImplementedError

    def _delta(self, event: Delta) -> bytes:
        raise NotImplementedError

    def _sign(self, event: Signed) -> bytes:
        """Nothing, where the dialect has no signatures."""
        return b""

    def _end_part(self, part: int) -> bytes:
        raise NotImplementedError

    def _finish(self) -> bytes:
        """The end of an answer that is whole; sets `_ended`."""
        raise NotImplementedError

    def _break(self, error: GatewayError | Failed) -> bytes:
        """The end of one that is not, by the upstream or by us; sets `_ended`."""
        raise NotImplementedError
