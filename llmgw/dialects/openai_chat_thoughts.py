"""Reasoning in chat completions, which OpenAI itself never shows.

Text stands in `reasoning_content` (DeepSeek, vLLM, xAI) or `reasoning` (Groq, Ollama, OpenRouter),
some send both. What must come back to the provider that made it stands in `reasoning_details`
(OpenRouter's API reference, "reasoning tokens"): entries `reasoning.text` with `text` and
`signature`, `reasoning.summary` with `summary`, `reasoning.encrypted` with `data`.

An encrypted entry with an `id` or `format` of its own is kept whole, as JSON text, in
`Thinking.redacted`: OpenRouter wants it back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import Thinking

_CLAUDE = "anthropic-claude-v1"


class Detail(Struct):
    """An entry of `reasoning_details`."""

    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    index: int | None = None
    id: str | None = None
    format: str | None = None

    @property
    def shown(self) -> str:
        return self.text or self.summary or ""

    def redacted(self, raw: Raw) -> str | None:
        """What stands for this entry when it is encrypted; `raw`: the entry."""
        if not self.data:
            return None
        return self.data if self.id is None and self.format is None else bytes(raw).decode()


_decode = msgspec.json.Decoder(Detail).decode


def read_details(raw: Sequence[Raw] | None) -> list[tuple[Detail, Raw]]:
    """The entries, read. Raises msgspec.ValidationError for one that is no entry."""
    return [(_decode(entry), entry) for entry in raw or ()]


def parse_thoughts(text: str, raw: Sequence[Raw] | None) -> list[Thinking]:
    """A message's thoughts. text: what its text member says, "" without one.

    The entries know their signatures. What the text says beyond them is the first one's that has
    none of its own. Pieces of one entry, as a client gathers them from a stream, are joined.
    """
    details = read_details(raw)
    shown = "".join(detail.shown for detail, _ in details)
    thoughts: list[Thinking] = []
    if text and not text.endswith(shown):
        for detail, _ in details:
            detail.text = detail.summary = None
        shown = ""
    beyond = text.removesuffix(shown)
    if beyond:
        silent = next((detail for detail, _ in details if not detail.data and not detail.shown), None)
        if silent is None:
            thoughts.append(Thinking(beyond))
        else:
            silent.text = beyond
    last: Detail | None = None
    for detail, entry in details:
        redacted = detail.redacted(entry)
        if redacted is not None:
            thoughts.append(Thinking("", detail.signature, redacted))
            last = None
        elif last is not None and last.index == detail.index and not thoughts[-1].signature:
            thoughts[-1] = Thinking(thoughts[-1].text + detail.shown, detail.signature or None)
        elif detail.shown or detail.signature:
            thoughts.append(Thinking(detail.shown, detail.signature or None))
            last = detail
    return thoughts


def render_details(thoughts: Iterable[Thinking], *, claude: bool = False) -> list[object]:
    """`reasoning_details`. claude: name the format of signed text, as OpenRouter asks."""
    return [render_detail(thought, index, claude=claude) for index, thought in enumerate(thoughts)]


def render_detail(thought: Thinking, index: int, *, claude: bool = False) -> object:
    """One entry."""
    if thought.redacted is not None:
        if _is_entry(thought.redacted):
            return Raw(thought.redacted.encode())
        entry: dict[str, object] = {"type": "reasoning.encrypted", "data": thought.redacted}
    else:
        entry = {"type": "reasoning.text"}
        if thought.text:
            entry["text"] = thought.text
    if thought.signature:
        entry["signature"] = thought.signature
        if claude:
            entry["format"] = _CLAUDE
    entry["index"] = index
    return entry


def _is_entry(redacted: str) -> bool:
    """Whether `redacted` is a whole entry. It has been with the client, so it is read before it is sent."""
    if not redacted.startswith("{"):
        return False
    try:
        return _decode(redacted).type == "reasoning.encrypted"
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
