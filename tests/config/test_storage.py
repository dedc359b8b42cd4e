"""Where durable things are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///x.db", "/etc/llmgw/x.db"),
        ("sqlite:///data/x.db", "/etc/llmgw/data/x.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
    ],
)
def test_sqlite_paths(url: str, path: str) -> None:
    document = document_from_text(f"{ECHO}storage: {{url: '{url}'}}", path=Path("/etc/llmgw/llmgw.yaml"))

    assert document.storage.sqlite_path == Path(path)


@pytest.mark.parametrize(
    ("storage", "refusal"),
    [
        ("url: postgresql+psycopg://u:hunter2@db/x", "storage.url: names a driver that llmgw does not use"),
        ("url: postgresql://u:hunter2@/x", "storage.url: must name a host"),
        ("url: postgresql://u:hunter2@db", "storage.url: must name one database"),
        ("url: postgresql://u:hunter2@db/", "storage.url: must name one database"),
        ("url: postgresql://u:hunter2@db:x/y", "storage.url: is no URL; escape special characters"),
        ("url: 'postgresql://u:hunter2@db/x#y'", "storage.url: must hold no fragment"),
        ("url: 'sqlite+aiosqlite:///x.db'", 'names a driver; leave it out; did you mean "sqlite:///x.db"?'),
        ("url: mysql://u:hunter2@x", "storage.url: must look like sqlite:///llmgw.db"),
        ("url: 'sqlite://x.db'", "storage.url: must look like"),
        ("url: 'sqlite:///:memory:'", "storage.url: must name a file"),
        ("url: 'sqlite:///'", "storage.url: must name a file"),
        ("url: 'sqlite:///x.db?mode=ro'", "storage.url: must hold no query"),
        ("durability: max", "storage.durability: must be 'normal' or 'full'"),
        ("redis: postgres://u:hunter2@x", "storage.redis: must look like redis://cache:6379/0"),
    ],
)
def test_refused(storage: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    found = "\n".join(refusals(f"{ECHO}storage: {{{storage}}}"))

    assert refusal in found
    assert "hunter2" not in found
