"""Texts that are turned into vectors, free of any wire format."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from llmgw.core.usage import Usage

QUERY, DOCUMENT, CLASSIFICATION, CLUSTERING, SIMILARITY = (
    "query",
    "document",
    "classification",
    "clustering",
    "similarity",
)
"""What vectors are for, where a dialect has a word for it."""

FLOAT, BASE64 = "float", "base64"
"""How a client wants its vectors: JSON numbers, or the base64 of little-endian 32-bit floats."""

NONE, START, END = "none", "start", "end"
"""What becomes of a text that is too long: refused, or cut at its start or end."""


class EmbedRequest(Struct, frozen=True):
    """model: as the target calls it. texts: at least one.

    single: the client gave one text where its dialect tells one from a list of one.
    task: one of the words above, or one of a single dialect's own. title: of the one document.
    names: what the client calls a member of ours. unknown: its members that we have no word for.
    """

    model: str
    texts: tuple[str, ...]
    single: bool = False
    encodings: tuple[str, ...] = (FLOAT,)
    dimensions: int | None = None
    task: str | None = None
    title: str | None = None
    truncate: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def dropped(self, *members: str) -> tuple[str, ...]:
        """The client's names of those of `members` that have a value, and of what nobody knows."""
        said = (self.names.get(name, name) for name in members if getattr(self, name) is not None)
        return (*said, *self.unknown)


class EmbedAnswer(Struct, frozen=True):
    """vectors: in the order of the texts, each as the JSON it came as: numbers, or a string of base64."""

    vectors: tuple[bytes, ...]
    usage: Usage | None = None
    model: str = ""
    id: str = ""
