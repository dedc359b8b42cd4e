"""An answer read in one dialect and written in another, with the usage tapped on the way.

Stands where `usage_taps` stands for answers that go on as they came: the relay feeds it what the
upstream says and passes on what it gives.

A client whose dialect always counts, or that asked for counts, is told an estimate where the upstream
gave none: zeros would be taken for true. `usage` stays None then, so what is settled is not this guess.
"""

from __future__ import annotations

from msgspec import structs

from llmgw.core.chat import ChatRequest, File, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from llmgw.core.errors import GatewayError
from llmgw.core.events import ChatEvent, Counted, Delta, Failed, Finished, Started
from llmgw.core.usage import ESTIMATED, Usage
from llmgw.dialects.base import Dialect

_BYTES_PER_TOKEN = 4


class TranslatedBody:
    """For a whole answer. body: as the client gets it."""

    __slots__ = ("_text", "body", "upstream_id", "usage")

    def __init__(
        self,
        body: bytes,
        upstream: Dialect,
        client: Dialect,
        model: str,
        request: ChatRequest | None = None,
    ) -> None:
        """model: the public name. request: what is answered; without it no input is estimated.

        Raises ValueError when `body` is no answer of the upstream's dialect.
        """
        answer = structs.replace(upstream.parse_answer(body), model=model)
        self.usage = answer.usage
        self.upstream_id: str | None = answer.id or None
        self._text = "".join(_words(part) for choice in answer.choices for part in choice.parts)
        if answer.usage is None and _always_counts(client):
            answer = structs.replace(answer, usage=_estimated(request, self._text))
        self.body = client.render_answer(answer)

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        return self._text


class TranslatedStream:
    """For a stream.

    usage: the last reported so far. done: the upstream said that it is complete.
    failed: the upstream ended it with an error, which the client has been told.
    """

    __slots__ = (
        "_counts",
        "_decoder",
        "_encoder",
        "_moved",
        "_request",
        "_size",
        "_text",
        "done",
        "failed",
        "upstream_id",
        "usage",
    )

    def __init__(
        self, upstream: Dialect, client: Dialect, request: ChatRequest, model: str, include_usage: bool
    ) -> None:
        self._decoder = upstream.decoder()
        self._encoder = client.encoder(request, model, include_usage)
        self._request = request
        self._counts = include_usage or _always_counts(client)
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
                if self.usage is None and self._counts:
                    estimate = _estimated(self._request, self.delivered_text())
                    pieces.append(self._encoder.feed(Counted(estimate)))
            pieces.append(self._encoder.feed(event))
        return b"".join(pieces)


def _always_counts(client: Dialect) -> bool:
    """Whether an answer of the client's dialect cannot leave its usage out. Few dialects say."""
    return bool(getattr(client, "always_counts", False))


def _estimated(request: ChatRequest | None, said: str) -> Usage:
    """What text alone would cost. said: all that was answered."""
    return Usage(_tokens(_asked(request)) if request is not None else 0, _tokens(said), source=ESTIMATED)


def _tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN)


def _asked(request: ChatRequest) -> str:
    texts = [_words(part) for part in request.system]
    texts += [_words(part) for message in request.messages for part in message.parts]
    for tool in request.tools:
        texts += (tool.name, tool.description or "", tool.parameters or "")
    return "".join(texts)


def _words(part: Part) -> str:
    if isinstance(part, (Text, Thinking, Refusal)):
        return part.text
    if isinstance(part, ToolCall):
        return part.name + part.arguments
    if isinstance(part, ToolResult):
        return "".join(map(_words, part.parts))
    return part.text or "" if isinstance(part, File) else ""
