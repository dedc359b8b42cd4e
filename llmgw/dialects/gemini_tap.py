"""Reads usage beside a relayed Gemini answer; every byte goes on unchanged.

The same interface as `dialects.usage_taps`. Each chunk of a stream has the usage so far, so nothing is
decoded as it passes: documents are kept, about `_KEPT_BYTES` of them, and then read together. Counts are
cumulative and the last of each holds. A stream is complete when a candidate has told why it ended, or
when the prompt was blocked. Without `alt=sse` a stream is a JSON array, whole or in pieces.
"""

from __future__ import annotations

from llmgw.core.operation import Endpoint
from llmgw.core.usage import Usage
from llmgw.dialects.gemini_frames import Frames, ObjectSplitter
from llmgw.dialects.gemini_wire import Candidate, UsageCount, WireAnswer, decode_answer, parse_stop

_KEPT_BYTES = 6144


class GeminiBodyTap:
    """For an answer that is one JSON document: an answer, or the array of a whole stream.

    upstream_id: the answer's `responseId`.
    """

    __slots__ = ("_answers", "body", "upstream_id", "usage")

    def __init__(self, body: bytes) -> None:
        """Read `body`. Raises ValueError when it is not JSON of the shape it must have."""
        self.body = body
        first = body.lstrip()[:1]
        if first == b"[":
            self._answers = [decode_answer(document) for document in ObjectSplitter().feed(body)]
        else:
            self._answers = [decode_answer(body)]
        count = UsageCount()
        self.upstream_id: str | None = None
        for answer in self._answers:
            self.upstream_id = answer.response_id or self.upstream_id
            if answer.usage_metadata is not None:
                count.take(answer.usage_metadata)
        self.usage = count.usage

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        pieces: list[str] = []
        for answer in self._answers:
            for candidate in answer.candidates or ():
                _collect(candidate, pieces)
        return "".join(pieces)


class GeminiStreamTap:
    """For a stream.

    hide_usage: of no effect; Gemini's clients always expect usage.
    usage: the last reported so far. done: the stream said that it is complete.
    failed: an error of the upstream's has passed. upstream_id: the answer's `responseId`.
    """

    __slots__ = (
        "_count",
        "_done",
        "_failed",
        "_frames",
        "_kept",
        "_kept_bytes",
        "_moved",
        "_text",
        "_upstream_id",
        "hide_usage",
    )

    def __init__(self, endpoint: Endpoint, hide_usage: bool) -> None:
        self.hide_usage = hide_usage
        self._frames = Frames()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._moved = False
        self._count = UsageCount()
        self._text: list[str] = []
        self._upstream_id: str | None = None
        self._done = False
        self._failed = False

    def feed(self, chunk: bytes) -> bytes:
        """`chunk`, which the client may have now.

        Raises ValueError when one document is longer than the cap.
        """
        self._keep(chunk)
        return chunk

    def rest(self) -> bytes:
        """Nothing is ever held back."""
        return b""

    @property
    def usage(self) -> Usage | None:
        self._digest()
        self._peek()
        return self._count.usage

    @property
    def upstream_id(self) -> str | None:
        self._digest()
        return self._upstream_id

    @property
    def failed(self) -> bool:
        self._digest()
        return self._failed

    @property
    def done(self) -> bool:
        """Whether the upstream said that the stream is complete."""
        self._digest()
        self._peek()
        return self._done

    def delivered_text(self) -> str:
        """The text that has passed."""
        self._digest()
        return "".join(self._text)

    def delivered_bytes(self) -> int:
        """How much text has passed, roughly: cheap enough to ask each second."""
        self._digest()
        return sum(map(len, self._text))

    def moved(self) -> bool:
        """Whether anything has passed since this was last asked."""
        moved, self._moved = self._moved, False
        return moved

    def _keep(self, chunk: bytes) -> list[bytes]:
        """The documents that `chunk` completes, which are read later."""
        self._moved = True
        documents = self._frames.feed(chunk)
        self._kept += documents
        self._kept_bytes += sum(map(len, documents))
        if self._kept_bytes > _KEPT_BYTES:
            self._digest()
        return documents

    def _digest(self) -> None:
        """Read the documents that are kept."""
        if not self._kept:
            return
        pieces: list[str] = []
        for document in self._kept:
            answer = self._look(document)
            if answer is not None:
                for candidate in answer.candidates or ():
                    _collect(candidate, pieces)
        self._kept.clear()
        self._kept_bytes = 0
        if pieces:
            self._text.append("".join(pieces))

    def _peek(self) -> None:
        """Look at a last document whose event was never closed."""
        if not self._done:
            for document in self._frames.close():
                self._look(document)

    def _look(self, document: bytes) -> WireAnswer | None:
        try:
            answer = decode_answer(document)
        except ValueError:
            # Not for us to judge: the client has the bytes as they came.
            return None
        if answer.failed:
            self._failed = True
        if answer.response_id:
            self._upstream_id = answer.response_id
        if answer.usage_metadata is not None:
            self._count.take(answer.usage_metadata)
        if answer.blocked:
            self._done = True
        for candidate in answer.candidates or ():
            if parse_stop(candidate.finish_reason, False) is not None:
                self._done = True
        return answer


def _collect(candidate: Candidate, pieces: list[str]) -> None:
    for part in candidate.parts:
        if part.text:
            pieces.append(part.text)
        call = part.function_call
        if call is not None:
            pieces.append(call.name or "")
            pieces.append(bytes(call.args).decode(errors="replace"))
            pieces.extend(arg.string_value for arg in call.partial_args or () if arg.string_value)
