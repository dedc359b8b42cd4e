"""A conversation, free of any wire format: what a client asks, and what a model answers.

Every dialect is read into this and written from it. What all dialects can say has a field; what
only one can say is kept by name in `extra` so that its loss can be told; what is said as JSON
(tool arguments, schemas) stays the text it came as.

Roles are two: system text stands apart unless it comes amid the turns, and a tool's result is a part of
the user's turn.
"""

from __future__ import annotations

from msgspec import Struct

from llmgw.core.usage import Usage

STOP, LENGTH, TOOL_CALLS, CONTENT_FILTER, REFUSAL, STOP_SEQUENCE, PAUSE = (
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "refusal",
    "stop_sequence",
    "pause",
)
"""Why an answer ended. `pause`: the provider's own tools want another turn."""


class Text(Struct, frozen=True):
    """cached: the prompt may be cached up to and including this part; a time to live, or "" for
    the provider's own; None where nothing is said. Likewise of other parts.
    """

    text: str
    cached: str | None = None


class Image(Struct, frozen=True):
    """Either base64 `data` with its `media_type`, or a `url`. detail: as OpenAI has it."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None
    cached: str | None = None


class File(Struct, frozen=True):
    """A document: base64 `data` with its `media_type`, a `url`, or plain `text`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    text: str | None = None
    name: str | None = None
    cached: str | None = None


class Audio(Struct, frozen=True):
    """Base64 sound. media_type: such as `audio/wav`."""

    media_type: str
    data: str


class ToolCall(Struct, frozen=True):
    """arguments: JSON text as it came; "" where the model gave none.

    signature: what the provider wants back with the call (Gemini's `thoughtSignature`).
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    cached: str | None = None


class ToolResult(Struct, frozen=True):
    """name: the tool's, where the dialect says it. parts: text, images and files."""

    call_id: str
    parts: tuple[Text | Image | File, ...]
    name: str | None = None
    failed: bool = False
    cached: str | None = None


class Thinking(Struct, frozen=True):
    """Reasoning that was shown. signature: proves it to the provider that made it.

    redacted: what the provider encrypted instead; then there is no text.
    """

    text: str
    signature: str | None = None
    redacted: str | None = None


class Refusal(Struct, frozen=True):
    """The model declines, in words."""

    text: str


Part = Text | Image | File | Audio | ToolCall | ToolResult | Thinking | Refusal


class Message(Struct, frozen=True):
    """role: `user` or `assistant`; `system` for texts that hold from there on, never the first.

    name: of the participant, where the dialect has one. at: where system text stood, by its dialect's name.
    """

    role: str
    parts: tuple[Part, ...]
    name: str | None = None
    at: str | None = None


class Tool(Struct, frozen=True):
    """A function the model may call. parameters: its JSON Schema as JSON text, None for no arguments."""

    name: str
    description: str | None = None
    parameters: str | None = None
    strict: bool | None = None
    cached: str | None = None


class ToolChoice(Struct, frozen=True):
    """mode: `auto`, `none`, `required` (any tool), or `tool` (the one named)."""

    mode: str
    name: str | None = None


class Format(Struct, frozen=True):
    """What the answer must look like. mode: `json` or `schema`; schema: JSON text."""

    mode: str
    schema: str | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Reasoning(Struct, frozen=True):
    """How much to think. effort: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`; budget: tokens.

    enabled: False switches thinking off. shown: whether the thoughts are wanted in the answer.
    """

    enabled: bool = True
    effort: str | None = None
    budget: int | None = None
    shown: bool | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """One request.

    max_output: tokens; None leaves it to the provider.
    parallel_tools: whether several calls in one turn are welcome; None where nothing is said.
    extra: members that this form has no field for, as JSON text by their own dialect's name.
    """

    model: str
    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_output: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    choices: int = 1
    format: Format | None = None
    reasoning: Reasoning | None = None
    stream: bool = False
    user: str | None = None
    extra: dict[str, str] = {}


class Choice(Struct, frozen=True):
    """One answer. stop: one of the words above. stop_sequence: which one ended it."""

    parts: tuple[Part, ...]
    stop: str | None = None
    stop_sequence: str | None = None


class ChatAnswer(Struct, frozen=True, kw_only=True):
    """A whole answer. id, model: the provider's; created_s: UTC seconds; usage: None when unreported."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created_s: int | None = None
