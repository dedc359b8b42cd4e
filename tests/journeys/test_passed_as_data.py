"""What callers write is data: it arrives upstream as written, and nothing here acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, json_reply

ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "ok"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
OPENAI = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    row = f'claude: {{kind: anthropic, base_url: "{upstream.base_url}", api_key: k, allow_private: true}}'
    model = "claude: {targets: [{provider: claude, model: claude}]}"
    async with RunningGateway(upstream, providers=row, models=model) as running:
        yield running


@pytest.mark.parametrize("model", ["gpt-4o", "claude"])
async def test_e05_the_url_of_an_image_is_passed_on_and_not_fetched(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    """The one who is named in it is never called."""
    called: list[object] = []
    trap = await asyncio.start_server(lambda reader, writer: called.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}/cat.png"
    upstream.script(json_reply(ANTHROPIC if model == "claude" else OPENAI))
    content = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}}]

    answer = await gateway.ask({"model": model, "messages": [{"role": "user", "content": content}]})

    assert answer.status == 200
    sent = upstream.requests[0].json["messages"][0]["content"]
    if model == "claude":
        assert sent[1] == {"type": "image", "source": {"type": "url", "url": url}}
    else:
        assert sent == content
    assert called == []
    trap.close()


@pytest.mark.parametrize("model", ["gpt-4o", "claude"])
@pytest.mark.parametrize(
    "text",
    [
        "${env:HOME} ${file:/etc/passwd} os.environ/PATH",
        "{{ 7 * 7 }} {% for x in ().__class__.__bases__ %}{{ x }}{% endfor %}",
        "!!python/object/apply:os.system ['true']",
        "%(asctime)s {0.__class__} $(id) `id`",
    ],
)
async def test_e09_what_looks_like_code_is_text(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, text: str
) -> None:
    upstream.script(json_reply(ANTHROPIC if model == "claude" else OPENAI))

    answer = await gateway.ask(chat(text, model=model, metadata={"user_id": text}))

    assert answer.status == 200
    sent = upstream.requests[0].json["messages"][0]["content"]
    assert sent in (text, [{"type": "text", "text": text}])
