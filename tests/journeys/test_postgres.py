"""The program on PostgreSQL: outages of it, and kills of the gateway."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.kills import CONFIG as KILLED
from tests.fakes.kills import check, kill_often
from tests.fakes.postgres import ESCAPED, PASSWORD, USER, PostgresServer, postgres_server
from tests.fakes.process import GatewayProcess, llmgw, rows
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.wire import Wire
from tests.journeys.test_balances import workers_of

CONFIG = """
version: 1
storage: {{url: "postgresql://{user}:${{env:PGPASS}}@127.0.0.1:{port}/{name}"}}
server: {{workers: {workers}, lame_duck: 0s, drain_timeout: 5s}}
providers: {{demo: {{kind: echo}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
limits: {{global: off, per_tenant: off, per_user: off}}
quotas: [{{per: tenant, requests: 100M, window: month}}]
auth: {{stale_grace: {grace}}}
tenants:
  default: {{}}
"""
KILLS = 20


@pytest.fixture
def server() -> PostgresServer:
    return postgres_server()


@pytest.fixture
def name(server: PostgresServer) -> Iterator[str]:
    with server.llmgw() as url:
        yield url.rpartition("/")[2]


@pytest.fixture
def wire(server: PostgresServer) -> Iterator[Wire]:
    with Wire(server.port) as made:
        yield made


@pytest.fixture
def key(tmp_path: Path, name: str, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PGPASS", PASSWORD)
    write(tmp_path, name, wire)
    return str(rows("keys", "create", "--user", "alice", cwd=tmp_path)["key"])


def write(place: Path, name: str, wire: Wire, *, workers: int = 1, grace: str = "5m") -> None:
    text = CONFIG.format(user=USER, port=wire.port, name=name, workers=workers, grace=grace)
    (place / "llmgw.yaml").write_text(text)


async def ask(port: int, key: str, times: int = 1) -> tuple[list[int], float]:
    """Statuses, and the longest that one took."""
    client = await RawClient.connect(port)
    statuses, slowest = [], 0.0
    try:
        for _ in range(times):
            began = time.monotonic()
            await client.send(request(chat(model="echo"), key=key))
            statuses.append((await client.read_answer()).status)
            slowest = max(slowest, time.monotonic() - began)
    finally:
        client.writer.close()
    return statuses, slowest


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def recorded(server: PostgresServer, name: str) -> int:
    return int(server.fetch(name, "SELECT count(*) FROM usage")[0][0])


def test_m06_d19_g11_postgresql_goes_away_and_comes_back(
    tmp_path: Path, key: str, server: PostgresServer, name: str, wire: Wire
) -> None:
    """Two workers serve on, the known key works, an unknown one hears 503; nothing is lost or doubled."""
    write(tmp_path, name, wire, workers=2)
    with GatewayProcess(tmp_path) as gateway:
        statuses, _ = asyncio.run(ask(gateway.port, key, 50))
        assert set(statuses) == {200}
        assert asyncio.run(ask(gateway.port, "sk-unknown"))[0] == [401]

        wire.close()
        time.sleep(2.5)
        during, slowest = asyncio.run(ask(gateway.port, key, 200))
        unknown, _ = asyncio.run(ask(gateway.port, "sk-unknown", 4))
        refused = llmgw("keys", "create", cwd=tmp_path)
        report = llmgw("usage", "report", cwd=tmp_path)
        journal = sum(path.stat().st_size for path in (tmp_path / ".llmgw" / "journal").glob("journal-*"))
        wire.open()
        back = within(30, lambda: recorded(server, name) == 250)
        known = within(10, lambda: asyncio.run(ask(gateway.port, "sk-unknown"))[0] == [401])
        verified = llmgw("usage", "verify", cwd=tmp_path)

    assert set(during) == {200}
    assert slowest < 2
    assert set(unknown) == {503}
    assert journal > 0
    for done in (refused, report):
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "is PostgreSQL running there?" in done.stderr
        assert PASSWORD not in done.stderr
    assert back
    assert known
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert recorded(server, name) == 250
    assert PASSWORD not in gateway.err.read_text() + gateway.out.read_text()


@pytest.mark.parametrize("fault", ["silent", "slow", "read-only", "no connections"])
def test_m06_requests_do_not_wait_for_a_server_that_is(
    fault: str, tmp_path: Path, key: str, server: PostgresServer, name: str, wire: Wire
) -> None:
    """Whatever is the matter with it, requests are served; what they used is there afterwards."""
    with GatewayProcess(tmp_path) as gateway:
        assert asyncio.run(ask(gateway.port, key, 5))[0] == [200] * 5
        if fault == "silent":
            wire.silent = True
        elif fault == "slow":
            wire.delay_s = 1.0
        elif fault == "read-only":
            server.execute("postgres", f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            end_sessions(server, name)
        else:
            server.execute("postgres", f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            end_sessions(server, name)
        time.sleep(0.5)
        statuses, slowest = asyncio.run(ask(gateway.port, key, 100))
        wire.silent, wire.delay_s = False, 0.0
        server.execute(
            "postgres",
            f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
        )
        if fault == "read-only":
            end_sessions(server, name)
        back = within(40, lambda: recorded(server, name) == 105)

    assert set(statuses) == {200}
    assert slowest < 2
    assert back, gateway.err.read_text()
    assert recorded(server, name) == 105


def end_sessions(server: PostgresServer, name: str) -> None:
    server.execute(
        "postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )


def test_d19_after_the_grace_issued_keys_wait_for_the_database(
    tmp_path: Path, key: str, name: str, wire: Wire
) -> None:
    """503, not 401; and they work again when it is back."""
    write(tmp_path, name, wire, grace="2s")
    with GatewayProcess(tmp_path) as gateway:
        assert asyncio.run(ask(gateway.port, key))[0] == [200]
        wire.close()
        seen: Counter[int] = Counter()

        def ended() -> bool:
            (status,) = asyncio.run(ask(gateway.port, key))[0]
            seen[status] += 1
            return status == 503

        assert within(20, ended)
        wire.open()
        assert within(20, lambda: asyncio.run(ask(gateway.port, key))[0] == [200])

    assert set(seen) == {200, 503}


def test_d03_a_revoked_key_ends_on_every_worker_within_a_second(
    tmp_path: Path, key: str, name: str, wire: Wire
) -> None:
    write(tmp_path, name, wire, workers=2)
    with GatewayProcess(tmp_path) as gateway:
        assert set(asyncio.run(ask(gateway.port, key, 10))[0]) == {200}
        (shown,) = rows("keys", "list", cwd=tmp_path)
        assert llmgw("keys", "revoke", shown["id"], cwd=tmp_path).returncode == 0
        time.sleep(1)

        for _ in range(8):
            assert asyncio.run(ask(gateway.port, key))[0] == [401]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("${env:PGPASS}", "wrong"), "check the user and the password"),
        (lambda text: text.replace("/t_", "/no_t_"), "make it with `createdb`"),
        (lambda text: re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", text), "is PostgreSQL running there?"),
    ],
)
def test_a_start_without_the_database_is_one_line_and_exit_1(
    tmp_path: Path, key: str, change: Callable[[str], str], said: str
) -> None:
    path = tmp_path / "llmgw.yaml"
    path.write_text(change(path.read_text()))

    for command in (["serve"], ["db", "status"], ["db", "migrate"], ["usage", "report"]):
        done = llmgw(*command, cwd=tmp_path)

        assert done.returncode == 1, done.stdout
        assert said in done.stderr
        assert [line.startswith("error: ") for line in done.stderr.splitlines()] == [True]
        assert PASSWORD not in done.stderr
        assert ESCAPED not in done.stderr


def test_m17_an_embedded_installation_moves_to_postgresql(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes on working, and balances and reports are what they were."""
    monkeypatch.setenv("PGPASS", PASSWORD)
    config = KILLED.format(url="sqlite:///llmgw.db")
    (tmp_path / "llmgw.yaml").write_text(config)
    key = str(rows("keys", "create", "--user", "alice", cwd=tmp_path)["key"])
    with server.database() as url:
        to = f"postgresql://{USER}:${{env:PGPASS}}@127.0.0.1:{server.port}/{url.rpartition('/')[2]}"
        with GatewayProcess(tmp_path) as gateway:
            assert set(asyncio.run(ask(gateway.port, key, 20))[0]) == {200}
            running = llmgw("db", "copy", "--to", to, cwd=tmp_path)
        before = rows("usage", "report", "--by", "user,model", cwd=tmp_path)
        tried = llmgw("db", "copy", "--to", to, "--dry-run", cwd=tmp_path)
        done = llmgw("db", "copy", "--to", to, cwd=tmp_path)
        again = llmgw("db", "copy", "--to", to, cwd=tmp_path)
        (tmp_path / "llmgw.yaml").write_text(KILLED.format(url=to))
        with GatewayProcess(tmp_path) as gateway:
            assert asyncio.run(ask(gateway.port, key))[0] == [200]
            quotas = rows("quota", "show", cwd=tmp_path)
            verified = llmgw("usage", "verify", cwd=tmp_path)
        after = rows("usage", "report", "--by", "user,model", cwd=tmp_path)

    assert running.returncode == 1
    assert "stop it first" in running.stderr
    assert "would copy 1 keys, 20 records" in tried.stdout
    assert done.returncode == 0, done.stderr
    assert "the same on both sides" in done.stdout
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    assert (before[0]["requests"], after[0]["requests"]) == (20, 21)
    assert quotas[0]["used"] == 21
    assert verified.returncode == 0


def test_g08_kill_9_under_load(tmp_path: Path, server: PostgresServer, name: str) -> None:
    """One record for each dispatched request, none lost, none twice; in-flight ones soon settled."""
    seed = random.randrange(10**6)
    (tmp_path / "llmgw.yaml").write_text(KILLED.format(url=server.url(name)))
    key = str(rows("keys", "create", cwd=tmp_path)["key"])

    found = kill_often(tmp_path, key, KILLS, seed)

    assert check(found, lambda statement: server.fetch(name, statement)) > 0, f"seed {seed}"
    assert len(found.answered) > KILLS
    assert found.slowest_s < 10


def test_g08_a_worker_is_killed_while_postgresql_is_away(
    tmp_path: Path, key: str, server: PostgresServer, name: str, wire: Wire
) -> None:
    """Another serves in its place; what it held goes on counting until its records are there."""
    write(tmp_path, name, wire, workers=2)

    async def hold(port: int) -> list[RawClient]:
        clients = [await RawClient.connect(port) for _ in range(6)]
        for client in clients:
            await client.send(request(chat("[[echo delay=60s]] words", model="echo"), key=key))
        return clients

    def held() -> int:
        return sum(row["held"] for row in rows("quota", "show", cwd=tmp_path))

    with GatewayProcess(tmp_path) as gateway, asyncio.Runner() as runner:
        clients = runner.run(hold(gateway.port))
        assert within(10, lambda: held() == 6)
        wire.close()
        for pid in workers_of(gateway):
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.writer.close()
        assert within(20, lambda: served(gateway.port, key))
        wire.open()

        assert within(30, lambda: held() == 0)
        verified = llmgw("usage", "verify", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout
    assert server.fetch(name, "SELECT count(*) FROM usage WHERE outcome = 'lost'") == [(6,)]


def served(port: int, key: str) -> bool:
    try:
        return asyncio.run(ask(port, key))[0] == [200]
    except (OSError, EOFError):
        return False
