from __future__ import annotations

import asyncio

from llmgw.config.providers import Echo as Settings
from llmgw.core.errors import UpstreamTimeout
from llmgw.ports.transport import Call, Timeouts
from llmgw.providers.echo import Echo
from tests.providers.conftest import Asker, Heard

CHAT = "/v1/chat/completions"


def stream(text: str) -> dict[str, object]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], "stream": True}


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_cancelled_call_is_silent(ask: Asker) -> None:
    call, heard = ask.send(CHAT, stream("[[echo tokens=1000]]"))
    await turns()
    seen = len(heard.chunks)

    call.cancel()
    call.cancel()
    await turns()

    assert 0 < seen == len(heard.chunks)
    assert not heard.over.is_set()


async def test_cancelled_from_its_own_chunk(ask: Asker) -> None:
    heard = Heard()
    calls: list[Call] = []
    heard.at_chunk = lambda count: calls[0].cancel() if count == 2 else None
    calls.append(ask.send(CHAT, stream("[[echo tokens=1000]]"), heard)[0])

    await turns()

    assert len(heard.chunks) == 2
    assert not heard.over.is_set()


async def test_paused_call_waits(ask: Asker) -> None:
    """At most the chunk that was under way comes; nothing is lost."""
    call, heard = ask.send(CHAT, stream("one two three"))
    heard.at_chunk = lambda count: call.pause() if count == 2 else None

    await turns()
    assert len(heard.chunks) == 2

    call.resume()
    await asyncio.wait_for(heard.over.wait(), 5)
    assert heard.ended
    assert heard.data[-1] == b"[DONE]"


async def test_pace() -> None:
    """Tokens come one by one against the clock."""
    ask = Asker(Echo("configured-name", Settings(kind="echo", first_token="20ms", tokens_per_second=200)))
    loop = asyncio.get_running_loop()
    began = loop.time()

    heard = await ask(CHAT, stream("one two three four"))

    assert heard.ended
    # 7 events: role, four tokens, finish, end
    assert loop.time() - began >= 0.02 + 6 * 0.005


async def test_slower_than_the_idle_timeout() -> None:
    ask = Asker(Echo("configured-name", Settings(kind="echo", tokens_per_second=1)), Timeouts(idle_s=0.02))

    heard = await ask(CHAT, stream("one two"))

    assert isinstance(heard.error, UpstreamTimeout)
    assert heard.error.phase == "body"


async def test_first_token_later_than_allowed() -> None:
    ask = Asker(Echo("configured-name", Settings(kind="echo", first_token="1h")), Timeouts(first_byte_s=0.02))

    heard = await ask(CHAT, stream("one"))

    assert isinstance(heard.error, UpstreamTimeout)
    assert heard.error.phase == "first byte"
    assert heard.status == 0


async def test_total_time(ask: Asker) -> None:
    ask.timeouts = Timeouts(total_s=0.05)

    heard = await ask(CHAT, stream("[[echo tokens=100 pace=100]]"))

    assert 0 < len(heard.chunks) < 100
    assert isinstance(heard.error, UpstreamTimeout)
