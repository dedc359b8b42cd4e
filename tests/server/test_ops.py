from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.types import Message

from llmgw.server.ops import OpsState, build_ops_app

STATE = OpsState(
    ready=lambda: (True, ""),
    generation=lambda: "g1",
    render_metrics=lambda: (b"llmgw_up 1\n", "text/plain; version=1.0.0"),
    version="1.2.3",
)


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def get(
    state: OpsState, path: str, method: str = "GET", headers: Sequence[tuple[bytes, bytes]] = ()
) -> Answer:
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message["body"]

    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await build_ops_app(state)(scope, receive, send)
    assert answer.headers["x-request-id"].startswith("req_")
    assert "server" not in answer.headers
    return answer


async def test_alive() -> None:
    """Alive is not ready: a process that drains is alive."""
    answer = await get(replace(STATE, ready=lambda: (False, "draining")), "/healthz")

    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_ready() -> None:
    answer = await get(STATE, "/readyz")

    assert (answer.status, answer.json) == (200, {"ready": True, "generation": "g1"})


async def test_not_ready_says_why() -> None:
    answer = await get(replace(STATE, ready=lambda: (False, "draining")), "/readyz")

    assert answer.status == 503
    assert answer.json == {"ready": False, "generation": "g1", "reason": "draining"}


async def test_version() -> None:
    assert (await get(STATE, "/version")).json == {"version": "1.2.3"}


async def test_metrics_are_written_off_the_loop() -> None:
    """A long scrape must not hold up the streams."""
    threads: list[int] = []

    def render() -> tuple[bytes, str]:
        threads.append(threading.get_ident())
        return b"x 1\n", "text/plain; version=1.0.0"

    answer = await get(replace(STATE, render_metrics=render), "/metrics")

    assert (answer.status, answer.body) == (200, b"x 1\n")
    assert answer.headers["content-type"] == "text/plain; version=1.0.0"
    assert threads != [threading.get_ident()]


async def test_metrics_are_refreshed_before_they_are_written() -> None:
    """And only they: a probe must not wait for a worker."""
    order: list[str] = []

    async def refresh() -> None:
        order.append("refreshed")

    def render() -> tuple[bytes, str]:
        order.append("written")
        return b"x 1\n", "text/plain; version=1.0.0"

    state = replace(STATE, render_metrics=render, refresh=refresh)
    for path in ("/healthz", "/readyz", "/metrics", "/version"):
        await get(state, path)

    assert order == ["refreshed", "written"]


async def test_metrics_switched_off() -> None:
    assert (await get(replace(STATE, render_metrics=None), "/metrics")).status == 404


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/debug", "/metrics/", "//readyz", "/healthz/../x"]
)
async def test_nothing_else_answers(path: str) -> None:
    """N18: flat error, no hint of what there is."""
    answer = await get(STATE, path)

    assert answer.status == 404
    assert answer.json == {
        "error": "Not Found",
        "message": "there is nothing at this path",
        "code": "not_found",
        "request_id": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/version"])
async def test_paths_are_only_read(path: str) -> None:
    answer = await get(STATE, path, "POST")

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json["code"] == "method_not_allowed"


async def test_request_ids_differ() -> None:
    first, second = await get(STATE, "/healthz"), await get(STATE, "/nothing")

    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_metrics_that_a_reload_switches_off_and_on_again() -> None:
    shown = [False, True]
    state = replace(STATE, shows_metrics=lambda: shown.pop(0))

    assert (await get(state, "/metrics")).status == 404
    assert (await get(state, "/metrics")).status == 200


async def test_l07_how_many_workers_serve_which_generation() -> None:
    state = replace(STATE, workers=lambda: ["g1", "g0", "g1"])

    assert (await get(state, "/readyz")).json["workers"] == {"g1": 2, "g0": 1}


@pytest.mark.parametrize("origin", [b"null", b"https://evil.test"])
@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_c12_no_other_site_may_read(path: str, method: str, origin: bytes) -> None:
    asked = [(b"origin", origin), (b"access-control-request-method", b"GET")]
    answer = await get(STATE, path, method, asked)

    assert not [name for name in answer.headers if name.startswith("access-control-")]
