"""A gateway with routes, and which of them a request takes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream

MODELS = """
a: {targets: [{provider: up, model: a}], breaker: off, retry: {attempts: 1}}
b: {targets: [{provider: up, model: b}], breaker: off, retry: {attempts: 1}}
"""


def running(upstream: ScriptedUpstream, *routes: str, extra: str = "", **more: Any) -> RunningGateway:
    """With these routes, models a and b, which are so called upstream too, and keys with a label."""
    digests = {team: sha256(f"sk-{team}".encode()).hexdigest() for team in ("red", "blue")}
    keys = ", ".join(
        f"{{id: {team}, hash: 'sha256:{digest}', labels: {{team: {team}}}}}"
        for team, digest in digests.items()
    )
    rows = "routes:\n" + "".join(f"  - {route}\n" for route in routes)
    models = MODELS + more.pop("models", "")
    return RunningGateway(
        upstream, models=models, extra=f"  third: {{keys: [{keys}]}}\n{rows}{extra}", **more
    )


async def taken(gateway: RunningGateway, *, model: str = "echo", **how: Any) -> str | None:
    """The route in the record of one request that is answered."""
    before = len(gateway.records)
    answer = await gateway.ask(how.pop("body", chat(model=model)), **how)
    assert answer.status == 200, answer.body
    return (await gateway.settled(before + 1))[-1].route


async def refused(gateway: RunningGateway, *, model: str = "echo", **how: Any) -> tuple[int, str]:
    """Status and code of a request that is refused."""
    answer = await gateway.ask(chat(model=model), **how)
    return answer.status, answer.json["error"]["code"]
