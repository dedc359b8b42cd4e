"""Carries one attempt's answer from the upstream's socket to the client's.

A stream's bytes go on event by event as they come, with a tap beside them: no decoding, no queue,
no task. What an upstream breaks off within an event is not passed on, so that what follows it, our
error, is an event of its own.
An answer that is one JSON document is gathered first, so that one that is broken can still be
told from one that is whole, and so that its cost can be in its head. Other bodies (audio,
images as bytes) go on as they come.

Promise: once a byte of a stream has reached the client, the stream ends in the upstream's own
terminator or in an error in the client's dialect, never in silence.
"""

from __future__ import annotations

from llmgw.core.errors import (
    GatewayError,
    RedactionFailed,
    UpstreamBroken,
    UpstreamError,
    UpstreamMalformed,
    UpstreamTimeout,
)
from llmgw.core.exchange import Exchange
from llmgw.core.operation import ARRAY, EVENTS, LINES, Endpoint
from llmgw.dialects.taps import StreamedTap
from llmgw.engine.crossing import Crossing, WholeCrossing, own_tap
from llmgw.engine.last_words import MAX_ERROR, first_error, is_unclosed_error, told_of, unclosed_event
from llmgw.engine.plan import Lane
from llmgw.engine.redacted import RedactedTap, RedactedText
from llmgw.engine.road import Road
from llmgw.engine.silence import KEEP_ALIVE, Bridge, Contender, is_only_comments
from llmgw.engine.strand import Pause
from llmgw.policies.redact import Redaction
from llmgw.ports.client import Client
from llmgw.ports.transport import Call, Headers
from llmgw.wire.headers import wait_s
from llmgw.wire.sse import whole_events

_FRAMES = b"application/vnd.amazon.eventstream"
_JSON = b"application/json"
_MAX_DOCUMENT = 64 * 1024 * 1024
"""Bytes of an answer that is gathered. The transport's own cap is for requests that are not streamed."""


