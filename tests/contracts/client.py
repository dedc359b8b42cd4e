"""What every binding of `ports.client.Client` does, over a real socket.

A subclass says by which path its binding is reached.
"""

from __future__ import annotations

import asyncio
import json

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, chunk, cut, end, event, hang, headers, json_reply, sse_head

ANSWER = {"id": "x", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def delta(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


class ClientContract:
    path: str

    async def opened(self, gateway: RunningGateway, **more: object) -> RawClient:
        return await gateway.open(chat(**more), path=self.path)

    async def test_a_whole_answer_and_the_next_on_the_same_connection(self) -> None:
        async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
            upstream.default(json_reply(ANSWER))
            client = await self.opened(gateway)
            first = await client.read_answer()
            await client.send(request(chat(), path=self.path))
            second = await client.read_answer()

            for answer in (first, second):
                assert (answer.status, answer.json) == (200, ANSWER)
                assert answer.headers["content-type"] == "application/json"
                assert "transfer-encoding" not in answer.headers
                assert answer.headers["date"]
                assert "server" not in answer.headers
            assert len(await gateway.settled(2)) == 2

    async def test_a_stream_comes_event_by_event(self) -> None:
        """Each event is there before the next one is sent."""
        async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
            gates = [asyncio.Event() for _ in range(3)]

            def gate(number: int) -> object:
                async def step(connection: object) -> None:
                    await gates[number].wait()

                return step

            upstream.script(
                sse_head(),
                event(delta("0")),
                gate(0),  # type: ignore[arg-type]
                event(delta("1")),
                gate(1),  # type: ignore[arg-type]
                event("[DONE]"),
                end(),
            )
            client = await self.opened(gateway, stream=True)
            head = await client.read_head()
            assert head.headers["content-type"] == "text/event-stream"
            for number in (0, 1):
                piece = await client.read_chunk()
                assert json.loads(piece[6:]) == delta(str(number))
                gates[number].set()
            assert await client.read_chunk() == b"data: [DONE]\n\n"
            assert await client.read_chunk() == b""
            await gateway.settled()

    async def test_a_client_that_leaves_is_noticed(self) -> None:
        async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
            upstream.script(sse_head(), event(delta("0")), hang())
            client = await self.opened(gateway, stream=True)
            await client.read_head()
            await client.vanish()

            assert await upstream.closed(within_s=1)
            (record,) = await gateway.settled()
            assert record.outcome == "client_gone"

    async def test_a_client_that_does_not_read_pauses_the_upstream(self) -> None:
        async with (
            ScriptedUpstream() as upstream,
            RunningGateway(upstream, timeouts="{total: 60s}") as gateway,
        ):
            pieces = [event(delta("x" * 64_000)) for _ in range(600)]
            last = {"choices": [], "usage": ANSWER["usage"]}
            upstream.script(sse_head(), *pieces, event(last), event("[DONE]"), end())
            client = await gateway.connect(receive_buffer=65536)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request(chat(stream=True), path=self.path))
            await upstream.received(1)
            sent = -1
            while sent != (sent := upstream.connections[0].sent):
                await asyncio.sleep(0.2)
            assert 0 < sent < 24_000_000

            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            answer = await client.read_answer()
            assert answer.body.endswith(b"data: [DONE]\n\n")
            assert len(answer.body) > 38_000_000
            await gateway.settled()

    async def test_a_body_that_is_no_stream_and_breaks_off_is_cut(self) -> None:
        """Audio and the like cannot carry an error: the connection is cut, so it cannot look whole."""
        async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
            upstream.script(headers(200, {"content-type": "audio/mpeg"}), chunk(b"abc"), cut())
            client = await gateway.open(
                {"model": "gpt-4o", "input": "hi"}, path=self.path.replace("chat/completions", "audio/speech")
            )
            head = await client.read_head()
            assert head.headers["content-type"] == "audio/mpeg"
            assert await client.read_chunk() == b"abc"
            try:
                assert await client.read_chunk() != b""
            except EOFError:
                pass
            (record,) = await gateway.settled()
            assert record.outcome == "upstream_truncated"

    async def test_a_body_over_the_limit(self) -> None:
        async with ScriptedUpstream() as upstream, RunningGateway(upstream, max_body=1000) as gateway:
            client = await self.opened(gateway, text="x" * 2000)

            answer = await client.read_answer()

            assert answer.status == 413
            assert answer.json["error"]["code"] == "request_too_large"
