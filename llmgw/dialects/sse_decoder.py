"""What the decoders of streams of server-sent events share: cutting them, and their end."""

from __future__ import annotations

from llmgw.core.events import ChatEvent
from llmgw.wire.sse import SseSplitter


class SseDecoder:
    """Begins a `dialects.base.StreamDecoder`, which says what an event means."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter = SseSplitter()

    def feed(self, data: bytes) -> list[ChatEvent]:
        out: list[ChatEvent] = []
        for raw in self._splitter.feed(data):
            self._event(raw, out)
        return out

    def close(self) -> list[ChatEvent]:
        """What the last event says that had no blank line after it; nothing when it was cut within."""
        out: list[ChatEvent] = []
        try:
            self._event(bytes(self._splitter.pending), out)
        except ValueError:
            out.clear()
        self._splitter.pending.clear()
        return out

    def _event(self, raw: bytes, out: list[ChatEvent]) -> None:
        """Add to `out` what an event, with its blank line, says. Raises ValueError."""
        raise NotImplementedError
