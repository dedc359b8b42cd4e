"""Streams that must begin with an opening event, for upstreams that leave it out.

Where client and upstream speak the same dialect its bytes go on as they come. A stream of messages or of
responses without its opening is one that the official SDKs refuse ("Unexpected event order"): llama.cpp
gives such when the first token is half a character. It is read and written again instead, so that the
client has all that belongs there; what only the upstream's own words say is lost with it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from llmgw.core.operation import Endpoint, Operation
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import ANTHROPIC
from llmgw.dialects.taps import StreamedTap
from llmgw.wire.sse import SseSplitter, event_data


class _Event(Struct):
    type: str | None = None


_decode = msgspec.json.Decoder(_Event).decode

_OPENING = frozenset({"message_start", "response.created", "error", "response.failed"})
"""An error may come first."""
_CONTENT = (
    "content_block_",
    "message_",
    "response.output_",
    "response.content_part.",
    "response.function_call_arguments.",
    "response.reasoning_",
    "response.refusal.",
    "response.completed",
    "response.incomplete",
)
"""How the types of events begin that come later."""


def is_opened(endpoint: Endpoint) -> bool:
    """Whether streams of an endpoint's dialect have an opening that clients wait for."""
    return endpoint.dialect == ANTHROPIC or endpoint.operation is Operation.RESPONSES


class OpenedTap:
    """Implements `taps.StreamedTap` by one that is chosen when the stream has begun.

    feed: the chosen tap's own from then on, so that a stream that is well costs nothing more.
    """

    __slots__ = ("_again", "_opened", "_splitter", "_tap", "feed")

    def __init__(self, tap: StreamedTap, again: Callable[[], StreamedTap | None]) -> None:
        """tap: for a stream that begins well. again: makes what writes another anew, if anything can."""
        self._tap = tap
        self._again = again
        self._splitter = SseSplitter()
        self._opened = False
        self.feed: Callable[[bytes], bytes] = self._open

    @property
    def usage(self) -> Usage | None:
        return self._tap.usage

    @property
    def upstream_id(self) -> str | None:
        return self._tap.upstream_id

    @property
    def done(self) -> bool:
        return self._tap.done

    @property
    def failed(self) -> bool:
        return self._tap.failed

    def rest(self) -> bytes:
        last = b"" if self._opened else self._tap.feed(bytes(self._splitter.pending))
        return last + self._tap.rest()

    def delivered_text(self) -> str:
        return self._tap.delivered_text()

    def delivered_bytes(self) -> int:
        return self._tap.delivered_bytes()

    def moved(self) -> bool:
        return self._tap.moved()

    def _open(self, chunk: bytes) -> bytes:
        """What of the beginning can go on: whole events. Raises ValueError for one that is too long."""
        events = self._splitter.feed(chunk)
        for number, raw in enumerate(events):
            well = _begins_well(raw)
            if well is None:
                continue
            before = self._tap.feed(b"".join(events[:number]))
            if not well:
                self._tap = self._again() or self._tap
            self._opened = True
            self.feed = self._tap.feed
            return before + self.feed(b"".join(events[number:]) + bytes(self._splitter.pending))
        return self._tap.feed(b"".join(events))


def _begins_well(raw: bytes) -> bool | None:
    """Whether a stream may begin with an event; None for one that may come anywhere, such as a ping."""
    data = event_data(raw)
    if data is None:
        return None
    try:
        kind = _decode(data).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    if kind in _OPENING or kind is None:
        return True
    return False if kind.startswith(_CONTENT) else None
