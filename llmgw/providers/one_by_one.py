"""Texts that a model takes one at a time, asked for all at once: as many requests, one answer.

Amazon Titan embeds one text in a request, where clients send lists. A request that names many is sent as
several, a few at a time, each signed for itself; their answers are joined. The first that fails is the
answer to all, and the others are given up. Everything else goes on as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmgw.core.errors import UpstreamError, UpstreamMalformed, UpstreamTimeout
from llmgw.dialects.embeddings_bedrock import joined, separate
from llmgw.ports.provider import Signer
from llmgw.ports.transport import Call, Headers, Sink, Transport, UpstreamRequest

_AT_ONCE = 8
_SIGNED_LINES = (b"x-amz-date:", b"x-amz-security-token:", b"authorization:")


class OneByOne:
    """Implements `ports.transport.Transport` over another, which stays its owner's to close.

    signer: what each request is signed by; None where the head says it all.
    """

    def __init__(self, transport: Transport, signer: Signer | None) -> None:
        self._transport = transport
        self._signer = signer

    def send(self, request: UpstreamRequest, sink: Sink) -> Call:
        bodies = separate(request.body)
        if bodies is None:
            return self._transport.send(request, sink)
        head, signer, transport = request.head, self._signer, self._transport
        if signer is not None:
            lines = head.splitlines(keepends=True)
            head = b"".join(line for line in lines if not line.startswith(_SIGNED_LINES))

        def send_one(body: bytes, sink: Sink) -> Call:
            signed = head if signer is None else signer.sign(head, body)
            return transport.send(UpstreamRequest(request.origin, signed, body, request.timeouts), sink)

        return _Together(bodies, send_one, sink, request.timeouts.total_s)

    async def close(self) -> None:
        """Nothing is its own."""


class _Together:
    """`ports.transport.Call` of many requests."""

    def __init__(
        self, bodies: list[bytes], send_one: Callable[[bytes, Sink], Call], sink: Sink, total_s: float
    ) -> None:
        self._bodies = bodies
        self._send_one = send_one
        self._sink: Sink | None = sink
        self._answers: list[bytes | None] = [None] * len(bodies)
        self._calls: dict[int, Call] = {}
        self._begun = 0
        self._dispatched = False
        self._timer = asyncio.get_running_loop().call_later(total_s, self._late)
        for _ in bodies[:_AT_ONCE]:
            self._go_on()

    @property
    def dispatched(self) -> bool:
        return self._dispatched or any(call.dispatched for call in self._calls.values())

    def cancel(self) -> None:
        self._sink = None
        self._timer.cancel()
        self._dispatched = self.dispatched
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.cancel()

    def pause(self) -> None:
        """Not needed: nothing is passed on before all is there."""

    def resume(self) -> None:
        """Nor this."""

    def answered(self, index: int, status: int, headers: Headers, body: bytes) -> None:
        """One of them has its answer."""
        self._dispatched = True
        del self._calls[index]
        if status >= 300:
            self._end(status, headers, body)
            return
        self._answers[index] = body
        found = [answer for answer in self._answers if answer is not None]
        if len(found) < len(self._bodies):
            self._go_on()
            return
        try:
            whole = joined(found)
        except ValueError as error:
            self.broken(
                UpstreamMalformed(
                    "the provider answered with something that is not an answer",
                    phase="body",
                    detail=str(error),
                )
            )
            return
        self._end(status, headers, whole)

    def broken(self, error: UpstreamError) -> None:
        """One of them failed, or all together."""
        sink = self._sink
        self.cancel()
        if sink is not None:
            sink.on_error(error)

    def _go_on(self) -> None:
        index = self._begun
        if index < len(self._bodies):
            self._begun += 1
            self._calls[index] = self._send_one(self._bodies[index], _Part(self, index))

    def _end(self, status: int, headers: Headers, body: bytes) -> None:
        sink = self._sink
        self.cancel()
        if sink is None:
            return
        # The relay may cancel at the head; it hears nothing more then.
        self._sink = sink
        fields = [field for field in headers if field[0] != b"content-length"]
        sink.on_head(status, fields, len(body))
        if self._sink is not None and body:
            sink.on_chunk(body)
        if self._sink is not None:
            self._sink = None
            sink.on_end()

    def _late(self) -> None:
        self.broken(UpstreamTimeout("the provider did not finish in time", phase="body"))


class _Part:
    """The sink of one request."""

    def __init__(self, whole: _Together, index: int) -> None:
        self._whole = whole
        self._index = index
        self._status = 0
        self._headers: Headers = []
        self._pieces: list[bytes] = []

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        self._status = status
        self._headers = headers

    def on_chunk(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_end(self) -> None:
        self._whole.answered(self._index, self._status, self._headers, b"".join(self._pieces))

    def on_error(self, error: UpstreamError) -> None:
        self._whole.broken(error)
