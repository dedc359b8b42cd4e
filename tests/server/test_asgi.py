from __future__ import annotations

from tests.contracts.client import ClientContract


class TestAsgiClient(ClientContract):
    """A query is not in the table of hot paths, so the request comes by Starlette."""

    path = "/v1/chat/completions?by=asgi"
