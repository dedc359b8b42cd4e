"""Secrets from environment variables: `${env:NAME}`.

A value that ends in a line break usually came from `$(cat file)` gone wrong; the break is cut
off, with a warning, because no credential ends in one and an HTTP header cannot hold one.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmgw.ports.secrets import FoundSecret, SecretUnavailable


class EnvSource:
    """Reads from a mapping, `os.environ` when the process runs."""

    scheme = "env"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, locator: str) -> FoundSecret:
        raw = self._environ.get(locator)
        if raw is None:
            raise SecretUnavailable(f"environment variable {locator} is not set")
        value = raw.rstrip("\r\n")
        if not value.strip():
            raise SecretUnavailable(f"environment variable {locator} is empty")
        if value != raw:
            return FoundSecret(
                value, f"environment variable {locator} ends in a line break, which was cut off"
            )
        return FoundSecret(value)
