"""Routes as clients meet them."""

from __future__ import annotations

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream

ROUTES = """
routes:
  - {name: fast, match: {path: /fast/v1/**}, strip_prefix: /fast, model: echo}
  - {name: theirs, match: {headers: {x-team: {prefix: re}}}, tenant: rival, model: echo}
"""


async def test_by_path_and_header_and_nowhere() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=ROUTES) as gateway:
        fast = await gateway.ask(chat(), path="/fast/v1/chat/completions")
        refused = await gateway.ask(chat(), headers={"x-team": "research"})
        taken = await gateway.ask(chat(), key="sk-rival", headers={"x-team": "research"})
        nowhere = await gateway.ask(chat(), path="/slow/v1/chat/completions")

        assert (fast.status, fast.headers["x-llmgw-model"]) == (200, "echo")
        assert refused.status == 403
        assert (taken.status, taken.headers["x-llmgw-model"]) == (200, "echo")
        assert nowhere.status == 404
