"""The program as a process: killed, stopped, started again, and given keys while it runs."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.fakes.process import GatewayProcess, key_for, llmgw, rows, within
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
server: {lame_duck: 200ms, drain_timeout: 2s}
providers:
  demo: {kind: echo, first_token: 2ms, tokens_per_second: 500}
models:
  echo: {targets: [{provider: demo, model: echo}]}
limits: {global: off, per_tenant: off, per_user: off}
tenants:
  acme: {}
"""
ROUNDS = 50


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
        yield running


def ask(gateway: GatewayProcess, key: str, text: str = "hi", **more: object) -> int:
    """The status of one request."""
    body = json.dumps(chat(text, model="echo", **more)).encode()
    asked = urllib.request.Request(
        f"{gateway.url}/chat/completions", body, {"authorization": f"Bearer {key}"}, method="POST"
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            answer.read()
            return int(answer.status)
    except HTTPError as refused:
        refused.close()
        return refused.code


async def load(port: int, key: str, answered: Counter[str], sent: Counter[str], seconds: float) -> None:
    """Requests on eight connections until the gateway is gone. Ids are counted when answered whole."""

    async def one(number: int) -> None:
        client = None
        try:
            client = await RawClient.connect(port)
            for count in range(100_000):
                request_id = f"w{number}-{count}-{random.randrange(10**9)}"
                streamed = count % 3 == 0
                sent[request_id] += 1
                body = chat("some words to say again", model="echo", stream=streamed)
                await client.send(request(body, key=key, headers={"x-request-id": request_id}))
                answer = await client.read_answer()
                if answer.status == 200 and (not streamed or b"[DONE]" in answer.body):
                    answered[request_id] += 1
        except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError):
            return
        finally:
            if client is not None:
                await client.vanish()

    tasks = [asyncio.ensure_future(one(number)) for number in range(8)]
    await asyncio.sleep(seconds)
    return await _join(tasks)


async def _join(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks, timeout=10)


def test_g08_kill_9_at_random_moments(place: Path, key: str) -> None:
    """Whoever got an answer has exactly one record; nobody has two; what was in flight is `lost`."""
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    answered: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    gateway = GatewayProcess(place)
    for _ in range(ROUNDS):
        gateway.start()

        async def round_(moment: float) -> None:
            running = asyncio.ensure_future(load(gateway.port, key, answered, sent, moment + 0.01))
            await asyncio.sleep(moment)
            gateway.kill()
            await running

        asyncio.run(round_(rng.uniform(0.01, 0.25)))

    rows("usage", "report", cwd=place)
    with sqlite3.connect(place / "llmgw.db") as database:
        found = Counter(
            dict(database.execute("SELECT client_request_id, count(*) FROM usage GROUP BY 1").fetchall())
        )
        lost = database.execute("SELECT count(*) FROM usage WHERE outcome = 'lost'").fetchone()[0]
        ids = database.execute("SELECT count(*), count(DISTINCT request_id) FROM usage").fetchone()
    database.close()
    assert None not in found
    assert len(answered) > ROUNDS, f"seed {seed}"
    assert {request_id: found[request_id] for request_id in answered} == dict(answered), f"seed {seed}"
    assert ids[0] == ids[1]
    assert set(found) <= set(sent)
    assert 0 < lost <= len(sent) - len(answered) + ROUNDS * 8


def test_g10_l09_sigterm_finishes_what_is_under_way(gateway: GatewayProcess, key: str) -> None:
    """Not ready at once, streams end by themselves, every record is there, exit code 0."""

    async def scene() -> bytes:
        client = await RawClient.connect(gateway.port)
        text = " ".join(["word"] * 300)
        await client.send(request(chat(text, model="echo", stream=True), key=key))
        await client.read_head()
        await client.read_chunk()
        gateway.signal(signal.SIGTERM)
        assert within(0.5, lambda: not gateway.ready())
        rest = b""
        while piece := await client.read_chunk():
            rest += piece
        await client.vanish()
        return rest

    rest = asyncio.run(scene())

    assert rest.endswith(b"data: [DONE]\n\n")
    assert gateway.wait() == 0
    (row,) = rows("usage", "report", cwd=gateway.directory)
    assert (row["requests"], row["output_tokens"]) == (1, 300)


def test_l10_what_does_not_finish_hears_an_error_and_is_settled(gateway: GatewayProcess, key: str) -> None:
    async def scene() -> bytes:
        client = await RawClient.connect(gateway.port)
        text = "one two [[echo stall=1]]"
        await client.send(request(chat(text, model="echo", stream=True), key=key))
        await client.read_head()
        await client.read_chunk()
        gateway.signal(signal.SIGTERM)
        rest = b""
        while piece := await client.read_chunk():
            rest += piece
        await client.vanish()
        return rest

    rest = asyncio.run(scene())

    assert b'"draining"' in rest
    assert b"[DONE]" not in rest
    assert gateway.wait() == 0
    (row,) = rows("usage", "report", "--by", "outcome", cwd=gateway.directory)
    assert (row["outcome"], row["requests"]) == ("error", 1)


