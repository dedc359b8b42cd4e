from __future__ import annotations

from tests.contracts.client import ClientContract


class TestDirectClient(ClientContract):
    path = "/v1/chat/completions"
