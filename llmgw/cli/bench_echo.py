"""A provider inside the bench's own process: canned answers in the OpenAI chat format, at once.

It does as little as it can, so that what `--self` compares is a gateway and no gateway.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import httptools

EVENTS = 32
USAGE = {"prompt_tokens": 220, "completion_tokens": EVENTS, "total_tokens": 220 + EVENTS}
COMMON = {"id": "chatcmpl-bench", "created": 1760000000, "model": "bench"}


def render_answer() -> bytes:
    """A whole response of about 1 KB."""
    content = "Most of it is spent in the kernel, copying bytes between two sockets. " * 9
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "logprobs": None,
        "finish_reason": "stop",
    }
    body = json.dumps(COMMON | {"object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def render_stream(*, usage: bool) -> list[bytes]:
    """The writes of a streamed response, one event in each."""

    def event(**members: object) -> bytes:
        return b"data: " + json.dumps(COMMON | {"object": "chat.completion.chunk"} | members).encode()

    def choices(delta: dict[str, str], finish: str | None) -> list[dict[str, object]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    events = [event(choices=choices({"content": " token"}, None)) for _ in range(EVENTS)]
    events.append(event(choices=choices({}, "stop")))
    if usage:
        events.append(event(choices=[], usage=USAGE))
    events.append(b"data: [DONE]")
    writes = [b"%x\r\n%b\n\n\r\n" % (len(each) + 2, each) for each in events]
    writes[0] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + writes[0]
    )
    writes[-1] += b"0\r\n\r\n"
    return writes


class Echo(asyncio.Protocol):
    """One connection of a client, or of a gateway's pool.

    answer: a whole response. streams: the writes of a streamed one, by whether it tells usage.
    """

    def __init__(self, answer: bytes, streams: Mapping[bool, Sequence[bytes]]) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._body = bytearray()
        self._answer = answer
        self._streams = streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports keep the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        asked = json.loads(bytes(self._body))
        if asked.get("stream"):
            usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            self._write(iter(self._streams[usage]))
        else:
            self._transport.write(self._answer)

    def _write(self, writes: Iterator[bytes]) -> None:
        """One event now, the next on the loop's next turn: each is its own packet."""
        assert self._transport is not None
        data = next(writes, None)
        if data is not None and not self._transport.is_closing():
            self._transport.write(data)
            asyncio.get_running_loop().call_soon(self._write, writes)


async def open_echo() -> tuple[asyncio.Server, int]:
    """A listening provider and its port on loopback."""
    answer = render_answer()
    streams = {usage: render_stream(usage=usage) for usage in (False, True)}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(answer, streams), "127.0.0.1", 0)
    return server, int(server.sockets[0].getsockname()[1])
