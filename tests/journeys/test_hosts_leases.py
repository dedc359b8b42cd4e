"""`storage.redis_mode: lease`: workers of two hosts that hold permits in advance."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.hosts import CONFIG, two_hosts

LIMIT = 600
LEFT = LIMIT // 50


async def test_f03_a_limit_that_two_hosts_race_for_with_permits_in_advance(tmp_path: Path) -> None:
    """Never more than the limit, 2 % of it at most are left; a quota is exact all the same."""
    config = CONFIG.replace('redis: "{redis}"', 'redis: "{redis}", redis_mode: lease')
    with two_hosts(tmp_path, workers=2, limit=LIMIT, config=config, wired=False) as hosts:
        for tenant in ("rated", "sliding"):
            found = await hosts.race(tenant, 2 * LIMIT)

            assert set(found) == {200, 429}
            assert LIMIT - LEFT <= found[200] <= LIMIT

        assert await hosts.race("bought", 2 * LIMIT) == {200: LIMIT, 429: LIMIT}
