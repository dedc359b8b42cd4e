"""Writes the stream of a response.

Whatever comes in, what goes out is whole: every item and part that is added is done, in the
order that the reference has, and the response at the end holds what the deltas said. Texts
and refusals that follow each other are one message, as OpenAI has it; its item stays open
until something else begins.

A stream that breaks ends with an `error` event and `response.failed`. The error is said twice
in one event, flat as in the reference and nested as OpenAI sends it, because its SDKs raise
only for the nested one.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import ChatRequest, Refusal, Text, Thinking, ToolCall
from llmgw.core.errors import GatewayError
from llmgw.core.events import (
    REFUSED,
    TEXT,
    THINKING,
    TOOL_CALL,
    Delta,
    Failed,
    PartStarted,
    Signed,
    Started,
)
from llmgw.dialects.base import QUOTA, RATE_LIMIT
from llmgw.dialects.endpoints import OPENAI
from llmgw.dialects.failures import error_body
from llmgw.dialects.one_choice import OneChoiceEncoder
from llmgw.dialects.openai_chat_failures import render_failed
from llmgw.dialects.openai_responses_answer import outcome, render_usage, response_object, tail_of
from llmgw.dialects.openai_responses_items import (
    Json,
    call_item,
    call_signature_item,
    message_item,
    output_content,
    reasoning_item,
)

_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode


class _Open(Struct):
    """A part that is being written. before, after: the bytes around a delta."""

    kind: str
    index: int
    item_id: str
    content: int
    before: bytes
    after: bytes
    texts: list[str]
    call_id: str = ""
    name: str = ""
    signature: str | None = None
    redacted: str | None = None


class _Message(Struct):
    """The message item that texts are added to."""

    index: int
    item_id: str
    contents: list[object]
    open: list[int]


class ResponsesEncoder(OneChoiceEncoder):
    """A `StreamEncoder`."""

    __slots__ = (
        "_done",
        "_items",
        "_kinds",
        "_message",
        "_model",
        "_open",
        "_refused",
        "_request",
        "_response",
        "_sequence",
        "_tail",
    )

    def __init__(self, request: ChatRequest, model: str) -> None:
        super().__init__()
        self._request = request
        self._model = model
        self._response: Json | None = None
        self._tail = ""
        self._sequence = 0
        self._items = 0
        self._done: dict[int, Raw] = {}
        self._open: dict[int, _Open] = {}
        self._kinds: dict[int, tuple[str, str, str]] = {}
        self._message: _Message | None = None
        self._refused = False

    def _delta(self, event: Delta) -> bytes:
        part = self._open.get(event.part)
        if part is not None:
            return self._text(part, event.text)
        before = self._begin(event.part, *self._kinds.get(event.part, (TEXT, "", "")))
        return before + self._text(self._open[event.part], event.text)

    def _begin_part(self, event: PartStarted) -> bytes:
        if event.part in self._open:
            return b""
        self._kinds[event.part] = (event.kind, event.call_id or "", event.name or "")
        return self._begin(event.part, *self._kinds[event.part])

    def _write(self, kind: str, body: Json) -> bytes:
        data = _encode({"type": kind, "sequence_number": self._sequence, **body})
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _start(self, event: Started) -> bytes:
        if self._response is not None:
            return b""
        self._response = response_object(event.id, self._model, event.created_s, self._request)
        self._tail = tail_of(str(self._response["id"]))
        body: Json = {"response": self._response}
        return self._write("response.created", body) + self._write("response.in_progress", body)

    def _add_item(self, item: Json) -> bytes:
        """A new item. Its index is the one before `_items`."""
        index = self._items
        self._items += 1
        return self._write("response.output_item.added", {"output_index": index, "item": item})

    def _end_item(self, index: int, item: Json) -> bytes:
        self._done[index] = Raw(_encode(item))
        return self._write("response.output_item.done", {"output_index": index, "item": self._done[index]})

    def _begin(self, number: int, kind: str, call_id: str, name: str) -> bytes:
        out = self._start(Started())
        if kind in (TEXT, REFUSED):
            return out + self._begin_content(number, kind)
        out += self._end_message("completed")
        at = f"{self._tail}_{self._items}"
        part = _Open(kind, self._items, ("fc_" if kind == TOOL_CALL else "rs_") + at, 0, b"", b"}\n\n", [])
        if kind == TOOL_CALL:
            part.call_id, part.name = call_id or f"call_{at}", name
            item = {
                **call_item(ToolCall(part.call_id, name, ""), part.item_id, "in_progress"),
                "arguments": "",
            }
            part.before = _prefix("response.function_call_arguments.delta", part, {})
        else:
            item = reasoning_item(Thinking(""), part.item_id)
            part.before = _prefix("response.reasoning_summary_text.delta", part, {"summary_index": 0})
        self._open[number] = part
        return out + self._add_item(item)

    def _begin_content(self, number: int, kind: str) -> bytes:
        out = b""
        message = self._message
        if message is None:
            message = _Message(self._items, f"msg_{self._tail}_{self._items}", [], [])
            self._message = message
            out = self._add_item(message_item([], message.item_id, "in_progress"))
        part = _Open(kind, message.index, message.item_id, len(message.contents), b"", b"}\n\n", [])
        message.contents.append(None)
        message.open.append(number)
        name = "response.output_text.delta" if kind == TEXT else "response.refusal.delta"
        part.before = _prefix(name, part, {"content_index": part.content})
        if kind == TEXT:
            part.after = b',"logprobs":[]}\n\n'
        self._refused = self._refused or kind == REFUSED
        self._open[number] = part
        return out + self._write(
            "response.content_part.added",
            {**_where(part), "content_index": part.content, "part": _content(kind, "")},
        )

    def _text(self, part: _Open, text: str) -> bytes:
        if not text:
            return b""
        out = b""
        if part.kind == THINKING and not part.texts:
            out = self._write(
                "response.reasoning_summary_part.added",
                {**_where(part), "summary_index": 0, "part": {"type": "summary_text", "text": ""}},
            )
        part.texts.append(text)
        number = b"%d" % self._sequence
        self._sequence += 1
        return out + part.before + number + b',"delta":' + _encode(text) + part.after

    def _sign(self, event: Signed) -> bytes:
        out = b""
        part = self._open.get(event.part)
        if part is None:
            kind, call_id, name = self._kinds.get(event.part, (THINKING, "", ""))
            if kind == TOOL_CALL and event.signature is not None:
                return self._sign_call(call_id, event.signature)
            out = self._begin(event.part, kind, call_id, name)
            part = self._open[event.part]
        part.signature = event.signature or part.signature
        part.redacted = event.redacted or part.redacted
        return out

    def _sign_call(self, call_id: str, signature: str) -> bytes:
        index = self._items
        item = call_signature_item(call_id, signature, f"rs_{self._tail}_{index}")
        return self._add_item(item) + self._end_item(index, item)

    def _end_part(self, number: int) -> bytes:
        part = self._open.pop(number, None)
        if part is None:
            return b""
        if part.kind in (TEXT, REFUSED):
            return self._end_content(number, part)
        if part.kind == TOOL_CALL:
            return self._end_call(part)
        return self._end_thinking(part)

    def _end_content(self, number: int, part: _Open) -> bytes:
        text = "".join(part.texts)
        content = _content(part.kind, text)
        if self._message is not None:
            self._message.contents[part.content] = content
            self._message.open.remove(number)
        where = {**_where(part), "content_index": part.content}
        if part.kind == TEXT:
            out = self._write("response.output_text.done", {**where, "text": text, "logprobs": []})
        else:
            out = self._write("response.refusal.done", {**where, "refusal": text})
        return out + self._write("response.content_part.done", {**where, "part": content})

    def _end_message(self, status: str) -> bytes:
        """Close the message, and what of it is still open."""
        message = self._message
        if message is None:
            return b""
        out = b"".join(self._end_part(number) for number in list(message.open))
        self._message = None
        return out + self._end_item(message.index, message_item(message.contents, message.item_id, status))

    def _end_call(self, part: _Open) -> bytes:
        out = self._text(part, "{}") if not part.texts else b""
        call = ToolCall(part.call_id, part.name, "".join(part.texts))
        done: Json = {**_where(part), "name": part.name, "arguments": call.arguments}
        out += self._write("response.function_call_arguments.done", done)
        out += self._end_item(part.index, call_item(call, part.item_id, "completed"))
        return out if part.signature is None else out + self._sign_call(part.call_id, part.signature)

    def _end_thinking(self, part: _Open) -> bytes:
        text = "".join(part.texts)
        out = b""
        if text:
            where = {**_where(part), "summary_index": 0}
            out = self._write("response.reasoning_summary_text.done", {**where, "text": text}) + self._write(
                "response.reasoning_summary_part.done",
                {**where, "part": {"type": "summary_text", "text": text}},
            )
        thought = Thinking(text, part.signature, part.redacted)
        item = reasoning_item(thought, part.item_id, renamed=True)
        return out + self._end_item(part.index, item)

    def _end_all(self, status: str) -> bytes:
        out = [self._end_part(number) for number in list(self._open)]
        out.append(self._end_message(status))
        return b"".join(out)

    def _finish(self) -> bytes:
        out = self._start(Started())
        status, reason = outcome(self._stop, self._refused)
        out += self._end_all(status)
        response = self._whole(status)
        if reason is not None:
            response["incomplete_details"] = {"reason": reason}
        self._ended = True
        return out + self._write(f"response.{status}", {"response": response})

    def _whole(self, status: str) -> Json:
        response = dict(self._response or {})
        response["status"] = status
        response["output"] = [self._done[index] for index in sorted(self._done)]
        response["usage"] = render_usage(self._usage)
        return response

    def _break(self, error: GatewayError | Failed) -> bytes:
        """The end of a stream that broke. What is open stays so: nothing of it is done."""
        out = self._start(Started())
        if isinstance(error, Failed):
            body, limited = render_failed(error)["error"], error.code in (RATE_LIMIT, QUOTA)
        else:
            body = _decode_any(error_body(error, OPENAI, ""))["error"]
            limited = error.status == 429
        flat: Json = {name: body.get(name) for name in ("code", "message", "param")}
        out += self._write("error", {**flat, "error": body})
        response = self._whole("failed")
        code = "rate_limit_exceeded" if limited else "server_error"
        response["error"] = {"code": code, "message": body.get("message")}
        self._ended = True
        return out + self._write("response.failed", {"response": response})


def _where(part: _Open) -> Json:
    return {"item_id": part.item_id, "output_index": part.index}


def _prefix(kind: str, part: _Open, more: Json) -> bytes:
    """A delta's event up to its sequence number, which goes last of what changes but the text."""
    data = _encode({"type": kind, **_where(part), **more})
    return b"event: " + kind.encode() + b"\ndata: " + data[:-1] + b',"sequence_number":'


def _content(kind: str, text: str) -> Json:
    return output_content(Text(text) if kind == TEXT else Refusal(text))
