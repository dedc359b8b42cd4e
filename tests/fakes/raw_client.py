"""A client that is only a socket: what it sends and reads is in the test's own hands."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Self

WITHIN_S = 5.0


@dataclass
class Answer:
    """A response as it came. headers: by lower-case name, the last of each."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._chunked = False

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None, host: str = "127.0.0.1") -> Self:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except OSError:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> Answer:
        """The next response head; interim responses are skipped."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WITHIN_S)
        lines = raw.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(": ")
            if colon:
                headers[name.lower()] = value
        if status < 200:
            return await self.read_head()
        self._chunked = headers.get("transfer-encoding") == "chunked"
        return Answer(status, headers)

    async def read_chunk(self) -> bytes:
        """The next chunk of a chunked body, b"" at its end. Raises EOFError when it is cut."""
        try:
            line = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), WITHIN_S)
            size = int(line, 16)
            data = await asyncio.wait_for(self.reader.readexactly(size + 2), WITHIN_S)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error
        return data[:-2]

    async def read_answer(self) -> Answer:
        """A whole response."""
        answer = await self.read_head()
        if self._chunked:
            while piece := await self.read_chunk():
                answer.body += piece
        elif "content-length" in answer.headers:
            length = int(answer.headers["content-length"])
            answer.body = await asyncio.wait_for(self.reader.readexactly(length), WITHIN_S)
        else:
            answer.body = await asyncio.wait_for(self.reader.read(), WITHIN_S)
        return answer

    async def at_end(self) -> bool:
        """Whether the peer has closed: nothing more comes."""
        try:
            return await asyncio.wait_for(self.reader.read(1), WITHIN_S) == b""
        except ConnectionError:
            return True

    async def vanish(self, *, reset: bool = False) -> None:
        """Leave without a word."""
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort() if reset else self.writer.close()
        await asyncio.sleep(0)


def request(
    body: object = None,
    *,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    key: str | None = "sk-test",
    headers: dict[str, str] | None = None,
) -> bytes:
    """A request as bytes. body: bytes as they are, anything else as JSON, None for no body."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    fields = {"host": "gateway.test", "content-type": "application/json"}
    if key is not None:
        fields["authorization"] = f"Bearer {key}"
    if raw or method == "POST":
        fields["content-length"] = str(len(raw))
    fields |= headers or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + raw


def chat(text: str = "hi", *, model: str = "gpt-4o", **more: object) -> dict[str, object]:
    """The body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
