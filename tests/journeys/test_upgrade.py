"""Two versions together: this program beside one with a newer schema, which it has never heard of."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from llmgw.stores.database import open_database
from llmgw.stores.migrate import SCRIPTS, migrate
from llmgw.stores.schema_version import HEAD, USABLE_FROM, schema_revision
from tests.fakes.postgres import postgres_server
from tests.fakes.process import GatewayProcess, key_for, llmgw, rows, within
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
storage: {{url: "{url}"}}
server: {{workers: 2, lame_duck: 0s, drain_timeout: 5s}}
providers: {{demo: {{kind: echo}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
limits: {{global: off, per_tenant: off, per_user: off}}
quotas: [{{per: tenant, requests: 100M, window: month, alert_at: [50%]}}]
"""
NEXT = f"""
revision = "9001"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None

def upgrade():
    from alembic import op
    op.execute("ALTER TABLE usage ADD COLUMN region TEXT")
    op.execute("ALTER TABLE keys ADD COLUMN note TEXT DEFAULT ''")
    op.execute("CREATE TABLE bodies (request_id TEXT PRIMARY KEY, body TEXT NOT NULL)")
    op.execute("CREATE INDEX usage_model_at ON usage (model, at_ns)")
    op.execute("DELETE FROM meta WHERE name = '{USABLE_FROM}'")
    op.execute("INSERT INTO meta VALUES ('{USABLE_FROM}', {int(HEAD)})")
"""
"""What the next version may do to the schema: add."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/llmgw.db"
        return
    with postgres_server().llmgw() as made:
        yield made


def upgrade(url: str, place: Path) -> None:
    """As the next version's `llmgw db migrate` does."""
    scripts = place / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "next.py").write_text(NEXT)
    migrate(url, scripts, "9001")
    assert schema_revision(url) == "9001"


def execute(url: str, statement: str) -> int:
    """The number that it gives."""
    database = open_database(url)
    try:
        return int(database.write(lambda connection: connection.execute(text(statement)).scalar() or 0))
    finally:
        database.dispose()


async def asked(port: int, key: str, times: int) -> list[int]:
    client = await RawClient.connect(port)
    statuses = []
    for _ in range(times):
        await client.send(request(chat(model="echo"), key=key))
        statuses.append((await client.read_answer()).status)
    await client.vanish()
    return statuses


async def test_l15_the_schema_is_upgraded_under_a_running_gateway(tmp_path: Path, url: str) -> None:
    """It goes on reading and writing, and so does one of the same version that starts afterwards."""
    (tmp_path / "llmgw.yaml").write_text(CONFIG.format(url=url))
    key = await asyncio.to_thread(key_for, "default", tmp_path)

    def recorded(count: int) -> bool:
        return execute(url, "SELECT count(*) FROM usage") == count

    with GatewayProcess(tmp_path) as gateway:
        assert await asked(gateway.port, key, 20) == [200] * 20
        upgrading = asyncio.create_task(asyncio.to_thread(upgrade, url, tmp_path))
        during = 0
        while not upgrading.done():
            assert await asked(gateway.port, key, 5) == [200] * 5
            during += 5
        await upgrading
        assert await asked(gateway.port, key, 20) == [200] * 20
        assert await asyncio.to_thread(within, 20, lambda: recorded(40 + during))
        verified = await asyncio.to_thread(llmgw, "usage", "verify", cwd=tmp_path)
        assert verified.returncode == 0, verified.stdout
    made = await asyncio.to_thread(key_for, "default", tmp_path)
    with GatewayProcess(tmp_path) as gateway:
        assert await asked(gateway.port, made, 10) == [200] * 10
        assert await asyncio.to_thread(within, 20, lambda: recorded(50 + during))
    (row,) = await asyncio.to_thread(rows, "usage", "report", cwd=tmp_path)
    migrated = await asyncio.to_thread(llmgw, "db", "migrate", cwd=tmp_path)

    assert row["requests"] == 50 + during
    assert migrated.returncode == 0, migrated.stderr
    assert schema_revision(url) == "9001"


async def test_m16_a_schema_that_says_no_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "llmgw.yaml").write_text(CONFIG.format(url=url))
    await asyncio.to_thread(key_for, "default", tmp_path)
    upgrade(url, tmp_path)
    execute(url, f"UPDATE meta SET value = {int(HEAD) + 1} WHERE name = '{USABLE_FROM}' RETURNING value")

    done = await asyncio.to_thread(llmgw, "serve", cwd=tmp_path)

    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "a newer llmgw's schema" in done.stderr