class Relay:
    """The sink of one call, and the flow that its client can pause.

    status: the upstream's. content_type: the upstream's.
    started: some of the answer, or a comment in its place, has gone to the client.
    body: the whole answer, for a JSON document or an error.
    tap: what reads the usage beside a stream.
    across: what translates, for a target of another dialect.
    redaction: what is taken out of the answer, None for nothing.
    refusal: the error that a stream began with, as JSON.
    wait_s: how long an upstream that refused asks to be spared.
    """

    __slots__ = (
        "_bridge",
        "_call",
        "_client",
        "_ended",
        "_ex",
        "_held",
        "_idle_s",
        "_keep_alive_s",
        "_lane",
        "_opening",
        "_pieces",
        "_road",
        "_silent_since",
        "_size",
        "_spoke",
        "_text",
        "across",
        "body",
        "content_type",
        "outcome",
        "redaction",
        "refusal",
        "started",
        "status",
        "stream",
        "tap",
        "wait_s",
    )

    def __init__(
        self,
        ex: Exchange,
        lane: Lane,
        client: Client,
        road: Road,
        idle_s: float,
        across: Crossing | WholeCrossing | None,
        keep_alive_s: float | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self._ex = ex
        self._lane = lane
        self._client = client
        self._road = road
        self._call: Call | None = None
        self._ended = Pause()
        self._pieces: list[bytes] | None = None
        self._held: bytearray | None = None
        self._idle_s = idle_s
        self._keep_alive_s = keep_alive_s
        self._spoke = False
        self._bridge: Bridge | None = None
        self._opening: bytes | bytearray = b""
        self._silent_since: float | None = None
        self._size = 0
        self.status = 0
        self.content_type = b""
        self.started = False
        self.stream = False
        self.body = b""
        self.tap: StreamedTap | None = None
        self.across = across
        self.outcome = "ok"
        self.redaction = redaction if redaction is not None and redaction.answered else None
        self._text: RedactedText | None = None
        self.refusal: bytes | None = None
        self.wait_s: float | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The client's."""
        return self._ex.endpoint

    def head(self) -> bytes:
        """The header lines of the answer."""
        across = self.across
        if across is None:
            return reply_head(self._ex, self._lane, self._kind())
        return reply_head(self._ex, self._lane, self._kind()) + across.head

    def _kind(self) -> bytes:
        """The answer's media type, as the client gets it."""
        if self.stream and (self.across is not None or self.endpoint.stream == ARRAY):
            return self.endpoint.stream
        return self.content_type

    @property
    def dispatched(self) -> bool:
        """Whether any byte of the request may have reached the upstream."""
        return self._call is not None and self._call.dispatched

    def begin(self, call: Call) -> Pause:
        """Take charge of `call`. The pause ends when its answer has; it raises UpstreamError."""
        self._call = call
        return self._ended

    def redacted(self, body: bytes) -> bytes:
        """A whole answer or error as the client may have it. Raises RedactionFailed."""
        return body if self.redaction is None else self.redaction.answer(self._ex, body)

    def cancel(self) -> None:
        """The client is gone: stop the upstream."""
        if self._call is not None:
            self._call.cancel()
        self._forget()

    def cut(self, error: GatewayError) -> None:
        """We have to stop: tell the client why. Raises `error` when it has heard nothing yet."""
        self.cancel()
        if not self.started:
            raise error
        self.outcome = "error"
        self._break_off(error)

    # The client's flow.

    def pause(self) -> None:
        if self._call is not None:
            self._call.pause()

    def resume(self) -> None:
        if self._call is not None:
            self._call.resume()

    # The call's sink.

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        for name, value in headers:
            if name == b"content-type":
                self.content_type = value
        kind = self.content_type.partition(b";")[0].strip().lower()
        if 300 <= status < 400 or status < 200:
            self._reject(
                UpstreamMalformed(f"the provider answered with status {status}, which is not an answer")
            )
        elif status >= 400 or kind.startswith(_JSON):
            self._pieces = []
            if status >= 400:
                self.wait_s = wait_s(headers)
            elif isinstance(self.across, WholeCrossing):
                self.across.hear(headers)
        elif self._is_stream(kind):
            self.stream = True
            self.tap = self.across.stream() if isinstance(self.across, Crossing) else own_tap(self._ex)
            if self.endpoint.stream == EVENTS:
                if self.across is None and self.redaction is None:
                    self._held = bytearray()
                if self._keep_alive_s is not None:
                    passed = self.tap.delivered_bytes
                    self._bridge = Bridge(self._road.loop, self._keep_alive_s, passed, self._still_here)
            if self.redaction is not None:
                self.tap = RedactedTap(self.tap, self.redaction, self._ex)
            self._road.streams[self.tap] = self._ex.request_id
            self._client.attach(self)
        elif (
            kind.startswith(b"text/html")
            or self.across is not None
            or (self._ex.streamed and not self.content_type)
        ):
            self._reject(UpstreamMalformed("the provider answered with something that is not an answer"))
        else:
            if self.redaction is not None and kind.startswith(b"text/"):
                self._text = RedactedText(self.redaction, self._ex)
            self._client.attach(self)

    def on_chunk(self, data: bytes) -> None:
        tap = self.tap
        if tap is not None:
            if data.startswith(b":"):
                if not self._still_moves(data):
                    return
            elif self._silent_since is not None:
                self._silent_since = None
            came = data
            try:
                data = tap.feed(data)
            except ValueError as error:
                self._reject(
                    UpstreamMalformed("the provider sent an event that is too long", detail=str(error))
                )
                return
            except RedactionFailed as error:
                self._call_off(error)
                return
            held = self._held
            if held is not None and (held or not data.endswith(b"\n\n")):
                data = whole_events(held, data)
            if not data:
                if not self._spoke:
                    self._hold_opening(came)
                return
            if not self._spoke:
                if tap.failed and not self.started:
                    self._refuse(bytes(self._opening) + came)
                    return
                self._opening = b""
                self._start()
            self._client.write(data)
        elif self._pieces is not None:
            self._size += len(data)
            if self.status >= 400 and self._size > MAX_ERROR:
                self._reject(UpstreamMalformed("the provider answered with an error that is too long"))
                return
            if self._size > _MAX_DOCUMENT:
                message = f"the provider's answer is larger than {_MAX_DOCUMENT} bytes"
                self._reject(UpstreamMalformed(message, phase="body"))
                return
            self._pieces.append(data)
        else:
            if not self._spoke:
                self._start()
            if self._text is not None:
                data = self._text.feed(data)
            if data:
                self._client.write(data)

    def on_end(self) -> None:
        if self.tap is not None:
            self._end_stream(self.tap)
        elif self._pieces is not None:
            self.body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._ended.wake()
        else:
            if not self.started:
                self._start()
            if self._text is not None and (rest := self._text.close()):
                self._client.write(rest)
            self._client.end()
            self._ended.wake()
        self._forget()

    def on_error(self, error: UpstreamError) -> None:
        self._forget()
        if not self.started:
            self._ended.fail(error)
            return
        tap = self.tap
        if tap is not None and tap.done:
            # The upstream closed roughly, but after its terminator: the client has it all.
            rest = self._last_event(tap)
            if rest:
                self._client.write(rest)
            self._client.end()
            self._ended.wake()
            return
        self._break_off(error)

    def _is_stream(self, kind: bytes) -> bool:
        """Whether an answer of this media type is a stream that the tap can read."""
        if self.across is not None:
            return isinstance(self.across, Crossing) and kind in (EVENTS, LINES, _FRAMES)
        return kind == (LINES if self.endpoint.stream == LINES else EVENTS)

    def _still_moves(self, data: bytes) -> bool:
        """Whether a stream of comments, which keep a connection open, has not gone on for too long.

        A comment is not progress: an upstream that only says that it is alive is stalled.
        """
        if not is_only_comments(data):
            self._silent_since = None
            return True
        now = self._road.loop.time()
        if self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > self._idle_s:
            self._reject(
                UpstreamTimeout(
                    f"the provider sent nothing but comments for {self._idle_s:g} s", phase="body"
                )
            )
            return False
        return True

    def _end_stream(self, tap: StreamedTap) -> None:
        rest = self._last_event(tap)
        if not self.started and (tap.failed or is_unclosed_error(self._opening)):
            self._refuse(bytes(self._opening) + b"\n\n")
            return
        if not self.started and not rest and not tap.done:
            self._ended.fail(UpstreamBroken("the provider's stream ended before it began", phase="body"))
            return
        if not self.started:
            self._start()
        if rest:
            self._client.write(rest)
        if tap.failed:
            self.outcome = "upstream_error"
        elif not tap.done:
            self.outcome = "upstream_truncated"
            self._break_off(
                UpstreamBroken("the provider's stream ended before it was complete", phase="body")
            )
            return
        self._client.end()
        self._ended.wake()

    def _refuse(self, data: bytes) -> None:
        """The stream began with an error, so its status was not meant: the client has heard nothing yet."""
        self.refusal = first_error(data)
        self.cancel()
        self._ended.wake()

    def _hold_opening(self, came: bytes) -> None:
        """Keep what may be the beginning of an error."""
        opening = self._opening
        if not isinstance(opening, bytearray):
            opening = self._opening = bytearray()
        opening += came
        if len(opening) > 2 * MAX_ERROR:
            del opening[:-MAX_ERROR]

    def _last_event(self, tap: StreamedTap) -> bytes:
        """What the upstream's end leaves, as a whole event; nothing when it was cut off within."""
        rest = tap.rest()
        if self._held is None:
            return rest
        rest = bytes(self._held) + rest
        self._held.clear()
        return unclosed_event(rest, failed=tap.failed)

    def _call_off(self, error: GatewayError) -> None:
        """End the answer, for a fault of ours."""
        if self._call is not None:
            self._call.cancel()
        self._forget()
        if not self.started:
            self._ended.fail(error)
            return
        self.outcome = "error"
        self._break_off(error)

    def _start(self) -> None:
        ex = self._ex
        self._spoke = True
        ex.first_byte = self._road.loop.time()
        if not self.started:
            self.started = True
            ex.status = self.status
            self._client.start(self.status, self.head())

    def _still_here(self) -> None:
        """Nothing has come for long."""
        if not self.started:
            if isinstance(self._client, Contender) and not self._client.is_alone:
                return
            self.started = True
            self._ex.status = self.status
            self._client.start(self.status, self.head())
        self._client.write(KEEP_ALIVE)

    def _break_off(self, error: GatewayError) -> None:
        """Tell the client of an error after the answer has begun."""
        ex = self._ex
        ex.error = error
        if self.outcome == "ok":
            self.outcome = "upstream_truncated" if isinstance(error, UpstreamBroken) else "upstream_error"
        if self.stream:
            tap = self.tap
            if isinstance(tap, RedactedTap):
                if held := tap.rest():
                    self._client.write(held)
                tap = tap.inner
            self._client.write(told_of(error, ex, tap))
            self._client.end()
        else:
            self._client.abort()
        self._ended.wake()

    def _reject(self, error: UpstreamError) -> None:
        """Stop reading an answer that cannot be passed on."""
        if self._call is not None:
            self._call.cancel()
        self.on_error(error)

    def _forget(self) -> None:
        if self._bridge is not None:
            self._bridge.close()
        if self.tap is not None:
            self._road.streams.pop(self.tap, None)
            self._client.attach(None)


def reply_head(ex: Exchange, lane: Lane, content_type: bytes) -> bytes:
    """The header lines of an answer that came from `lane`."""
    return b"%b%bcontent-type: %b\r\nx-request-id: %b\r\nx-llmgw-attempts: %d\r\n" % (
        lane.reply_head,
        ex.limit_head,
        content_type,
        (ex.client_request_id or ex.request_id).encode(),
        ex.attempts,
    )
