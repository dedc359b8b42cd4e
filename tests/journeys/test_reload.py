"""A configuration that changes under a running gateway, with one worker and with two."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.fakes.process import GatewayProcess, llmgw, rows, within
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
server: {workers: WORKERS, lame_duck: 200ms, drain_timeout: 5s}
providers:
  demo: {kind: echo, first_token: 2ms, tokens_per_second: 500}
models:
  echo: {targets: [{provider: demo, model: echo}]}
limits: {global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}
tenants:
  acme: {}
"""


def with_model(text: str, name: str) -> str:
    return text.replace("limits:", f"  {name}: {{targets: [{{provider: demo, model: echo}}]}}\nlimits:")


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def text(workers: int) -> str:
    return CONFIG.replace("WORKERS", str(workers))


@pytest.fixture
def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "llmgw.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def key(file: Path) -> str:
    return str(rows("keys", "create", "--tenant", "acme", cwd=file.parent)["key"])


@pytest.fixture
def gateway(file: Path, key: str, workers: int) -> Iterator[GatewayProcess]:
    with GatewayProcess(file.parent) as running:
        assert workers == 1 or within(10, lambda: len(running.events("worker_ready")) == workers)
        yield running


def generation(gateway: GatewayProcess) -> str:
    return str(json.loads(gateway.admin("/readyz"))["generation"])


async def statuses(gateway: GatewayProcess, key: str, model: str, count: int = 12) -> set[int]:
    """Of requests on connections of their own: with two workers each is asked, but once in 2,048 times."""

    async def one() -> int:
        client = await RawClient.connect(gateway.port)
        await client.send(request(chat("hi", model=model), key=key))
        status = (await client.read_answer()).status
        await client.vanish()
        return status

    return set(await asyncio.gather(*(one() for _ in range(count))))


def test_an_edit_is_in_effect_everywhere_within_a_second(
    gateway: GatewayProcess, file: Path, text: str, key: str
) -> None:
    """And `llmgw config diff` told before what it would change."""
    assert asyncio.run(statuses(gateway, key, "more")) == {404}
    time.sleep(1.0)

    written = time.monotonic()
    file.write_text(with_model(text, "more"))
    assert within(3, lambda: asyncio.run(statuses(gateway, key, "more")) == {200})

    assert time.monotonic() - written < 1.5
    assert within(1, lambda: len(gateway.events("config_reloaded")) == 1)
    kept = file.parent / ".llmgw" / "lastgood"
    assert within(1, lambda: generation(gateway) in kept.read_text())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "llmgw_config_reloads 1" in gateway.admin("/metrics")


def test_broken_files_have_no_effect_and_are_told_with_their_place(
    gateway: GatewayProcess, file: Path, text: str, key: str
) -> None:
    before = generation(gateway)
    broken = {
        f"{text}x{number}: 1\n": f"llmgw.yaml:{len(text.splitlines()) + 1} x{number}: unknown key"
        for number in range(3)
    }
    broken[text.replace("kind: echo", "kind: eco")] = "llmgw.yaml:5 providers.demo"
    broken[text.replace("200ms", "300ms")] = "llmgw.yaml:3 server.lame_duck: needs a restart"

    for number, (bad, told) in enumerate(broken.items(), 1):
        file.write_text(bad)
        assert within(2, lambda number=number: len(gateway.events("config_rejected")) == number)
        assert str(gateway.events("config_rejected")[-1]["error"]).startswith(told)

    assert generation(gateway) == before
    assert asyncio.run(statuses(gateway, key, "echo")) == {200}
    refused = llmgw("reload", cwd=file.parent, env=where(gateway))
    assert refused.returncode == 1
    assert "server.lame_duck: needs a restart" in refused.stderr


def where(gateway: GatewayProcess) -> dict[str, str]:
    """The overrides that the gateway has, for a command that compares with it."""
    return {
        "LLMGW_SERVER__LISTEN": f"127.0.0.1:{gateway.port}",
        "LLMGW_SERVER__ADMIN_LISTEN": f"127.0.0.1:{gateway.admin_port}",
    }


def test_commands_compare_and_reload(gateway: GatewayProcess, file: Path, text: str) -> None:
    same = llmgw("reload", cwd=file.parent)
    assert (same.returncode, same.stdout) == (0, f"generation {generation(gateway)} already was\n")
    staged = file.with_name("staged.yaml")
    staged.write_text(with_model(text, "more"))
    diff = llmgw(
        "config", "diff", "-c", "staged.yaml", "--format", "json", cwd=file.parent, env=where(gateway)
    )

    (change,) = json.loads(diff.stdout)
    assert (change["change"], change["path"], change["affects"]) == (
        "added",
        "models.more",
        "model more, tenant acme",
    )
    file.write_text(staged.read_text())
    assert llmgw("reload", cwd=file.parent).returncode == 0
    assert within(1, lambda: len(gateway.events("config_reloaded")) == 1)


