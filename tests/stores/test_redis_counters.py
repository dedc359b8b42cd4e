from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmgw.core.claim import BALANCE
from tests.contracts.counters import END, REQUEST, SECOND, CountersContract, SteadyHand, claim
from tests.fakes.redis import RedisServer, redis_server
from tests.fakes.shared_counters import SharedStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class TestRedisCounters(CountersContract):
    @pytest.fixture
    def counters(self, server: RedisServer, clock: SteadyHand) -> Iterator[SharedStore]:
        store = SharedStore(server, clock)
        yield store
        store.close()

    def test_what_is_under_way_is_not_forgotten(self, counters: SharedStore, clock: SteadyHand) -> None:
        """A request may outlive its period by an hour."""
        hold = claim(BALANCE, 50)
        verdict = counters.acquire([hold], REQUEST)
        clock.now = END + 3_500 * SECOND
        counters.sweep()
        assert counters.counted() == 1

        counters.settle([(hold, 20)], verdict)
        assert counters.balance(hold.key) == (20, 0)
        clock.now = END + 3_700 * SECOND
        counters.sweep()

        assert counters.counted() == 0
