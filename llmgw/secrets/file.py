"""Secrets from files: `${file:PATH}`, as mounted by Docker, Kubernetes and systemd credentials.

Relative paths start at the configuration file's directory. A line break at the end is what
editors and `echo` leave there, and is cut off.
"""

from __future__ import annotations

from pathlib import Path

from llmgw.ports.secrets import FoundSecret, SecretUnavailable

MAX_SIZE = 64 * 1024


class FileSource:
    """Reads whole files of at most `MAX_SIZE` bytes."""

    scheme = "file"

    def __init__(self, base: Path) -> None:
        self._base = base

    def read(self, locator: str) -> FoundSecret:
        path = self._base / Path(locator).expanduser()
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_SIZE + 1)
        except OSError as error:
            raise SecretUnavailable(f"file {path} cannot be read: {error.strerror}") from error
        if len(raw) > MAX_SIZE:
            raise SecretUnavailable(f"file {path} is larger than {MAX_SIZE} bytes")
        try:
            value = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise SecretUnavailable(f"file {path} is not UTF-8 text") from None
        if not value.strip():
            raise SecretUnavailable(f"file {path} is empty")
        return FoundSecret(value)