def test_g12_a_restart_changes_no_sum(place: Path, key: str) -> None:
    with GatewayProcess(place) as gateway:
        for _ in range(5):
            assert ask(gateway, key) == 200
    before = rows("usage", "report", "--by", "tenant,key,model", cwd=place)
    with GatewayProcess(place):
        assert rows("usage", "report", "--by", "tenant,key,model", cwd=place) == before
    assert before[0]["requests"] == 5


def test_d03_keys_are_in_force_within_a_second(gateway: GatewayProcess) -> None:
    """Issued, rotated and revoked by command while the gateway runs."""
    place = gateway.directory
    issued = rows("keys", "create", "--tenant", "acme", cwd=place)
    assert within(1, lambda: ask(gateway, issued["key"]) == 200)

    successor = rows("keys", "rotate", issued["id"], "--overlap", "1h", cwd=place)
    assert within(1, lambda: ask(gateway, successor["key"]) == 200)
    assert ask(gateway, issued["key"]) == 200

    rows("keys", "revoke", successor["id"], cwd=place)
    assert within(1, lambda: ask(gateway, successor["key"]) == 401)
    assert ask(gateway, issued["key"]) == 200


def test_n01_n02_secrets_are_in_no_sink(gateway: GatewayProcess, key: str) -> None:
    """Keys, good and bad, and what was said are in no log, file or metric."""
    place = gateway.directory
    assert ask(gateway, key, "prompt-canary") == 200
    assert ask(gateway, "sk-wrong-canary") == 401
    metrics = gateway.admin("/metrics")
    assert gateway.stop() == 0

    secret = key.split("_", 2)[2].encode()
    everything = [path for path in place.rglob("*") if path.is_file()]
    assert len(everything) > 3
    for path in everything:
        data = path.read_bytes()
        for canary in (secret, b"prompt-canary", b"sk-wrong-canary"):
            assert canary not in data, path
    assert "canary" not in metrics
    lines = [json.loads(line) for line in gateway.out.read_text().splitlines()]
    assert [(line["status"], line["outcome"]) for line in lines] == [(200, "ok"), (401, "refused")]


def test_l17_what_fails_late_in_the_start_leaves_nothing_half_started(place: Path) -> None:
    """`llmgw` times out where a thread that was left over keeps the process."""
    (place / ".llmgw" / "control.sock").mkdir(parents=True)

    done = llmgw("serve", cwd=place)

    assert done.returncode == 1
    assert "control.sock: Is a directory" in done.stderr


def test_l17_two_gateways_do_not_share_a_data_directory(gateway: GatewayProcess) -> None:
    """The second is refused, and the first is still found by commands."""
    done = llmgw("serve", cwd=gateway.directory)

    assert done.returncode == 1
    assert "another gateway runs on storage.data_dir" in done.stderr
    assert llmgw("reload", cwd=gateway.directory).returncode == 0


def test_admin_listener(gateway: GatewayProcess, key: str) -> None:
    assert ask(gateway, key) == 200

    assert json.loads(gateway.admin("/healthz")) == {"status": "ok"}
    assert json.loads(gateway.admin("/readyz"))["ready"] is True
    assert "version" in json.loads(gateway.admin("/version"))
    metrics = gateway.admin("/metrics")
    assert "llmgw_requests_total{" in metrics
    assert 'tenant="acme"' in metrics
    with pytest.raises(HTTPError) as refused:
        gateway.admin("/nothing")
    body = json.loads(refused.value.read())
    assert set(body) == {"error", "message", "code", "request_id"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nproviders: {x: {kind: ecko}}\n", "echo"),
        (
            "version: 1\nserver: {listen: 127.0.0.1:PORT}\nproviders: {x: {kind: echo}}\n",
            "cannot be listened on",
        ),
        (
            "version: 1\nstorage: {url: 'sqlite:///foreign.db'}\nproviders: {x: {kind: echo}}\n",
            "another program",
        ),
        (
            "version: 1\nproviders: {x: {kind: openai, api_key: '${env:NOT_SET_ANYWHERE}'}}\n",
            "NOT_SET_ANYWHERE",
        ),
    ],
)
def test_l17_it_refuses_to_start_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        _refuses(tmp_path, text.replace("PORT", str(taken.getsockname()[1])), said)


def _refuses(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "llmgw.yaml").write_text(text)
    with sqlite3.connect(tmp_path / "foreign.db") as database:
        database.execute("CREATE TABLE somebody (x)")
    database.close()

    done = llmgw("serve", cwd=tmp_path)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
