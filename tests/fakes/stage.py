"""A gateway before one upstream of every family, in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import json
import threading
from types import TracebackType
from typing import Self

import uvloop

from tests.fakes.families import FAMILIES, Asked, reply
from tests.fakes.families_other import OTHERS
from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, UpstreamConnection, chunk_bytes, head_bytes

ROWS = {
    "openai": ("{{kind: openai, base_url: '{up}/openai', {key}}}", "gpt-5"),
    "compatible": ("{{kind: openai_compatible, vendor: vllm, base_url: '{up}/compatible', {key}}}", "qwen"),
    "mistral": ("{{kind: mistral, base_url: '{up}/mistral', {key}}}", "magistral-medium-latest"),
    "anthropic": ("{{kind: anthropic, base_url: '{up}/anthropic', {key}}}", "claude-sonnet-4-5"),
    "gemini": ("{{kind: gemini, base_url: '{up}/gemini/v1beta', {key}}}", "gemini-2.5-pro"),
    "bedrock": (
        "{{kind: bedrock, region: eu-west-1, base_url: '{up}/bedrock', access_key_id: a, "
        "secret_access_key: b, allow_private: true}}",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    "cohere": ("{{kind: cohere, base_url: '{up}/cohere', {key}}}", "command-a-reasoning-08-2025"),
    "ollama": ("{{kind: ollama, base_url: '{up}/ollama'}}", "qwen3"),
}
"""By family: its provider, and the upstream's name for the model that has the family's name."""
UPSTREAM_KEY = "sk-upstream-canary"
LIMITS = "limits: {global: off, per_tenant: off, per_user: off}\n"


class Stage:
    """`with Stage() as stage:`. asked: every request that an upstream got, as its family reads it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.heads: list[bytes] = []
        self.root = ""
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with ScriptedUpstream() as upstream:
            upstream.default(self._step)
            key = f"api_key: {UPSTREAM_KEY}, allow_private: true"
            rows = {name: row.format(up=upstream.base_url, key=key) for name, (row, _) in ROWS.items()}
            providers = "\n".join(f"{name}: {row}" for name, row in rows.items())
            models = "\n".join(
                f"{name}{refused}: {{targets: [{{provider: {name}, model: '{model}'}}], "
                "retry: {attempts: 1}, breaker: off}"
                for name, (_, model) in ROWS.items()
                for refused in ("", "-refused")
            )
            forbidden = "forbidden: {targets: [{provider: openai, model: gpt-5}]}"
            async with RunningGateway(
                upstream, providers=providers, models=f"{models}\n{forbidden}", extra=LIMITS
            ) as gateway:
                self.root = f"http://127.0.0.1:{gateway.port}"
                self._ready.set()
                await self._over.wait()

    async def _step(self, connection: UpstreamConnection) -> None:
        try:
            await self._answer(connection)
        except Exception as error:
            # What a family cannot read must fail the test, not hang it.
            text = json.dumps({"error": {"message": f"the fake failed: {error!r}"}}).encode()
            await connection.write(head_bytes(400, length=len(text)) + text)

    async def _answer(self, connection: UpstreamConnection) -> None:
        request = connection.upstream.requests[-1]
        name = request.target.split("/")[1]
        if request.target.endswith("/responses"):
            name = "responses"
        elif request.target.startswith("/ollama/v1/"):
            name = "ollama-v1"
        family = {**FAMILIES, **OTHERS}[name]
        asked = family.read(request.target, json.loads(request.body))
        self.asked.append(asked)
        self.heads.append(request.head)
        words = asked.texts[0].split()
        if words[0] == "error":
            await self._fail(connection, name, int(words[1]), context=words[-1] == "context")
        elif asked.stream:
            await connection.write(head_bytes(200, {"content-type": family.stream_type}))
            for frame in family.stream(request.target, reply(asked)):
                await connection.write(chunk_bytes(frame))
            await connection.write(b"0\r\n\r\n")
        else:
            body = json.dumps(family.whole(request.target, reply(asked))).encode()
            await connection.write(head_bytes(200, length=len(body)) + body)

    async def _fail(self, connection: UpstreamConnection, name: str, status: int, *, context: bool) -> None:
        if status == 529 and name != "anthropic":
            status = 503
        fields, body = {**FAMILIES, **OTHERS}[name].error(status, context)
        data = json.dumps(body).encode()
        await connection.write(head_bytes(status, fields, length=len(data)) + data)
