"""Several workers as one gateway: killed, counted, stopped and left alone."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.process import GatewayProcess, key_for, llmgw, rows, within
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
server: {workers: 2, lame_duck: 200ms, drain_timeout: 10s}
providers:
  demo: {kind: echo, first_token: 2ms, tokens_per_second: 500}
models:
  echo: {targets: [{provider: demo, model: echo}]}
limits: {global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}
tenants:
  acme: {}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "llmgw.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def key(place: Path) -> str:
    return key_for("acme", place)


@pytest.fixture
def gateway(place: Path, key: str) -> Iterator[GatewayProcess]:
    with GatewayProcess(place) as running:
        assert within(10, lambda: len(workers(running)) == metric(running, "llmgw_workers") == 2)
        yield running


def metric(gateway: GatewayProcess, name: str) -> float:
    """The sum over a metric's labels."""
    samples = (line.rpartition(" ") for line in gateway.admin("/metrics").splitlines())
    return sum(float(value) for sample, _, value in samples if sample.partition("{")[0] == name)


def workers(gateway: GatewayProcess) -> list[int]:
    """The process ids of those that live, by their place."""
    ended = {event["pid"] for event in gateway.events("worker_ended")}
    ready = {event["index"]: event["pid"] for event in gateway.events("worker_ready")}
    return [int(str(ready[index])) for index in sorted(ready, key=str) if ready[index] not in ended]


