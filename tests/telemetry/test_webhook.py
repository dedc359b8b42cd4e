from __future__ import annotations

import pytest

from llmgw.telemetry.webhook import Webhook, chat_text
from tests.fakes.upstream import ScriptedUpstream, delay, json_reply


class Naps:
    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


async def test_it_is_tried_again_until_it_is_taken() -> None:
    async with ScriptedUpstream() as hook:
        hook.script(json_reply({}, 500))
        hook.default(json_reply({}))
        naps = Naps()
        webhook = Webhook(f"{hook.base_url}/s3cret", sleep=naps)
        assert await webhook.deliver(b"{}") is None
        assert len(hook.requests) == 2
        assert naps.taken == [1.0]
        await webhook.close()


async def test_what_no_try_delivers_says_why() -> None:
    async with ScriptedUpstream() as hook:
        hook.default(json_reply({}, 404))
        webhook = Webhook(f"{hook.base_url}/s3cret", sleep=Naps())
        assert await webhook.deliver(b"{}") == "status 404"
        assert len(hook.requests) == 3
        hook.default(delay(5.0), json_reply({}))
        slow = Webhook(f"{hook.base_url}/s3cret", sleep=Naps(), timeout_s=0.05)
        assert await slow.deliver(b"{}") == "no answer within 0.05 s"
        await webhook.close()
        await slow.close()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hooks.test:8/T0/B0/s3cret", "https://hooks.test:8"),
        ("https://u:p@hooks.test/x", "https://hooks.test"),
    ],
)
def test_only_the_origin_is_shown(url: str, origin: str) -> None:
    assert Webhook(url).origin == origin


def test_text_for_chat_services_has_no_markup() -> None:
    assert chat_text("a\n<!channel> & b") == "a &lt;!channel&gt; &amp; b"
