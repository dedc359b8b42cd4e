"""A real minimal call to one target, outside the road: does it answer, how fast, and with what usage."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from llmgw.core.chat import ChatRequest, Message, Text
from llmgw.core.errors import GatewayError, UpstreamError
from llmgw.core.operation import Operation
from llmgw.core.target import Target
from llmgw.dialects.base import (
    AUTH,
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    SERVER,
)
from llmgw.dialects.registry import target_dialect
from llmgw.engine.convert import with_members
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Headers, Timeouts, Transport, UpstreamRequest
from llmgw.wire.envelope import Envelope

_MAX_OUTPUT = 16
_VERDICTS = {
    AUTH: "the key was refused",
    PERMISSION: "the key may not do this",
    NOT_FOUND: "there is no such model or path",
    RATE_LIMIT: "reached, but it limits us now",
    QUOTA: "reached, but the account has nothing left",
    OVERLOADED: "reached, but it is overloaded",
    INVALID: "reached, but it refused the request",
    CONTEXT_LENGTH: "reached, but it refused the request",
    CONTENT_FILTER: "reached, but it refused the request",
    SERVER: "reached, but it failed",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """ok: it answered. latency_s: to the whole answer, None when nothing came.
    detail: the provider's own words, where it refused."""

    ok: bool
    verdict: str
    latency_s: float | None = None
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    detail: str | None = None


class _Gathered:
    """A sink that keeps the whole answer."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status

    def on_chunk(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def on_error(self, error: UpstreamError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


async def probe(provider: Provider, target: Target, transport: Transport, within_s: float) -> Verdict:
    """Ask `target` for a few tokens. Whatever happens, a verdict."""
    endpoint = provider.own_endpoint(Operation.CHAT, target.model, False)
    head = provider.head(endpoint, target.model, b"application/json") if endpoint is not None else None
    if endpoint is None or head is None:
        return Verdict(False, "does not serve conversations")
    dialect = target_dialect(endpoint, target)
    question = Message("user", (Text("Say OK."),))
    began = time.monotonic()
    try:
        body = dialect.render_request(
            ChatRequest(model=target.model, messages=(question,), max_output=_MAX_OUTPUT)
        ).body
        if endpoint.members:
            body = with_members(Envelope(body), endpoint.members)
        if provider.signer is not None:
            pending = provider.signer.pending()
            if pending is not None:
                await pending
            head = provider.signer.sign(head, body)
        answer = _Gathered()
        timeouts = Timeouts(connect_s=min(5.0, within_s), idle_s=within_s, total_s=within_s)
        transport.send(UpstreamRequest(provider.origin, head, body, timeouts), answer)
        await answer.ended
    except GatewayError as error:
        return Verdict(False, error.message, detail=error.detail)
    took_s = time.monotonic() - began
    whole = b"".join(answer.pieces)
    if answer.status >= 400:
        failure = dialect.parse_failure(answer.status, whole)
        return Verdict(
            False, _VERDICTS[failure.code], took_s, answer.status, detail=failure.message.strip() or None
        )
    try:
        usage = dialect.parse_answer(whole).usage
    except ValueError as error:
        return Verdict(
            False, "answers with something that is not an answer", took_s, answer.status, detail=str(error)
        )
    if usage is None:
        return Verdict(True, "answers, but reports no usage", took_s, answer.status)
    return Verdict(True, "answers", took_s, answer.status, usage.input_tokens, usage.output_tokens)