def children(gateway: GatewayProcess) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(gateway.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()


async def ask_on(count: int, gateway: GatewayProcess, key: str, text: str = "hi") -> list[int]:
    """The statuses of requests at the same time, each on a connection of its own."""

    async def one() -> int:
        client = await RawClient.connect(gateway.port)
        await client.send(request(chat(text, model="echo"), key=key))
        status = (await client.read_answer()).status
        await client.vanish()
        return status

    return await asyncio.gather(*(one() for _ in range(count)))


async def open_streams(count: int, gateway: GatewayProcess, key: str, text: str) -> list[RawClient]:
    """Streams that have begun. Of sixteen, all are with one worker once in 32,768 times."""
    clients = [await RawClient.connect(gateway.port) for _ in range(count)]
    for client in clients:
        await client.send(request(chat(text, model="echo", stream=True), key=key))
    for client in clients:
        assert (await client.read_head()).status == 200
        await client.read_chunk()
    return clients


async def rest_of(client: RawClient) -> bytes:
    rest = b""
    while piece := await client.read_chunk():
        rest += piece
    await client.vanish()
    return rest


def test_both_serve_and_are_counted_as_one(gateway: GatewayProcess, key: str) -> None:
    """Each has a journal of its own; the metrics are the sum, also the moment after an answer."""
    sizes = {}
    for total in (64, 128):
        assert asyncio.run(ask_on(64, gateway, key)) == [200] * 64
        assert metric(gateway, "llmgw_requests_total") == total
        assert metric(gateway, "llmgw_request_seconds_count") == total
    for pid in workers(gateway):
        (segment,) = (gateway.directory / ".llmgw" / "journal").glob(f"journal-{pid}-*.log")
        sizes[pid] = segment.stat().st_size

    assert len(sizes) == 2
    assert all(sizes.values())
    assert metric(gateway, "llmgw_requests_in_flight") == 0
    assert json.loads(gateway.admin("/readyz"))["ready"] is True
    # Three interpreters are in it.
    assert metric(gateway, "process_resident_memory_bytes") > 100e6
    assert gateway.stop() == 0
    (row,) = rows("usage", "report", cwd=gateway.directory)
    assert row["requests"] == 128


def test_l12_kill_9_of_one_under_load(gateway: GatewayProcess, key: str) -> None:
    """Only what was in flight with it fails, another follows at once, and every answer has its record.

    At once: 0.8 s on an idle machine, nearly all of it the interpreter's start; where the machine
    is busy, that of a command tells by how much longer it may take.
    """
    before = time.monotonic()
    llmgw("config", "check", cwd=gateway.directory)
    at_once_s = max(2.0, 4 * (time.monotonic() - before))
    answered: Counter[str] = Counter()
    failed: list[str] = []
    ended = False

    async def one(number: int) -> None:
        client: RawClient | None = None
        while not ended:
            request_id = f"w{number}-{random.randrange(10**12)}"
            try:
                client = client or await RawClient.connect(gateway.port)
                body = chat("some words to say again", model="echo", stream=number % 2 == 0)
                await client.send(request(body, key=key, headers={"x-request-id": request_id}))
                answer = await client.read_answer()
                assert answer.status == 200
                answered[request_id] += 1
            except (OSError, EOFError):
                failed.append(request_id)
                if client is not None:
                    await client.vanish()
                client = None
            await asyncio.sleep(0.02)
        if client is not None:
            await client.vanish()

    async def scene() -> float:
        nonlocal ended
        tasks = [asyncio.ensure_future(one(number)) for number in range(16)]
        # One that dies young is not replaced at once.
        await asyncio.sleep(5.5)
        victim = workers(gateway)[0]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        back = await asyncio.to_thread(within, 5, lambda: len(gateway.events("worker_ready")) == 3)
        assert back
        took = time.monotonic() - killed
        await asyncio.sleep(0.5)
        ended = True
        await asyncio.gather(*tasks)
        return took

    took = asyncio.run(scene())
    after = metric(gateway, "llmgw_requests_total")
    restarts = metric(gateway, "llmgw_worker_restarts")
    (end,) = gateway.events("worker_ended")
    assert gateway.stop() == 0

    assert took < at_once_s
    assert 0 < len(failed) <= 16
    assert (end["index"], end["signal"], restarts) == (0, 9, 1)
    # The last second of the one that was killed may be missing, and nothing else.
    assert len(answered) / 2 < after <= len(answered) + len(failed)
    rows("usage", "report", cwd=gateway.directory)
    with closing(sqlite3.connect(gateway.directory / "llmgw.db")) as database:
        found = Counter(
            dict(database.execute("SELECT client_request_id, count(*) FROM usage GROUP BY 1").fetchall())
        )
    assert {request_id: found[request_id] for request_id in answered} == dict(answered)
    assert set(found) <= set(answered) | set(failed)


def test_counters_never_go_backwards(gateway: GatewayProcess, key: str) -> None:
    """What a worker had told stays in the sums when it is gone."""
    asyncio.run(ask_on(32, gateway, key))
    names = ("llmgw_requests_total", "llmgw_tokens_total", "llmgw_request_seconds_count")
    before = {name: metric(gateway, name) for name in names}
    cpu_before = metric(gateway, "process_cpu_seconds_total")

    os.kill(workers(gateway)[1], signal.SIGKILL)

    assert within(2, lambda: metric(gateway, "llmgw_workers") == 1)
    assert {name: metric(gateway, name) for name in names} == before
    assert metric(gateway, "process_cpu_seconds_total") >= cpu_before
    assert gateway.ready()
    assert within(5, lambda: metric(gateway, "llmgw_workers") == 2)
    asyncio.run(ask_on(8, gateway, key))
    assert metric(gateway, "llmgw_requests_total") == 40


def test_g08_a_dead_workers_journal_is_taken_over(gateway: GatewayProcess, key: str) -> None:
    """While the gateway runs: what was in flight becomes `lost` within seconds."""

    async def scene() -> None:
        clients = await open_streams(16, gateway, key, "one [[echo stall=1]]")
        os.kill(victim, signal.SIGKILL)
        for client in clients:
            await client.vanish()

    def lost() -> int:
        with closing(sqlite3.connect(gateway.directory / "llmgw.db")) as database:
            found = database.execute("SELECT count(*) FROM usage WHERE outcome = 'lost'").fetchone()
        return int(found[0])

    victim = workers(gateway)[0]
    asyncio.run(scene())

    assert within(5, lambda: lost() > 0)
    journals = gateway.directory / ".llmgw" / "journal"
    assert within(1, lambda: not list(journals.glob(f"journal-{victim}-*.log")))


def test_l09_sigterm_finishes_the_streams_of_every_worker(gateway: GatewayProcess, key: str) -> None:
    """Not ready at once; each stream ends by itself; exit code 0, and no process is left."""
    family = [gateway.pid, *children(gateway)]

    async def scene() -> list[bytes]:
        clients = await open_streams(16, gateway, key, " ".join(["word"] * 300))
        gateway.signal(signal.SIGTERM)
        assert await asyncio.to_thread(within, 0.5, lambda: not gateway.ready())
        return await asyncio.gather(*(rest_of(client) for client in clients))

    for rest in asyncio.run(scene()):
        assert rest.endswith(b"data: [DONE]\n\n")
    assert gateway.wait() == 0
    assert len(family) == 4
    assert not [pid for pid in family if alive(pid)]
    (row,) = rows("usage", "report", cwd=gateway.directory)
    assert (row["requests"], row["output_tokens"]) == (16, 16 * 300)
    assert [event["code"] for event in gateway.events("worker_ended")] == [0, 0]


def test_l11_a_second_signal_cuts_now_and_settles(gateway: GatewayProcess, key: str) -> None:
    async def scene() -> list[bytes]:
        clients = await open_streams(16, gateway, key, "one two [[echo stall=1]]")
        gateway.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        gateway.signal(signal.SIGINT)
        return await asyncio.gather(*(rest_of(client) for client in clients))

    started = time.monotonic()
    for rest in asyncio.run(scene()):
        assert b'"draining"' in rest
    assert gateway.wait() == 0
    assert time.monotonic() - started < 6
    (row,) = rows("usage", "report", "--by", "outcome", cwd=gateway.directory)
    assert (row["outcome"], row["requests"]) == ("error", 16)


def test_signals_to_the_whole_group_are_the_supervisors(gateway: GatewayProcess, key: str) -> None:
    """A terminal and systemd send them to every process: workers go on until they are told to go."""
    for pid in children(gateway):
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)

    assert asyncio.run(ask_on(16, gateway, key)) == [200] * 16
    assert gateway.events("worker_ended") == []


