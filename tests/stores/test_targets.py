from __future__ import annotations

import pytest

from llmgw.stores.targets import MemoryTargets
from tests.contracts.targets import TargetStatesContract


class TestMemoryTargets(TargetStatesContract):
    @pytest.fixture
    def states(self) -> MemoryTargets:
        return MemoryTargets()
