"""An answer read in one dialect and written in another, with the usage tapped on the way.

Stands where `usage_taps` stands for answers that go on as they came: the relay feeds it what the
upstream says and passes on what it gives.
"""

from __future__ import annotations

from msgspec import structs

from llmgw.core.chat import ChatRequest, File, Part, Refusal, Text, Thinking, ToolCall
from llmgw.core.errors import GatewayError
from llmgw.core.events import ChatEvent, Counted, Delta, Failed, Finished, Started
from llmgw.core.usage import Usage
from llmgw.dialects.base import Dialect


class TranslatedBody:
    """For a whole answer. body: as the client gets it."""

    __slots__ = ("_text", "body", "upstream_id", "usage")

    def __init__(self, body: bytes, upstream: Dialect, client: Dialect, model: str) -> None:
        """model: the public name. Raises ValueError when `body` is no answer of the upstream's dialect."""
        answer = structs.replace(upstream.parse_answer(body), model=model)
        self.usage = answer.usage
        self.upstream_id: str | None = answer.id or None
        self._text = "".join(_words(part) for choice in answer.choices for part in choice.parts)
        self.body = client.render_answer(answer)

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        return self._text


class TranslatedStream:
    """For a stream.

    usage: the last reported so far. done: the upstream said that it is complete.
    failed: the upstream ended it with an error, which the client has been told.
    """

    __slots__ = ("_decoder", "_encoder", "_moved", "_size", "_text", "done", "failed", "upstream_id", "usage")

    def __init__(
        self, upstream: Dialect, client: Dialect, request: ChatRequest, model: str, include_usage: bool
    ) -> None:
        self._decoder = upstream.decoder()
        self._encoder = client.encoder(request, model, include_usage)
        self._text: list[str] = []
        self._size = 0
        self._moved = False
        self.usage: Usage | None = None
        self.upstream_id: str | None = None
        self.done = False
        self.failed = False

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for it. Raises ValueError for bytes that cannot be the dialect's."""
        self._moved = True
        return self._written(self._decoder.feed(chunk))

    def rest(self) -> bytes:
        """What the end of the upstream's bytes still completes."""
        return self._written(self._decoder.close())

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke, for the client."""
        return self._encoder.fail(error)

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

    def _written(self, events: list[ChatEvent]) -> bytes:
        pieces = []
        for event in events:
            kind = type(event)
            if kind is Delta:
                assert isinstance(event, Delta)
                self._text.append(event.text)
                self._size += len(event.text)
            elif isinstance(event, Counted):
                self.usage = event.usage
            elif isinstance(event, Started):
                self.upstream_id = event.id or None
            elif isinstance(event, Failed):
                self.failed = True
            elif isinstance(event, Finished):
                self.done = True
            pieces.append(self._encoder.feed(event))
        return b"".join(pieces)


def _words(part: Part) -> str:
    if isinstance(part, (Text, Thinking, Refusal)):
        return part.text
    if isinstance(part, ToolCall):
        return part.name + part.arguments
    return part.text or "" if isinstance(part, File) else ""
