"""The running gateway's own door for commands on its host.

A socket file in `data_dir` that only the gateway's user can open: one line of JSON in, one line
out. `llmgw quota show` and its like ask here for what only the running process knows.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from llmgw.core.errors import Unavailable

_NAME = "control.sock"
_MAX_LINE = 1 << 20
_ANSWER_S = 30.0

Answer = Callable[[dict[str, Any]], Awaitable[object]]
"""What a command gives for its arguments. Raises ValueError for arguments that make no sense, and
Unavailable when a store does not answer."""


class ControlError(Exception):
    """The running gateway refused or did not answer. The message is for people."""


class ControlSocket:
    """answers: by the command's name."""

    def __init__(self, data_dir: Path, answers: Mapping[str, Answer]) -> None:
        self._data_dir = data_dir
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Whatever a dead process left at the path is replaced. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX)
        directory = os.open(self._data_dir, os.O_RDONLY | os.O_DIRECTORY)
        before = os.umask(0o177)
        try:
            (self._data_dir / _NAME).unlink(missing_ok=True)
            sock.bind(_short_path(directory))
        finally:
            os.umask(before)
            os.close(directory)
        sock.setblocking(False)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_MAX_LINE)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            (self._data_dir / _NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            # The command has gone, or sent a line without end.
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            asked = msgspec.json.decode(line)
            command = asked.pop("command")
            answer = self._answers[command]
        except (msgspec.MsgspecError, AttributeError, KeyError):
            return {"error": "the running gateway does not know this command; is it another version?"}
        try:
            return {"answer": await answer(asked)}
        except (ValueError, Unavailable) as error:
            return {"error": str(error)}


def ask(data_dir: Path, command: str, **arguments: object) -> Any:  # Any: what the command gives
    """What the gateway that runs on `data_dir` answers; None when none runs.

    Blocking. Raises ControlError.
    """
    try:
        directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_ANSWER_S)
            try:
                sock.connect(_short_path(directory))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            except PermissionError as error:
                raise ControlError(
                    f"the running gateway's {data_dir / _NAME} belongs to another user; ask as that user"
                ) from error
            sock.sendall(msgspec.json.encode({"command": command, **arguments}) + b"\n")
            with sock.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline())
    except (OSError, msgspec.MsgspecError) as error:
        raise ControlError(f"the running gateway did not answer: {error}") from error
    finally:
        os.close(directory)
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer["answer"]


def _short_path(directory: int) -> str:
    """The socket's path through an open directory: a socket's address holds 107 bytes only."""
    return f"/proc/self/fd/{directory}/{_NAME}"
