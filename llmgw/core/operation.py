"""What a request asks for, and at which door it asked.

An `Operation` is the kind of work, whatever the wire format; an `Endpoint` is one client path:
the operation, the dialect spoken there, and the suffix that a provider of the same dialect
serves it under.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

EVENTS, LINES, ARRAY = b"text/event-stream", b"application/x-ndjson", b"application/json"
"""Media types of streams: server-sent events, JSON objects a line each, or one array of JSON objects."""


class Operation(Enum):
    """Kinds of work, named as in the OpenTelemetry GenAI conventions where those have a name."""

    CHAT = "chat"
    COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    RESPONSES = "responses"
    MODERATION = "moderation"
    IMAGE = "image_generation"
    IMAGE_EDIT = "image_edit"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"


ON_TOKENS = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDINGS, Operation.RESPONSES})
"""Those whose use can be counted from their texts, and which may be asked twice without harm."""


class BodyKind(Enum):
    """How the request's body is framed."""

    JSON = "json"
    MULTIPART = "multipart"


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One client path of one dialect.

    path: as the client sends it, without query.
    suffix: what follows a provider's base URL, with the leading slash (`/chat/completions`).
    operation_name: the operation's value, at hand for every request.
    stream_usage: the wire format has `stream_options.include_usage`.
    members: what an upstream's bodies must say there, in JSON, and with None what they must not.
    stream: the media type of a streamed answer.
    """

    path: str
    dialect: str
    operation: Operation
    suffix: str
    body: BodyKind = BodyKind.JSON
    stream_usage: bool = False
    members: tuple[tuple[str, bytes | None], ...] = ()
    stream: bytes = EVENTS
    operation_name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "operation_name", self.operation.value)
