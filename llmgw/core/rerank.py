"""Documents that are put in order of their relevance to a query, free of any wire format."""

from __future__ import annotations

from msgspec import Struct

from llmgw.core.usage import Usage


class RerankRequest(Struct, frozen=True):
    """model: as the target calls it. documents: at least one.

    top: how many to name at most. cut_tokens: after how many tokens a document is cut.
    returned: the answer holds the documents too. unknown: the client's members that we have no word for.
    """

    model: str
    query: str
    documents: tuple[str, ...]
    top: int | None = None
    cut_tokens: int | None = None
    returned: bool = False
    unknown: tuple[str, ...] = ()


class Ranked(Struct, frozen=True):
    """index: of a document in the request. score: its relevance, as the JSON number it came as."""

    index: int
    score: bytes


class RerankAnswer(Struct, frozen=True):
    """results: the most relevant first."""

    results: tuple[Ranked, ...]
    usage: Usage | None = None
    model: str = ""
    id: str = ""