def test_l03_sighup_symlinks_and_a_deleted_file(
    gateway: GatewayProcess, file: Path, text: str, key: str
) -> None:
    other = file.with_name("other.yaml")
    other.write_text(with_model(text, "linked"))
    link = file.with_name("link")
    link.symlink_to(other)
    link.replace(file)
    gateway.signal(signal.SIGHUP)
    assert within(2, lambda: asyncio.run(statuses(gateway, key, "linked")) == {200})

    file.unlink()
    assert within(2, lambda: len(gateway.events("config_rejected")) == 1)
    gateway.signal(signal.SIGHUP)
    time.sleep(0.3)

    assert asyncio.run(statuses(gateway, key, "linked")) == {200}
    assert len(gateway.events("config_rejected")) == 1


def test_l01_reloads_under_load_lose_nothing(
    gateway: GatewayProcess, file: Path, text: str, key: str
) -> None:
    """Streams outlive many generations, and each answer says the one it began in."""
    known = {generation(gateway)}
    ended = False

    async def one(number: int) -> int:
        client = await RawClient.connect(gateway.port)
        count = 0
        while not ended:
            streamed = number % 4 == 0
            words = " ".join(["word"] * (300 if streamed else 3))
            await client.send(request(chat(words, model="echo", stream=streamed), key=key))
            if streamed:
                assert (await client.read_head()).status == 200
                rest = b""
                while piece := await client.read_chunk():
                    rest += piece
                assert rest.endswith(b"data: [DONE]\n\n")
            else:
                assert (await client.read_answer()).status == 200
            count += 1
        await client.vanish()
        return count

    async def scene() -> list[int]:
        nonlocal ended
        tasks = [asyncio.ensure_future(one(number)) for number in range(8)]
        for number in range(6):
            file.write_text(with_model(text, f"model-{number}"))
            await asyncio.sleep(0.6)
            known.add(await asyncio.to_thread(generation, gateway))
        ended = True
        return await asyncio.gather(*tasks)

    counts = asyncio.run(scene())

    assert all(counts)
    assert len(known) >= 6
    assert len(gateway.events("config_reloaded")) >= 5
    assert gateway.events("config_rejected") == []


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_l08_a_worker_that_follows_serves_the_last_good(
    gateway: GatewayProcess, file: Path, text: str, key: str
) -> None:
    """With a bad file on disk: what was reloaded, not what the gateway began with."""
    file.write_text(with_model(text, "more"))
    assert within(3, lambda: len(gateway.events("config_reloaded")) == 1)
    file.write_text("version: [broken")
    assert within(3, lambda: len(gateway.events("config_rejected")) == 1)

    os.kill(int(str(gateway.events("worker_ready")[0]["pid"])), signal.SIGKILL)

    assert within(5, lambda: len(gateway.events("worker_ready")) == 3)
    assert asyncio.run(statuses(gateway, key, "more", 24)) == {200}


def test_a_changed_log_level_and_metrics_that_are_switched_off_take_effect(
    gateway: GatewayProcess, file: Path, text: str
) -> None:
    def edited(text: str) -> bool:
        before = generation(gateway)
        file.write_text(text)
        return within(5, lambda: generation(gateway) != before)

    quiet = text + "logging: {level: error}\nobservability: {prometheus: false}\n"
    assert edited(quiet)
    told = gateway.err.read_text()
    with pytest.raises(HTTPError, match="404"):
        gateway.admin("/metrics")
    assert edited(with_model(quiet, "more"))
    assert gateway.err.read_text() == told

    assert edited(text)
    assert within(2, lambda: gateway.err.read_text() != told)
    assert "llmgw_config_reloads 3" in gateway.admin("/metrics")


def test_l19_a_gateway_that_is_started_on_a_broken_file_refuses_with_its_place(
    gateway: GatewayProcess, file: Path, text: str
) -> None:
    """Whatever was in effect before; what that was is kept, and the way back is told by a comparison."""
    kept = file.parent / ".llmgw" / "lastgood"
    assert within(5, kept.exists)
    file.write_text(text + "tenantss: {}\n")
    assert gateway.stop() == 0

    check = llmgw("config", "check", cwd=file.parent)
    serve = llmgw("serve", cwd=file.parent)

    assert (check.returncode, serve.returncode) == (1, 1)
    assert serve.stderr == check.stderr
    assert f"llmgw.yaml:{len(text.splitlines()) + 1} tenantss: unknown key" in serve.stderr
    file.write_text(with_model(text, "more"))
    diff = llmgw("config", "diff", cwd=file.parent, env=where(gateway))
    assert diff.stdout.splitlines()[2] == "added    models.more"


def test_a_quota_that_is_added_counts_what_was_used_before(
    gateway: GatewayProcess, file: Path, text: str, key: str
) -> None:
    """Its balance begins with what the records of its period say."""
    assert asyncio.run(statuses(gateway, key, "echo", 8)) == {200}
    assert within(5, lambda: len(rows("usage", "report", "--by", "model", cwd=file.parent)) == 1)

    file.write_text(f"{text}quotas: [{{per: tenant, requests: 10, window: month}}]\n")
    assert within(3, lambda: bool(gateway.events("config_reloaded")))

    (balance,) = [row for row in rows("quota", "show", cwd=file.parent) if row["tenant"] == "acme"]
    assert balance["used"] == 8
    assert asyncio.run(statuses(gateway, key, "echo", 2)) == {200}
    assert asyncio.run(statuses(gateway, key, "echo", 2)) == {429}
    assert llmgw("usage", "verify", cwd=file.parent).returncode == 0
