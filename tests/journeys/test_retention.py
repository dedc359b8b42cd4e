"""Old records go by themselves, as the file says, while the gateway serves."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from tests.contracts.records import settled
from tests.fakes.process import GatewayProcess, llmgw, rows, within

CONFIG = """
version: 1
providers: {{demo: {{kind: echo}}}}
retention: {{usage: {usage}}}
quotas: [{{per: tenant, requests: 100, window: week}}]
"""
DAY_NS = 86_400 * 10**9


def test_records_stay_as_long_as_the_file_says(tmp_path: Path) -> None:
    """A reload is enough, and a week that a quota needs is kept."""
    file = tmp_path / "llmgw.yaml"
    file.write_text(CONFIG.format(usage="off"))
    create_schema(f"sqlite:///{tmp_path}/llmgw.db")
    sink = open_sink(f"sqlite:///{tmp_path}/llmgw.db", durable=False)
    now = time.time_ns()
    sink.load([settled(age, tenant="default", at_ns=now - age * DAY_NS) for age in (0, 5, 20, 50, 500)])
    sink.close()

    def left() -> int:
        with closing(sqlite3.connect(tmp_path / "llmgw.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM usage").fetchone()[0])

    with GatewayProcess(tmp_path):
        assert left() == 5
        for usage, count in (("400d", 4), ("30d", 3), ("1d", 2)):
            file.write_text(CONFIG.format(usage=usage))
            assert llmgw("reload", cwd=tmp_path).returncode == 0
            assert within(10, lambda count=count: left() == count), usage  # type: ignore[misc]
        verified = llmgw("usage", "verify", cwd=tmp_path)
        (report,) = rows("usage", "report", cwd=tmp_path)

    assert verified.returncode == 0, verified.stdout
    assert report["requests"] == 2
