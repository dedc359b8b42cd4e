"""A real gateway in a process of its own, for as long as the bench measures it.

It serves as a person's would: from a file, with a key, a journal and usage records; only its files
lie in a directory that is removed afterwards, and its limits are raised out of the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_RAISED = {
    "global": {"requests": 1_000_000_000},
    "per_tenant": {"requests": 1_000_000_000},
    "per_user": {"requests": 1_000_000_000},
    "per_ip": {"requests": 1_000_000_000, "exempt": []},
    "concurrency": {"in_flight": 20_000},
}
"""On, as a person would have them, and out of the way."""

READY_WITHIN_S = 15.0
STOP_WITHIN_S = 10.0
LOG_BYTES = 2000


class SelfFailed(Exception):
    """The gateway did not start; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class OwnGateway:
    """A running gateway: what a client needs, and whose CPU time to read."""

    base_url: str
    key: str
    pid: int


def render_config(*, listen: int, admin: int, upstream: int, model: str, key: str) -> str:
    """The gateway's configuration: JSON, which is YAML too."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return json.dumps(
        {
            "version": 1,
            "server": {
                "listen": f"127.0.0.1:{listen}",
                "admin_listen": f"127.0.0.1:{admin}",
                "lame_duck": "0s",
                "drain_timeout": "2s",
            },
            "storage": {"url": "sqlite:///bench.db", "data_dir": "data"},
            "providers": {
                "echo": {
                    "kind": "openai_compatible",
                    "base_url": f"http://127.0.0.1:{upstream}/v1",
                    "api_key": "none",
                    "allow_private": True,
                }
            },
            "models": {model: {"targets": [{"provider": "echo", "model": model}]}},
            "limits": _RAISED,
            "tenants": {"bench": {"keys": [{"id": "bench", "hash": f"sha256:{digest}"}]}},
        },
        indent=1,
    )


@contextlib.asynccontextmanager
async def own_gateway(upstream: int, model: str) -> AsyncIterator[OwnGateway]:
    """A ready gateway in front of a port of this machine; gone, with its files, afterwards.

    Raises SelfFailed when it ends or is not ready in time.
    """
    key = f"sk-bench-{secrets.token_hex(16)}"
    listen, admin = _free_ports(2)
    text = render_config(listen=listen, admin=admin, upstream=upstream, model=model, key=key)
    with _home(text) as (config, log, out):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llmgw", "serve", "-c", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            await _ready(child, admin, log)
            yield OwnGateway(f"http://127.0.0.1:{listen}/v1", key, child.pid)
        finally:
            await _stop(child)


@contextlib.contextmanager
def _home(text: str) -> Iterator[tuple[Path, Path, BinaryIO]]:
    """A directory for one gateway: its configuration file, its log, and the log open for writing."""
    with tempfile.TemporaryDirectory(prefix="llmgw-bench-", ignore_cleanup_errors=True) as name:
        config, log = Path(name, "bench.yaml"), Path(name, "log")
        config.write_text(text)
        with log.open("wb") as out:
            yield config, log, out


async def _ready(child: asyncio.subprocess.Process, admin: int, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while not await _says_ready(admin):
                if child.returncode is not None:
                    raise SelfFailed(f"the gateway ended with {child.returncode}:\n{_end_of(log)}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise SelfFailed(f"the gateway was not ready within {READY_WITHIN_S:g} s:\n{_end_of(log)}") from None


async def _says_ready(admin: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", admin)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def _end_of(log: Path) -> str:
    return log.read_bytes()[-LOG_BYTES:].decode(errors="replace")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
