"""Reads usage beside a relayed answer of Cohere's chat; its bytes go on unchanged.

The same interface as `dialects.usage_taps`. A stream is complete with its `message-end`, which
has the usage; one that says that the generation failed is an error.
"""

from __future__ import annotations

from llmgw.core.chat import Text, Thinking, ToolCall
from llmgw.core.events import ChatEvent, Counted, Delta, Failed, Finished, Started
from llmgw.core.operation import Endpoint
from llmgw.core.usage import Usage
from llmgw.dialects.cohere import parts_of, read
from llmgw.dialects.cohere_stream import CohereDecoder, parse_usage
from llmgw.wire.sse import SseSplitter


class CohereBodyTap:
    """For an answer that is one JSON document."""

    __slots__ = ("_text", "body", "upstream_id", "usage")

    def __init__(self, body: bytes) -> None:
        """Read `body`. Raises ValueError when it is not JSON of the shape it must have."""
        answer = read(body)
        self.body = body
        self.usage = parse_usage(answer.usage)
        self.upstream_id = answer.id
        self._text = "".join(
            part.name + part.arguments if isinstance(part, ToolCall) else part.text
            for part in parts_of(answer.message)
            if isinstance(part, Text | Thinking | ToolCall)
        )

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        return self._text


class CohereStreamTap:
    """For a stream of server-sent events.

    hide_usage: of no effect; the last event always has the counts.
    usage: None until that event. done: the stream said that it is complete.
    failed: an error of the upstream's has passed.
    """

    __slots__ = (
        "_decoder",
        "_moved",
        "_size",
        "_splitter",
        "_text",
        "done",
        "failed",
        "hide_usage",
        "upstream_id",
        "usage",
    )

    def __init__(self, endpoint: Endpoint, hide_usage: bool) -> None:
        self.hide_usage = hide_usage
        self._splitter = SseSplitter()
        self._decoder = CohereDecoder()
        self._moved = False
        self._text: list[str] = []
        self._size = 0
        self.usage: Usage | None = None
        self.upstream_id: str | None = None
        self.done = False
        self.failed = False

    def feed(self, chunk: bytes) -> bytes:
        """`chunk`, which the client may have now. Raises ValueError when one event is longer than the cap."""
        self._moved = True
        for raw in self._splitter.feed(chunk):
            self._look(raw)
        return chunk

    def rest(self) -> bytes:
        """Nothing is ever held back. Looks at a last event that was never closed."""
        if self._splitter.pending:
            self._look(bytes(self._splitter.pending) + b"\n\n")
        return b""

    def delivered_text(self) -> str:
        """The text that has passed."""
        return "".join(self._text)

    def delivered_bytes(self) -> int:
        """How much text has passed, roughly."""
        return self._size

    def moved(self) -> bool:
        """Whether anything has passed since this was last asked."""
        moved, self._moved = self._moved, False
        return moved

    def _look(self, raw: bytes) -> None:
        try:
            events = self._decoder.feed(raw)
        except ValueError:
            return  # not for us to judge: the client has the bytes as they came
        for event in events:
            self._take(event)

    def _take(self, event: ChatEvent) -> None:
        if isinstance(event, Delta):
            self._text.append(event.text)
            self._size += len(event.text)
        elif isinstance(event, Started):
            self.upstream_id = event.id or None
        elif isinstance(event, Counted):
            self.usage = event.usage
        elif isinstance(event, Failed):
            self.failed = True
        elif isinstance(event, Finished):
            self.done = True
