"""What is promised of a database is shown on each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgw.stores.schema_version import create_schema
from tests.fakes.postgres import PostgresServer, postgres_server


@pytest.fixture
def postgres() -> PostgresServer:
    """The server of this process; `stop`ping it is for tests with one of their own."""
    return postgres_server()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A database with the current schema."""
    with postgres.llmgw() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind in turn, with the current schema."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    create_schema(f"sqlite:///{tmp_path}/u.db")
    return f"sqlite:///{tmp_path}/u.db"