def test_l13_kill_9_of_the_supervisor(gateway: GatewayProcess, key: str) -> None:
    """Streams end by themselves, the address is free at once, and soon no process is left."""
    family = children(gateway)

    async def scene() -> list[bytes]:
        clients = await open_streams(16, gateway, key, " ".join(["word"] * 300))
        gateway.kill()
        await asyncio.to_thread(within, 1, lambda: not taken(gateway.port))
        with GatewayProcess(gateway.directory) as another:
            rests = await asyncio.gather(*(rest_of(client) for client in clients))
            assert await ask_on(4, another, key) == [200] * 4
        return rests

    for rest in asyncio.run(scene()):
        assert rest.endswith(b"data: [DONE]\n\n")
    assert len(family) == 3
    assert within(5, lambda: not any(alive(pid) for pid in family))
    (row,) = rows("usage", "report", cwd=gateway.directory)
    assert row["requests"] == 20


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_l17_workers_that_cannot_start_end_it_all(place: Path) -> None:
    """One line says why, in the words of the worker."""
    (place / ".llmgw").mkdir()
    (place / ".llmgw" / "journal").write_text("not a directory")

    done = llmgw("serve", cwd=place)

    assert done.returncode == 1
    assert "no worker came up: storage.data_dir" in done.stderr
    assert "File exists" in done.stderr


def test_u14_a_worker_that_follows_serves_what_its_siblings_do(gateway: GatewayProcess, key: str) -> None:
    """L08: whatever has become of the file meanwhile."""
    before = json.loads(gateway.admin("/readyz"))["generation"]
    (gateway.directory / "llmgw.yaml").write_text("version: [broken")

    os.kill(workers(gateway)[0], signal.SIGKILL)

    assert within(5, lambda: len(gateway.events("worker_ready")) == 3)
    assert asyncio.run(ask_on(16, gateway, key)) == [200] * 16
    assert json.loads(gateway.admin("/readyz"))["generation"] == before


def test_a_secret_is_in_no_command_line_and_no_environment(place: Path) -> None:
    """N02: workers get it over their channel."""
    (place / "secret.txt").write_text("sk-upstream-canary\n")
    (place / "llmgw.yaml").write_text(
        CONFIG.replace(
            "providers:\n",
            "providers:\n  up: {kind: openai, api_key: '${file:secret.txt}'}\n",
        )
    )
    with GatewayProcess(place) as gateway:
        for pid in [gateway.pid, *children(gateway)]:
            for name in ("cmdline", "environ"):
                assert b"canary" not in Path(f"/proc/{pid}/{name}").read_bytes()
    for path in place.rglob("*"):
        if path.is_file() and path.name != "secret.txt":
            assert b"sk-upstream-canary" not in path.read_bytes(), path


def test_the_number_by_option_and_by_environment(place: Path) -> None:
    """The option goes before the environment, which goes before the file."""
    with GatewayProcess(place, "--workers", "3", env={"LLMGW_SERVER__WORKERS": "1"}) as gateway:
        assert within(10, lambda: metric(gateway, "llmgw_workers") == 3)
        assert within(10, lambda: len(gateway.events("started")) == 1)
        (started,) = gateway.events("started")
        assert started["workers"] == 3
    assert gateway.wait() == 0

    with GatewayProcess(place, env={"LLMGW_SERVER__WORKERS": "1"}) as gateway:
        assert len(children(gateway)) == 1
        assert "llmgw_worker_restarts" not in gateway.admin("/metrics")


def test_an_address_that_is_served_is_refused(gateway: GatewayProcess) -> None:
    """Sharing it with another gateway would be granted by the kernel."""
    taken_already = {
        "LLMGW_SERVER__LISTEN": f"127.0.0.1:{gateway.port}",
        "LLMGW_SERVER__ADMIN_LISTEN": "127.0.0.1:0",
        "LLMGW_STORAGE__DATA_DIR": "elsewhere",
    }

    done = llmgw("serve", cwd=gateway.directory, env=taken_already)

    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr
