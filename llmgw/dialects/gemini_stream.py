"""A Gemini stream, read.

Each document has the shape of a whole answer and adds parts to candidates. There is no terminator: a
stream is complete when its candidates have told why they ended, and some models tell it more than once,
so ends are told when the bytes end. A call comes whole, or from Vertex AI piece by piece.
"""

from __future__ import annotations

from llmgw.core import chat
from llmgw.core.events import (
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects import base
from llmgw.dialects.gemini_answer import arguments_text, parse_time
from llmgw.dialects.gemini_errors import parse_error
from llmgw.dialects.gemini_frames import Frames
from llmgw.dialects.gemini_partial import PartialArguments
from llmgw.dialects.gemini_signatures import read_signature
from llmgw.dialects.gemini_wire import (
    FunctionCall,
    UsageCount,
    WireAnswer,
    WirePart,
    decode_answer,
    make_call_id,
    parse_stop,
)


class _Choice:
    """A candidate so far. open: the kind of the part that has begun, numbered `part`."""

    __slots__ = ("called", "index", "open", "part", "partial", "reason")

    def __init__(self, index: int) -> None:
        self.index = index
        self.part = -1
        self.open: str | None = None
        self.partial: PartialArguments | None = None
        self.called = False
        self.reason: str | int | None = None


class GeminiDecoder:
    """Reads the bytes of one stream, `alt=sse` or a JSON array."""

    __slots__ = (
        "_answer_id",
        "_blocked",
        "_calls",
        "_choices",
        "_count",
        "_frames",
        "_over",
        "_started",
        "_told",
    )

    def __init__(self) -> None:
        self._frames = Frames()
        self._choices: dict[int, _Choice] = {}
        self._count = UsageCount()
        self._told: Usage | None = None
        self._answer_id = ""
        self._calls = 0
        self._started = False
        self._blocked = False
        self._over = False

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that are whole by now. Raises ValueError for bytes that cannot be Gemini's."""
        out: list[ChatEvent] = []
        for document in self._frames.feed(data):
            self._take(document, out)
        return out

    def close(self) -> list[ChatEvent]:
        """The ends of the choices, and of the stream if all of them had one."""
        out: list[ChatEvent] = []
        for document in self._frames.close():
            try:
                self._take(document, out)
            except ValueError:
                # The bytes stopped within a document: the stream was cut, and is told so by its silence.
                break
        if self._over:
            return out
        self._over = True
        self._tell_usage(out)
        if self._blocked and not self._choices:
            out += (ChoiceEnded(0, chat.CONTENT_FILTER), Finished())
            return out
        whole = bool(self._choices)
        for choice in self._choices.values():
            stop = parse_stop(choice.reason, choice.called)
            if stop is None:
                whole = False
                continue
            self._end_part(choice, out)
            out.append(ChoiceEnded(choice.index, stop))
        if whole:
            out.append(Finished())
        return out

    def _take(self, document: bytes, out: list[ChatEvent]) -> None:
        if self._over:
            return
        wire = decode_answer(document)
        if wire.failed:
            failure = parse_error(bytes(wire.error))
            out.append(Failed(failure.code, failure.message))
            self._over = True
            return
        if not self._started:
            self._start(wire, out)
        if wire.usage_metadata is not None:
            self._count.take(wire.usage_metadata)
        if wire.blocked:
            self._blocked = True
        ended = False
        for at, candidate in enumerate(wire.candidates or ()):
            index = at if candidate.index is None else candidate.index
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice(index)
            if not all(self._part(choice, part, out) for part in candidate.parts):
                self._over = True
                return
            if parse_stop(candidate.finish_reason, False) is not None:
                choice.reason = candidate.finish_reason
                ended = True
        if ended:
            self._tell_usage(out)

    def _start(self, wire: WireAnswer, out: list[ChatEvent]) -> None:
        self._started = True
        self._answer_id = wire.response_id or ""
        out.append(Started(self._answer_id, wire.model_version or "", parse_time(wire.create_time)))

    def _tell_usage(self, out: list[ChatEvent]) -> None:
        usage = self._count.usage
        if usage is not None and usage != self._told:
            self._told = usage
            out.append(Counted(usage))

    # Parts.

    def _part(self, choice: _Choice, part: WirePart, out: list[ChatEvent]) -> bool:
        """Whether the stream can go on after it."""
        signature = part.thought_signature
        if part.function_call is not None:
            self._call(choice, part.function_call, signature, out)
            return True
        if part.inline_data is not None or part.file_data is not None:
            out.append(
                Failed(base.INVALID, "the model answers with media, which only a whole answer can hold")
            )
            return False
        thought = part.thought is True
        if part.text:
            self._begin(choice, THINKING if thought else TEXT, out)
            out.append(Delta(choice.index, choice.part, part.text))
        if signature is not None:
            if not (thought and choice.open == THINKING):
                self._end_part(choice, out)
                self._begin(choice, THINKING, out)
            out.append(Signed(choice.index, choice.part, read_signature(signature)))
            self._end_part(choice, out)
        return True

    def _begin(self, choice: _Choice, kind: str, out: list[ChatEvent]) -> None:
        if choice.open == kind:
            return
        self._end_part(choice, out)
        choice.part += 1
        choice.open = kind
        out.append(PartStarted(choice.index, choice.part, kind))

    def _end_part(self, choice: _Choice, out: list[ChatEvent]) -> None:
        if choice.open is None:
            return
        if choice.partial is not None:
            arguments = choice.partial.json()
            if arguments:
                out.append(Delta(choice.index, choice.part, arguments))
            choice.partial = None
        choice.open = None
        out.append(PartEnded(choice.index, choice.part))

    def _call(self, choice: _Choice, call: FunctionCall, signature: str | None, out: list[ChatEvent]) -> None:
        if call.name:
            self._end_part(choice, out)
            choice.part += 1
            choice.open = TOOL_CALL
            choice.called = True
            call_id = call.id or make_call_id(self._calls, self._answer_id)
            self._calls += 1
            out.append(PartStarted(choice.index, choice.part, TOOL_CALL, call_id, call.name))
        elif choice.open != TOOL_CALL:
            return
        if signature is not None:
            out.append(Signed(choice.index, choice.part, signature))
        if call.partial_args or call.will_continue:
            choice.partial = choice.partial or PartialArguments()
            for arg in call.partial_args or ():
                choice.partial.take(arg)
        arguments = arguments_text(call)
        if arguments:
            choice.partial = None
            out.append(Delta(choice.index, choice.part, arguments))
        if not call.will_continue:
            self._end_part(choice, out)
