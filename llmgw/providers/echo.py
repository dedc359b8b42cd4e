"""The built-in provider: answers with the request's own words, in process, deterministically.

A gateway, a demo and a user's tests run on it with no account and no network. Faults and
latency can be scripted in the request (`echo_script`), where the settings allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from llmgw.config.providers import Echo as Settings
from llmgw.core.errors import UpstreamBroken
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, ENDPOINTS, OPENAI
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Call, Origin, Sink, UpstreamRequest
from llmgw.providers import echo_answers as answers
from llmgw.providers import echo_responses as responses
from llmgw.providers.echo_answers import Answer, BadEchoRequest
from llmgw.providers.echo_script import Script, read_script
from llmgw.providers.echo_transport import EchoCall, Reply
from llmgw.wire.sse import render_event

_encode = msgspec.json.Encoder().encode
_JSON = "application/json"
_BY_SUFFIX = {endpoint.suffix: endpoint for endpoint in ENDPOINTS.values() if endpoint.dialect == OPENAI}
_WHOLE: dict[Operation, Callable[[Answer, bool], bytes]] = {
    Operation.CHAT: answers.chat_body,
    Operation.COMPLETION: answers.completion_body,
    Operation.RESPONSES: lambda answer, usage: _encode(
        responses.response_object(answer, responses.response_status(answer), usage)
    ),
}
_STREAMS: dict[Operation, Callable[[Answer, bool, bool], Iterator[bytes]]] = {
    Operation.CHAT: answers.chat_events,
    Operation.COMPLETION: answers.completion_events,
}


_OPENING: dict[Operation, Callable[[Answer], int]] = {
    Operation.CHAT: lambda answer: 1,
    Operation.COMPLETION: lambda answer: 0,
    Operation.RESPONSES: lambda answer: 4 if answer.call is None else 3,
}
"""How many events a stream has before its first token."""
_OWN = {Operation.CHAT: CHAT_COMPLETIONS, Operation.EMBEDDINGS: EMBEDDINGS}


class Echo:
    """Implements `ports.provider.Provider`, and its own transport."""

    kind = "echo"
    vendor: str | None = None

    def __init__(self, name: str, settings: Settings, api_key: str | None = None) -> None:
        self.name = name
        self.origin = Origin("echo", name, 0)
        self.transport = EchoTransport(settings)
        self.forwards: tuple[bytes, ...] = ()
        self.signer: Signer | None = None

    def head(self, endpoint: Endpoint, model: str, content_type: bytes) -> bytes | None:
        if endpoint.dialect != OPENAI:
            return None
        return f"POST {endpoint.suffix} HTTP/1.1\r\n".encode()

    def own_endpoint(self, operation: Operation, model: str, streamed: bool) -> Endpoint | None:
        return _OWN.get(operation)

    def stream_usage(self, endpoint: Endpoint) -> bool:
        return endpoint.stream_usage


class EchoTransport:
    """Implements `ports.transport.Transport`: every request is answered here."""

    def __init__(self, settings: Settings) -> None:
        self._first_s = settings.first_token
        self._each_s = 1 / settings.tokens_per_second if settings.tokens_per_second else 0.0
        self._faults = settings.faults
        self._calls: set[EchoCall] = set()

    def send(self, request: UpstreamRequest, sink: Sink) -> Call:
        endpoint = _BY_SUFFIX.get(request.head.split(b" ", 2)[1].decode("latin-1"))
        try:
            if endpoint is None:
                reply = _refusal(404, "echo serves nothing at this path", "not_found")
            else:
                reply = self._reply(endpoint.operation, request.body)
        except BadEchoRequest as error:
            reply = _refusal(400, str(error), "invalid_request_error")
        except RecursionError:
            reply = _refusal(400, "the body is nested too deeply", "invalid_request_error")
        call = EchoCall(reply, sink, request.timeouts, request.streamed, self._calls.discard)
        self._calls.add(call)
        return call

    async def close(self) -> None:
        """Break off every answer under way."""
        for call in list(self._calls):
            call.fail(UpstreamBroken("the transport is closed", phase="body"))

    def _reply(self, operation: Operation, raw: bytes) -> Reply:
        if operation in (Operation.IMAGE, Operation.IMAGE_EDIT):
            return _whole(answers.image_body())
        if operation is Operation.TRANSCRIPTION:
            return _whole(answers.transcription_body())
        body = _decode(raw)
        if operation is Operation.MODERATION:
            return _whole(answers.moderation_body(body))
        if operation is Operation.SPEECH:
            return _whole(answers.speech_body(), "audio/wav")
        prompt = answers.read_prompt(body)
        if operation is Operation.EMBEDDINGS:
            return _whole(answers.embeddings_body(body, prompt))
        script, text = read_script(prompt.last) if self._faults else (Script(), prompt.last)
        return self._answer(operation, body, script, answers.compose(raw, prompt, text))

    def _answer(self, operation: Operation, body: dict[str, Any], script: Script, answer: Answer) -> Reply:
        first_s = self._first_s + script.delay_s
        if script.status != 200:
            reply = _refusal(script.status, "a scripted fault", "echo_fault")
            reply.first_s = first_s
            if script.retry_after is not None:
                reply.headers.append((b"retry-after", b"%d" % script.retry_after))
            return reply
        if body.get("stream") is True:
            opening = _OPENING[operation](answer)
            script.stall, script.cut, script.malformed = (
                count + opening if count else count for count in (script.stall, script.cut, script.malformed)
            )
            pieces = _garbled(_stream(operation, body, script, answer), script.malformed)
            each_s = self._each_s if script.pace is None else 1 / script.pace if script.pace else 0.0
            reply = Reply(200, "text/event-stream; charset=utf-8", pieces, None, first_s, each_s)
        else:
            reply = _whole(_WHOLE[operation](answer, script.usage))
            reply.first_s = first_s
            if script.malformed is not None:
                reply = Reply(200, _JSON, iter([b'{"id": garbage']), None, first_s)
            elif script.cut:
                # There is only one piece: half of it, less than its declared length.
                (whole,) = reply.pieces
                reply.pieces = iter([whole[: len(whole) // 2]])
                script.cut = 1
            elif script.stall:
                script.stall = 0
        reply.stall = script.stall
        reply.cut = script.cut
        return reply


def _stream(operation: Operation, body: dict[str, Any], script: Script, answer: Answer) -> Iterator[bytes]:
    if operation is Operation.RESPONSES:
        for number, event in enumerate(responses.response_events(answer, script.usage)):
            yield render_event(_encode({**event, "sequence_number": number}), event["type"].encode())
        return
    options = body.get("stream_options")
    ask_usage = isinstance(options, dict) and options.get("include_usage") is True
    for data in _STREAMS[operation](answer, script.usage, ask_usage):
        yield render_event(data)


def _garbled(pieces: Iterator[bytes], after: int | None) -> Iterator[bytes]:
    """`pieces`, with one that is no JSON behind the first `after`, and nothing then."""
    for number, piece in enumerate(pieces):
        if number == after:
            yield b'data: {"choices": garbage\n\n'
            return
        yield piece


def _whole(body: bytes, content_type: str = _JSON) -> Reply:
    return Reply(200, content_type, iter([body]), len(body))


def _refusal(status: int, message: str, code: str) -> Reply:
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
    return Reply(status, _JSON, iter([body]), len(body))


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadEchoRequest("the body cannot be read") from None
    if not isinstance(body, dict):
        raise BadEchoRequest("the body must be an object")
    return body
