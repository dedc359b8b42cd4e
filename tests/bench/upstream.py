"""A provider made of one loop: streams one stamped event at each interval, to the microsecond.

    python -m tests.bench.upstream --port 9000 --interval-ms 20 --events 500

Each stream keeps its own phase (it starts when it is asked for), so a proxy meets events one by
one as from many independent answers. With `--tick-ms` all streams share one tick, as when one busy
provider's event loop wakes: then events come in bursts, and every proxy pays less for each.

Each event carries the monotonic clock's nanoseconds, which every process of one machine shares.
Usage is sent when the request asks for it, and only then, as OpenAI does.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import time

from tests.bench.exchange import (
    DONE_EVENT,
    FINISH_EVENT,
    STAMP_DIGITS,
    USAGE_EVENT,
    chat_answer,
    event_parts,
)
from tests.bench.loop import Loop

BACKLOG = 4096
READ_BYTES = 1 << 18
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"x-request-id: req_bench\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection:
    """One connection of the proxy's pool."""

    def __init__(self, loop: Loop, sock: socket.socket, interval_ns: int, events: int, tick_ns: int) -> None:
        self._loop = loop
        self._sock = sock
        self._interval_ns = interval_ns
        self._events = events
        self._tick_ns = tick_ns
        self._buffer = bytearray()
        self._unsent = b""
        self._sent_events = 0
        self._started_ns = 0
        self._wants_usage = False
        self._closed = False
        before, after = event_parts()
        size = len(before) + STAMP_DIGITS + len(after)
        self._before = b"%x\r\n" % size + before
        self._after = after + b"\r\n"
        self._answer = chat_answer(1024)

    def on_readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._buffer += data
        self._parse()

    def _parse(self) -> None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        fields = bytes(self._buffer[:head_end]).lower()
        at = fields.find(b"\r\ncontent-length:")
        if at < 0:
            self._send(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.close()
            return
        length = int(fields[at + 17 :].split(b"\r\n", 1)[0])
        end = head_end + 4 + length
        if len(self._buffer) < end:
            return
        body = bytes(self._buffer[head_end + 4 : end])
        del self._buffer[:end]
        compact = body[:65536].replace(b" ", b"")
        if b'"stream":true' in compact:
            self._wants_usage = b'"include_usage":true' in compact
            self._begin_stream()
        else:
            self._send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(self._answer), self._answer)
            )

    def _begin_stream(self) -> None:
        self._sent_events = 1
        self._started_ns = time.monotonic_ns()
        self._send(STREAM_HEAD + self._before + b"%020d" % self._started_ns + self._after)
        self._loop.at(self._due_ns(), self._tick)

    def _tick(self) -> None:
        if self._closed:
            return
        if self._sent_events == self._events:
            usage = chunk(USAGE_EVENT) if self._wants_usage else b""
            self._send(chunk(FINISH_EVENT) + usage + chunk(DONE_EVENT) + b"0\r\n\r\n")
            return
        self._sent_events += 1
        self._loop.at(self._due_ns(), self._tick)
        self._send(self._before + b"%020d" % time.monotonic_ns() + self._after)

    def _due_ns(self) -> int:
        """When the next event goes, on the shared tick if there is one."""
        due_ns = self._started_ns + self._sent_events * self._interval_ns
        return due_ns + -due_ns % self._tick_ns if self._tick_ns else due_ns

    def _send(self, data: bytes) -> None:
        if self._unsent:
            data = self._unsent + data
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = data[sent:]
        if self._unsent:
            self._loop.at(time.monotonic_ns() + 1_000_000, self._flush)

    def _flush(self) -> None:
        if self._unsent and not self._closed:
            self._send(b"")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.unwatch(self._sock)
            self._sock.close()


def serve(port: int, interval_ns: int, events: int, tick_ns: int) -> None:
    """Until SIGTERM."""
    loop = Loop()
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                loop.watch(sock, Connection(loop, sock, interval_ns, events, tick_ns).on_readable)

    loop.watch(listener, accept)
    loop.run()


def main() -> None:
    parser = argparse.ArgumentParser(description="paced event streams on loopback")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--interval-ms", type=float, default=20.0)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--tick-ms", type=float, default=0.0)
    options = parser.parse_args()
    serve(options.port, int(options.interval_ms * 1e6), options.events, int(options.tick_ms * 1e6))


if __name__ == "__main__":
    main()
