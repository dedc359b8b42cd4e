"""The admin listener: is it alive, is it ready, what does it measure, which version is it.

Only what is in `_ROUTES` answers; everything else is a flat error with a request id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmgw.core.errors import GatewayError, MethodNotAllowed, NotFound
from llmgw.core.ids import request_ids
from llmgw.dialects.failures import error_body


@dataclass(frozen=True, slots=True)
class OpsState:
    """What the listener tells.

    ready: whether requests are accepted, and if not, why.
    render_metrics: Prometheus text and its content type; None switches `/metrics` off, and so
        does `shows_metrics` while it says no.
    refresh: awaited before each scrape. workers: the generation that each worker serves.
    """

    ready: Callable[[], tuple[bool, str]]
    generation: Callable[[], str]
    render_metrics: Callable[[], tuple[bytes, str]] | None
    version: str
    refresh: Callable[[], Awaitable[None]] | None = None
    shows_metrics: Callable[[], bool] = lambda: True
    workers: Callable[[], list[str]] | None = None


def build_ops_app(state: OpsState) -> Starlette:
    """The app of the admin listener."""
    app = Starlette()
    app.router.default = _Ops(state)
    return app


class _Ops:
    def __init__(self, state: OpsState) -> None:
        self._state = state
        self._next_id = request_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = self._next_id()
        answer = _ROUTES.get(scope["path"])
        try:
            if answer is None or (answer is _metrics and not self._measures()):
                raise NotFound("there is nothing at this path")
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("this path is only read", headers=(("allow", "GET, HEAD"),))
            if answer is _metrics:
                if self._state.refresh is not None:
                    await self._state.refresh()
                # Many label sets take milliseconds to write, which every stream would wait.
                response = await run_in_threadpool(answer, self._state)
            else:
                response = answer(self._state)
        except GatewayError as error:
            response = Response(
                error_body(error, None, request_id), error.status, media_type="application/json"
            )
            response.headers.update(dict(error.headers))
        response.headers["x-request-id"] = request_id
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    def _measures(self) -> bool:
        return self._state.render_metrics is not None and self._state.shows_metrics()


def _health(state: OpsState) -> Response:
    return _json({"status": "ok"})


def _ready(state: OpsState) -> Response:
    ready, reason = state.ready()
    body: dict[str, object] = {"ready": ready, "generation": state.generation()}
    if state.workers is not None:
        body["workers"] = Counter(state.workers())
    return _json(body if ready else {**body, "reason": reason}, 200 if ready else 503)


def _metrics(state: OpsState) -> Response:
    assert state.render_metrics is not None
    body, content_type = state.render_metrics()
    return Response(body, headers={"content-type": content_type})


def _version(state: OpsState) -> Response:
    return _json({"version": state.version})


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


_ROUTES: dict[str, Callable[[OpsState], Response]] = {
    "/healthz": _health,
    "/readyz": _ready,
    "/metrics": _metrics,
    "/version": _version,
}
