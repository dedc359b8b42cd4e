from __future__ import annotations

import pytest

from llmgw.stores.counters import MemoryCounters
from tests.contracts.counters import CountersContract, SteadyHand


class TestMemoryCounters(CountersContract):
    @pytest.fixture
    def counters(self, clock: SteadyHand) -> MemoryCounters:
        return MemoryCounters(clock)
