"""An echo provider, and what it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from llmgw.config.providers import Echo as Settings
from llmgw.core.errors import UpstreamError
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.ports.transport import Call, Headers, Timeouts, UpstreamRequest
from llmgw.providers.echo import Echo


@dataclass
class Heard:
    """A sink that keeps everything; `over` is set by the last call."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    length: int | None = None
    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False
    error: UpstreamError | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    at_chunk: Any = None

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        assert not self.status
        self.status, self.headers, self.length = status, headers, length

    def on_chunk(self, data: bytes) -> None:
        assert self.status
        assert data
        assert not self.over.is_set()
        self.chunks.append(data)
        if self.at_chunk is not None:
            self.at_chunk(len(self.chunks))

    def on_end(self) -> None:
        assert not self.over.is_set()
        self.ended = True
        self.over.set()

    def on_error(self, error: UpstreamError) -> None:
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> list[bytes]:
        """The data of each event."""
        return [
            line.removeprefix(b"data: ")
            for event in self.body.split(b"\n\n")
            for line in event.split(b"\n")
            if line.startswith(b"data: ")
        ]

    @property
    def events(self) -> list[Any]:
        return [json.loads(data) for data in self.data if data != b"[DONE]"]


@dataclass
class Asker:
    """Puts requests to one echo provider."""

    echo: Echo
    timeouts: Timeouts = field(default_factory=Timeouts)

    def send(self, path: str, body: object, heard: Heard | None = None) -> tuple[Call, Heard]:
        heard = heard or Heard()
        endpoint = ENDPOINTS[path]
        head = self.echo.head(endpoint, "echo", b"application/json")
        assert head is not None
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        streamed = isinstance(body, dict) and body.get("stream") is True
        request = UpstreamRequest(self.echo.origin, head, raw, self.timeouts, streamed)
        call = self.echo.transport.send(request, heard)
        assert not heard.status
        return call, heard

    async def __call__(self, path: str, body: object) -> Heard:
        _, heard = self.send(path, body)
        async with asyncio.timeout(5):
            await heard.over.wait()
        return heard

    async def chat(self, text: str, **members: Any) -> Heard:
        return await self(
            "/v1/chat/completions",
            {"model": "echo", "messages": [{"role": "user", "content": text}], **members},
        )


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    asker = Asker(Echo("configured-name", Settings(kind="echo")))
    yield asker
    await asker.echo.transport.close()
