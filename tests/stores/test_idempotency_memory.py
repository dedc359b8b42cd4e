from __future__ import annotations

import pytest

from llmgw.stores.idempotency_memory import MemoryIdempotency
from tests.contracts.idempotency import IdempotencyContract


class Stores:
    """One process has one store."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._store = MemoryIdempotency(lambda: self.now)

    def open(self) -> MemoryIdempotency:
        return self._store

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def count(self) -> int:
        return len(self._store._kept)


class TestMemoryIdempotency(IdempotencyContract):
    @pytest.fixture
    def stores(self) -> Stores:
        return Stores()
