from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from llmgw.core.errors import Unavailable
from llmgw.stores import postgres as module
from llmgw.stores.asker import PostgresAsker
from llmgw.stores.keys import SqlKeyStore
from llmgw.stores.postgres import PostgresDatabase, PostgresEngine, check_server
from llmgw.stores.sqlite import DatabaseProblem
from tests.fakes.postgres import ESCAPED, PASSWORD, PostgresServer
from tests.fakes.wire import Wire


def one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


def problem(url: str) -> str:
    with pytest.raises(DatabaseProblem) as caught:
        check_server(url)
    said = str(caught.value)
    assert "\n" not in said
    assert PASSWORD not in said
    assert ESCAPED not in said
    return said


def test_a_server_that_can_be_used_passes(postgres_url: str) -> None:
    check_server(postgres_url)
    check_server(postgres_url.replace("postgresql://", "postgresql+asyncpg://") + "?sslmode=disable")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((f":{ESCAPED}@", ":wrong@"), "password authentication failed.*check the user and the password"),
        (("llmgw:", "nobody:"), "password authentication failed.*check the user"),
        (("127.0.0.1", "no-such-host.invalid"), "check the host in storage.url"),
        (("/t_", "/not_t_"), "does not exist; make it with `createdb`"),
    ],
)
def test_m06_each_way_to_be_wrong_is_one_line(postgres_url: str, change: tuple[str, str], said: str) -> None:
    assert re.search(said, problem(postgres_url.replace(*change)))


def test_m06_nobody_listens(postgres_url: str) -> None:
    with Wire(1) as wire:
        port = wire.port
    assert "is PostgreSQL running there?" in problem(f"postgresql://a:b@127.0.0.1:{port}/x")


def test_m06_a_standby_is_named(postgres: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.execute("postgres", f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    assert "takes no writes" in problem(postgres_url)


def test_m06_no_connection_is_left(postgres: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.execute(
        "postgres",
        f"DROP ROLE IF EXISTS {name}",
        f"CREATE ROLE {name} LOGIN PASSWORD 'x' CONNECTION LIMIT 0",
    )

    said = problem(postgres_url.replace(f"llmgw:{ESCAPED}", f"{name}:x"))

    assert "too many connections" in said
    assert "max_connections" in said
    postgres.execute("postgres", f"DROP ROLE {name}")


def test_another_encoding_is_refused(postgres: PostgresServer) -> None:
    name = "t_latin"
    postgres.drop(name)
    postgres.execute("postgres", f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    assert "encoded in LATIN1" in problem(postgres.url(name))
    postgres.drop(name)


def test_an_older_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST_SERVER", 990_000)

    assert "needs 99 or newer" in problem(postgres_url)


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "asyncpg", None)

    with pytest.raises(DatabaseProblem, match=r"llmgw\[postgres\]"):
        PostgresDatabase("postgresql://h/d")


@pytest.fixture
def wire(postgres: PostgresServer) -> Iterator[Wire]:
    with Wire(postgres.port) as made:
        yield made


def through(wire: Wire, url: str) -> str:
    return f"{url.partition('@')[0]}@127.0.0.1:{wire.port}/{url.rpartition('/')[2]}"


async def test_m06_a_silent_server_keeps_nobody_waiting(wire: Wire, postgres_url: str) -> None:
    """Nothing comes back, nothing says so: the ask ends in time, and so does the close."""
    engine = PostgresEngine(through(wire, postgres_url), within_s=0.5)
    assert await engine.run(one) == 1
    wire.silent = True
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await engine.run(one)
    assert "no answer within 0.5 s" in str(caught.value.detail)
    with pytest.raises(Unavailable):
        await engine.run(one)
    assert time.monotonic() - began < 10

    wire.silent = False
    assert await engine.run(one) == 1
    await engine.close()


async def test_m06_it_is_found_again_after_every_outage(wire: Wire, postgres_url: str) -> None:
    engine = PostgresEngine(through(wire, postgres_url))
    assert await engine.run(one) == 1
    wire.close()
    with pytest.raises(Unavailable):
        await engine.run(one)
    wire.open()
    assert await engine.run(one) == 1
    await engine.close()


async def test_m06_sessions_that_the_server_ends_are_made_again(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """As a fail-over or `pg_terminate_backend` does."""
    engine = PostgresEngine(postgres_url)
    await engine.run(one)
    name = postgres_url.rpartition("/")[2]
    postgres.execute(
        "postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )

    assert await engine.run(one) == 1
    await engine.close()


async def test_work_that_raises_leaves_nothing(postgres: PostgresServer, postgres_url: str) -> None:
    engine = PostgresEngine(postgres_url)

    def half(connection: Connection) -> None:
        connection.execute(text("UPDATE meta SET value = 7"))
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        await engine.run(half)
    await engine.close()

    assert postgres.fetch(postgres_url.rpartition("/")[2], "SELECT value FROM meta") == [(0,)]


async def test_an_ask_that_is_cancelled_leaves_a_usable_connection(postgres_url: str) -> None:
    engine = PostgresEngine(postgres_url)
    asking = asyncio.create_task(
        engine.run(lambda connection: connection.execute(text("SELECT pg_sleep(5)")))
    )
    await asyncio.sleep(0.2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert await engine.run(one) == 1
    await engine.close()


async def test_keys_through_an_outage_and_back(wire: Wire, postgres_url: str) -> None:
    store = SqlKeyStore(through(wire, postgres_url))
    assert await store.load() == (0, [])
    wire.close()
    with pytest.raises(Unavailable) as caught:
        await store.changed_seq()
    assert caught.value.code == "store_unavailable"
    wire.open()
    assert await store.changed_seq() == 0
    await store.close()


async def test_an_asker_of_an_empty_database_is_unavailable(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        asker = PostgresAsker(url)
        with pytest.raises(Unavailable) as caught:
            await asker.rows("SELECT value FROM meta", {})
        assert 'relation "meta" does not exist' in str(caught.value.detail)
        await asker.close()


def test_a_server_that_crashes_and_comes_back() -> None:
    """Its own server, because it is killed."""
    server = PostgresServer()
    server.start()
    try:
        database = PostgresDatabase(server.url("postgres"))
        assert database.read(one) == 1
        server.stop(signal.SIGQUIT)
        with pytest.raises(Unavailable):
            database.read(one)
        server.start()
        assert database.read(one) == 1
        database.dispose()
    finally:
        server.remove()
