"""A Gemini stream as one JSON array, for clients that ask without `alt=sse`.

An array that broke off ends in an element with `error` and is never closed. Google's own reader of such
arrays (google-api-core, `rest_streaming`) passes over members that it does not know, an `error` too, but
raises "Unfinished stream" where the array has no end; whoever reads the body whole finds that it is no
JSON. Closed, it would look like an answer to both. Who reads element by element sees the error first.
"""

from __future__ import annotations

from llmgw.core.operation import Endpoint
from llmgw.dialects.gemini_tap import GeminiStreamTap

END = b"]"


def element(document: bytes, first: bool) -> bytes:
    """One document, with what stands between it and the one before, as Google writes it.

    It is one line, so that what comes after us can tell the elements apart.
    """
    if b"\n" in document or b"\r" in document:
        # In JSON they are white space: within a text they would be escaped.
        document = document.replace(b"\r", b" ").replace(b"\n", b" ")
    return (b"[" if first else b",\r\n") + document + b"\n"


class GeminiArrayTap(GeminiStreamTap):
    """For an upstream's events that go on as an array. The documents keep their bytes, but for line ends."""

    __slots__ = ("_begun",)

    def __init__(self, endpoint: Endpoint, hide_usage: bool) -> None:
        super().__init__(endpoint, hide_usage)
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        """The elements that `chunk` completes. Raises ValueError when one is longer than the cap."""
        return b"".join(map(self._element, self._keep(chunk)))

    def rest(self) -> bytes:
        """A last document that had no blank line after it, and the end of an array that is whole."""
        pieces = [
            self._element(document) for document in self._frames.close() if self._look(document) is not None
        ]
        if self.done and not self.failed:
            pieces.append(END)
        return b"".join(pieces)

    def _element(self, document: bytes) -> bytes:
        first, self._begun = not self._begun, True
        return element(document, first)
