"""The stream to a client of chat completions, written from events.

Chunks as OpenAI sends them: the first of a choice has the role, one with `finish_reason` ends it,
usage comes in a chunk of its own before `[DONE]` and only to who asked. What is shown of thoughts
is as `openai_chat_answer` has it, and a signature comes in an entry of its own. Where a choice
has several thoughts, the later ones' entries also have their text, so that a client that sends
back what it has gathered tells which is whose.

Whatever is missing is made up for: a first chunk where nothing began, the role, an id, `{}` for a
call without arguments, a `finish_reason` where only `Finished` came.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from llmgw.core.chat import STOP, TOOL_CALLS, ChatRequest, Thinking
from llmgw.core.errors import GatewayError
from llmgw.core.events import (
    REFUSED,
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
from llmgw.dialects.endpoints import OPENAI
from llmgw.dialects.failures import error_event
from llmgw.dialects.openai_chat_answer import extra_content, finish_reason, made_answer_id, made_id
from llmgw.dialects.openai_chat_failures import render_failed
from llmgw.dialects.openai_chat_thoughts import render_detail
from llmgw.dialects.openai_chat_usage import render_usage
from llmgw.wire.sse import render_event

_encode = msgspec.json.Encoder().encode
_MEMBERS = {TEXT: b'{"content":', THINKING: b'{"reasoning_content":', REFUSED: b'{"refusal":'}
_ROLE = b'{"role":"assistant","content":"","refusal":null}'


class Encoder:
    """Implements `dialects.base.StreamEncoder`."""

    __slots__ = (
        "_choices",
        "_created_s",
        "_head",
        "_id",
        "_model",
        "_over",
        "_tail",
        "_usage",
        "_wants_usage",
    )

    def __init__(self, request: ChatRequest, model: str, include_usage: bool) -> None:
        self._model = model or request.model
        self._wants_usage = include_usage
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._id = ""
        self._created_s: int | None = None
        self._head = b""
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._over = False

    def feed(self, event: ChatEvent) -> bytes:
        if self._over:
            return b""
        if type(event) is Delta:
            choice = self._choices.get(event.choice)
            if choice is not None and not choice.ended:
                return self._chunk(event.choice, choice.delta(event))
        return _WRITERS[type(event)](self, event)

    def fail(self, error: GatewayError) -> bytes:
        if self._over:
            return b""
        self._over = True
        return error_event(error, OPENAI, "")

    def _chunk(self, index: int, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}%b' % (
            self._head or self._begin(),
            index,
            delta,
            finish,
            self._tail,
        )

    def _begin(self) -> bytes:
        created_s = self._created_s if self._created_s is not None else int(time.time())
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (
                _encode(self._id or made_answer_id()),
                created_s,
                _encode(self._model),
            )
        )
        return self._head

    def _opened(self, index: int) -> tuple[_Choice, bytes]:
        """A choice, and its first chunk if it begins now."""
        choice = self._choices.get(index)
        if choice is not None:
            return choice, b""
        choice = self._choices[index] = _Choice()
        return choice, self._chunk(index, _ROLE)

    def _started(self, event: Started) -> bytes:
        if not self._head:
            self._id = event.id
            self._created_s = event.created_s
        return self._opened(0)[1]

    def _part_started(self, event: PartStarted) -> bytes:
        choice, first = self._opened(event.choice)
        delta = None if choice.ended else choice.begin(event)
        return first if delta is None else first + self._chunk(event.choice, delta)

    def _delta(self, event: Delta) -> bytes:
        choice, first = self._opened(event.choice)
        return first if choice.ended else first + self._chunk(event.choice, choice.delta(event))

    def _signed(self, event: Signed) -> bytes:
        choice, first = self._opened(event.choice)
        delta = None if choice.ended else choice.sign(event)
        return first if delta is None else first + self._chunk(event.choice, delta)

    def _part_ended(self, event: PartEnded) -> bytes:
        choice = self._choices.get(event.choice)
        delta = choice.finish(event.part) if choice is not None and not choice.ended else None
        return b"" if delta is None else self._chunk(event.choice, delta)

    def _choice_ended(self, event: ChoiceEnded) -> bytes:
        choice, first = self._opened(event.choice)
        return first + self._end(event.choice, choice, event.stop)

    def _end(self, index: int, choice: _Choice, stop: str) -> bytes:
        if choice.ended:
            return b""
        late = b"".join(self._chunk(index, delta) for delta in choice.finish_all())
        choice.ended = True
        return late + self._chunk(index, b"{}", b'"%b"' % finish_reason(stop).encode())

    def _counted(self, event: Counted) -> bytes:
        self._usage = event.usage
        return b""

    def _failed(self, event: Failed) -> bytes:
        self._over = True
        return render_event(_encode(render_failed(event)))

    def _finished(self, event: Finished) -> bytes:
        pieces = [self._opened(0)[1]]
        for index, choice in self._choices.items():
            pieces.append(self._end(index, choice, TOOL_CALLS if choice.calls else STOP))
        if self._wants_usage and self._usage is not None:
            pieces.append(b'%b],"usage":%b}\n\n' % (self._head, _encode(render_usage(self._usage))))
        pieces.append(b"data: [DONE]\n\n")
        self._over = True
        return b"".join(pieces)


# Any: each takes the event of its own key.
_WRITERS: dict[type, Callable[[Encoder, Any], bytes]] = {
    Started: Encoder._started,
    PartStarted: Encoder._part_started,
    Delta: Encoder._delta,
    Signed: Encoder._signed,
    PartEnded: Encoder._part_ended,
    ChoiceEnded: Encoder._choice_ended,
    Counted: Encoder._counted,
    Failed: Encoder._failed,
    Finished: Encoder._finished,
}


class _Choice:
    """What a choice has said.

    calls: tool calls so far, which is the index of the next.
    """

    __slots__ = ("_empty", "_numbers", "_parts", "_thoughts", "calls", "ended")

    def __init__(self) -> None:
        self.calls = 0
        self.ended = False
        self._parts: dict[int, bytes] = {}  # how each part's deltas begin
        self._numbers: dict[int, int] = {}  # of the tool calls, and of the thoughts
        self._thoughts: set[int] = set()
        self._empty: set[int] = set()  # tool calls without arguments so far

    def begin(self, event: PartStarted) -> bytes | None:
        """What announces a part: only tool calls are."""
        part = event.part
        if part in self._parts:
            return None
        if event.kind == TOOL_CALL:
            number = self._numbers[part] = self.calls
            self.calls += 1
            self._parts[part] = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % number
            self._empty.add(part)
            call = {
                "index": number,
                "id": event.call_id or made_id(),
                "type": "function",
                "function": {"name": event.name or "", "arguments": ""},
            }
            return _encode({"tool_calls": [call]})
        if event.kind == THINKING:
            self._numbers[part] = len(self._thoughts)
            self._thoughts.add(part)
        self._parts[part] = _MEMBERS.get(event.kind, _MEMBERS[TEXT])
        return None

    def delta(self, event: Delta) -> bytes:
        """A part that nobody announced is text."""
        part = event.part
        head = self._parts.setdefault(part, _MEMBERS[TEXT])
        text = _encode(event.text)
        if part in self._thoughts:
            if self._numbers[part] == 0:
                return head + text + b"}"
            entry = _encode(render_detail(Thinking(event.text), self._numbers[part]))
            return head + text + b',"reasoning_details":[' + entry + b"]}"
        if part in self._numbers:
            if event.text:
                self._empty.discard(part)
            return head + text + b"}}]}"
        return head + text + b"}"

    def sign(self, event: Signed) -> bytes | None:
        part = event.part
        if part in self._numbers and part not in self._thoughts:
            if event.signature is None:
                return None
            # OpenAI's SDK wants a function in every piece of a call.
            function = {"arguments": ""}
            extra = extra_content(event.signature)
            call = {"index": self._numbers[part], "function": function, "extra_content": extra}
            return _encode({"tool_calls": [call]})
        if part not in self._thoughts:
            self.begin(PartStarted(event.choice, part, THINKING))
        if part not in self._thoughts:
            return None
        thought = Thinking("", event.signature, event.redacted)
        return _encode({"reasoning_details": [render_detail(thought, self._numbers[part])]})

    def finish(self, part: int) -> bytes | None:
        """`{}` for a call that had no arguments: clients decode them."""
        if part not in self._empty:
            return None
        self._empty.discard(part)
        return self._parts[part] + b'"{}"}}]}'

    def finish_all(self) -> list[bytes]:
        return [delta for part in sorted(self._empty) if (delta := self.finish(part)) is not None]
