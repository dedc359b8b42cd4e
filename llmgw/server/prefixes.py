"""Paths that a route takes a prefix off, served as what remains."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from llmgw.engine.match import PATH, PREFIX
from llmgw.server.gateway import Gateway

_TAKEN = "llmgw.prefix"


class Prefixes:
    """Asks `app` again without the prefix; what has none goes to `nowhere`."""

    def __init__(self, gateway: Gateway, app: ASGIApp, nowhere: ASGIApp) -> None:
        self._gateway = gateway
        self._app = app
        self._nowhere = nowhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _TAKEN not in scope:
            raw: bytes = scope["raw_path"]
            for prefix in self._gateway.generation.prefixes:
                if raw.startswith(prefix + b"/"):
                    rest = raw[len(prefix) :]
                    path = scope["path"][len(prefix) :]
                    inner = {**scope, "path": path, "raw_path": rest, _TAKEN: prefix}
                    await self._app(inner, receive, send)
                    return
        await self._nowhere(scope, receive, send)


def path_fields(scope: Scope) -> Mapping[bytes, bytes]:
    """The fields by which routes know the path of a request whose endpoint does not tell it."""
    return {PATH: scope["raw_path"], PREFIX: scope.get(_TAKEN, b"")}
