from __future__ import annotations

import pytest

from llmgw.stores.peers import MemoryPeers
from tests.contracts.peers import PeersContract


@pytest.fixture
def peers() -> MemoryPeers:
    return MemoryPeers()


class TestMemoryPeers(PeersContract):
    pass
