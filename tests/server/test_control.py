from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llmgw.server.control import ControlError, ControlSocket, ask


async def double(asked: dict[str, Any]) -> object:
    if "number" not in asked:
        raise ValueError("which number?")
    return {"double": asked["number"] * 2}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Deeper than a socket's address can say."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    return deep


@pytest.fixture
async def control(data_dir: Path) -> AsyncIterator[ControlSocket]:
    opened = ControlSocket(data_dir, {"double": double})
    await opened.open()
    yield opened
    await opened.close()


async def asked(data_dir: Path, command: str, **arguments: object) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, lambda: ask(data_dir, command, **arguments))


async def test_a_command_is_answered(control: ControlSocket, data_dir: Path) -> None:
    assert await asked(data_dir, "double", number=21) == {"double": 42}


async def test_only_its_own_user_can_ask(control: ControlSocket, data_dir: Path) -> None:
    mode = stat.S_IMODE(os.stat(data_dir / "control.sock").st_mode)

    assert mode == 0o600


async def test_what_is_wrong_is_told(control: ControlSocket, data_dir: Path) -> None:
    with pytest.raises(ControlError, match="which number"):
        await asked(data_dir, "double")
    with pytest.raises(ControlError, match="another version"):
        await asked(data_dir, "halve")


async def test_nobody_runs(data_dir: Path) -> None:
    """No socket, no directory, or one that a dead process left."""
    assert await asked(data_dir, "double") is None
    assert await asked(data_dir / "none", "double") is None
    with socket.socket(socket.AF_UNIX) as dead:
        directory = os.open(data_dir, os.O_RDONLY)
        dead.bind(f"/proc/self/fd/{directory}/control.sock")
        os.close(directory)
    assert await asked(data_dir, "double") is None

    again = ControlSocket(data_dir, {"double": double})
    await again.open()
    assert await asked(data_dir, "double", number=1) == {"double": 2}
    await again.close()
    assert not (data_dir / "control.sock").exists()


async def test_garbage_ends_only_its_own_connection(control: ControlSocket, data_dir: Path) -> None:
    directory = os.open(data_dir, os.O_RDONLY)
    reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/control.sock")
    os.close(directory)
    writer.write(b"[1, 2\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert b"error" in answer
    assert await asked(data_dir, "double", number=2) == {"double": 4}
