"""A real minimal call to one target, outside the road: does it answer, how fast, and with what usage."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from llmgw.admin.asking import Asked, asked, operation_of
from llmgw.core.errors import GatewayError, UpstreamError, UpstreamUnreachable
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
from llmgw.dialects.registry import target_failure
from llmgw.dialects.whole import counted_by_head
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Headers, Timeouts, Transport, UpstreamRequest

_VERDICTS = {
    AUTH: "the credential was refused; see that it is this provider's",
    PERMISSION: "the credential may not use this model",
    NOT_FOUND: "there is no such model or path; see the target's model and the base_url",
    RATE_LIMIT: "reached, but it limits us now; try again later",
    QUOTA: "reached, but the account has nothing left; see its billing",
    OVERLOADED: "reached, but it is overloaded; try again later",
    INVALID: "reached, but it refused the request",
    CONTEXT_LENGTH: "reached, but it refused the request",
    CONTENT_FILTER: "reached, but it refused the request",
    SERVER: "reached, but it failed",
}
_MISTAKEN = frozenset({INVALID, NOT_FOUND})
"""How a model answers that is asked for what it does not do."""
_UNASKED = {
    Operation.SPEECH: "speaks",
    Operation.TRANSCRIPTION: "writes down speech",
    Operation.IMAGE: "makes pictures",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """ok: it answered; None when it was not asked. latency_s: to the whole answer, None when nothing came.
    operation: what was asked. failure: the class of a refusal. detail: the provider's own words then."""

    ok: bool | None
    verdict: str
    latency_s: float | None = None
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    detail: str | None = None
    operation: str = Operation.CHAT.value
    failure: str | None = None


class _Gathered:
    """A sink that keeps the whole answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        self.headers = headers

    def on_chunk(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def on_error(self, error: UpstreamError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


async def probe(
    provider: Provider,
    target: Target,
    transport: Transport,
    within_s: float,
    operation: Operation | None = None,
) -> Verdict:
    """Ask `target` for as little as it can be asked. Whatever happens, a verdict.

    operation: CHAT, EMBEDDINGS, RERANK or MODERATION; None to go by the model's name, and, where that
    tells nothing and words are refused, to try embeddings too.
    """
    chosen = operation or operation_of(target.model)
    found = await _probe(provider, target, transport, within_s, chosen)
    if operation is None and chosen is Operation.CHAT and found.failure in _MISTAKEN:
        second = await _probe(provider, target, transport, within_s, Operation.EMBEDDINGS)
        if second.ok:
            return replace(second, verdict=f"{second.verdict}; it does not converse")
    return found


async def _probe(
    provider: Provider, target: Target, transport: Transport, within_s: float, operation: Operation
) -> Verdict:
    if operation in _UNASKED:
        reason = f"not asked: a model that {_UNASKED[operation]} cannot be asked for a few tokens"
        return Verdict(None, reason, operation=operation.value)
    try:
        asking = asked(provider, target, operation)
    except (GatewayError, ValueError) as error:
        return Verdict(False, f"cannot be asked: {error}", operation=operation.value)
    if asking is None:
        name = "conversations" if operation is Operation.CHAT else operation.value
        return Verdict(False, f"the provider does not serve {name}", operation=operation.value)
    found = await _call(provider, target, transport, within_s, asking)
    return replace(found, operation=operation.value)


async def _call(
    provider: Provider, target: Target, transport: Transport, within_s: float, asking: Asked
) -> Verdict:
    head = asking.head
    try:
        if provider.signer is not None:
            pending = provider.signer.pending()
            if pending is not None:
                await pending
            head = provider.signer.sign(head, asking.body)
        began = time.monotonic()
        answer = _Gathered()
        timeouts = Timeouts(connect_s=min(5.0, within_s), idle_s=within_s, total_s=within_s)
        transport.send(UpstreamRequest(provider.origin, head, asking.body, timeouts), answer)
        await answer.ended
    except UpstreamUnreachable as error:
        place = "; see the base_url" if error.code == UpstreamUnreachable.code else ""
        if "TLS" in error.message:
            place = "; see the base_url and the ca"
        return Verdict(False, f"{error.message}{place}", detail=error.detail)
    except GatewayError as error:
        return Verdict(False, error.message, detail=error.detail)
    took_s = time.monotonic() - began
    whole = b"".join(answer.pieces)
    if answer.status >= 400:
        failure = target_failure(asking.endpoint, target, answer.status, whole)
        words = failure.message.strip() or None
        return Verdict(
            False, _VERDICTS[failure.code], took_s, answer.status, detail=words, failure=failure.code
        )
    if answer.status >= 300:
        return Verdict(
            False,
            "sends us elsewhere, which is not followed; see the base_url",
            took_s,
            answer.status,
            detail=_location(answer.headers),
        )
    try:
        usage, how = asking.read(whole)
    except ValueError as error:
        return Verdict(
            False,
            "answers with something that is not an answer; see the base_url",
            took_s,
            answer.status,
            detail=str(error),
        )
    usage = usage or counted_by_head(asking.endpoint, answer.headers)
    if usage is None:
        return Verdict(True, f"answers{how}, but reports no usage", took_s, answer.status)
    return Verdict(True, f"answers{how}", took_s, answer.status, usage.input_tokens, usage.output_tokens)


def _location(headers: Headers) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name == b"location"), None)
