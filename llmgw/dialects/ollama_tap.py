"""Reads usage beside a relayed Ollama answer; its bytes go on unchanged.

The same interface as `dialects.usage_taps`. A stream is one JSON object a line, complete with the
line that says `done`, which also has the counts. Only whole lines go on, so that an error of ours
can follow in a line of its own. Ollama's answers have no id.
"""

from __future__ import annotations

from llmgw.core.operation import Endpoint
from llmgw.core.usage import Usage
from llmgw.dialects.ollama_stream import MAX_LINE, WireAnswer, parse_usage, read


class OllamaBodyTap:
    """For an answer that is one JSON document, of `/api/chat` or `/api/generate`."""

    __slots__ = ("_answer", "body", "usage")

    upstream_id: str | None = None

    def __init__(self, body: bytes) -> None:
        """Read `body`. Raises ValueError when it is not JSON of the shape it must have."""
        self.body = body
        self._answer = read(body)
        self.usage = parse_usage(self._answer)

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        return _words(self._answer)


class OllamaStreamTap:
    """For a stream.

    hide_usage: of no effect; the last line always has the counts.
    usage: None until that line. done: the stream said that it is complete.
    failed: an error of the upstream's has passed.
    """

    __slots__ = ("_moved", "_pending", "_size", "_text", "done", "failed", "hide_usage", "usage")

    upstream_id: str | None = None

    def __init__(self, endpoint: Endpoint, hide_usage: bool) -> None:
        self.hide_usage = hide_usage
        self._pending = b""
        self._moved = False
        self._text: list[str] = []
        self._size = 0
        self.usage: Usage | None = None
        self.done = False
        self.failed = False

    def feed(self, chunk: bytes) -> bytes:
        """The lines that `chunk` completes. Raises ValueError when one is longer than the cap."""
        self._moved = True
        data = self._pending + chunk if self._pending else chunk
        end = data.rfind(b"\n") + 1
        whole, self._pending = data[:end], data[end:]
        if len(self._pending) > MAX_LINE:
            raise ValueError(f"a line is longer than {MAX_LINE} bytes")
        for line in whole.splitlines():
            self._look(line)
        return whole

    def rest(self) -> bytes:
        """A last line without its end, as a line; nothing when it was cut off within."""
        line, self._pending = self._pending, b""
        return line + b"\n" if self._look(line) else b""

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

    def _look(self, line: bytes) -> bool:
        """Take note of a line; whether it could be read. What cannot is for the client to judge."""
        try:
            answer = read(line)
        except ValueError:
            return False
        words = _words(answer)
        if words:
            self._text.append(words)
            self._size += len(words)
        if answer.error is not None:
            self.failed = True
        if answer.done:
            self.done = True
            self.usage = parse_usage(answer)
        return True


def _words(answer: WireAnswer) -> str:
    message = answer.message
    if message is None:
        return (answer.thinking or "") + (answer.response or "")
    pieces = [message.thinking or "", message.content or ""]
    for call in message.tool_calls or ():
        if call.function is not None:
            pieces += (call.function.name or "", bytes(call.function.arguments).decode(errors="replace"))
    return "".join(pieces)
