"""The process's own overrides of `server` and `storage`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmgw.config.load import document_from_text

TEXT = (
    "version: 1\nserver: {listen: 127.0.0.1:1, front_door: {max_headers: 7}}\nproviders: {e: {kind: echo}}\n"
)


def test_overrides() -> None:
    """A variable wins over the file and leaves its neighbours alone."""
    document = document_from_text(
        TEXT,
        path=Path("/etc/llmgw/llmgw.yaml"),
        environ={
            "LLMGW_SERVER__LISTEN": "0.0.0.0:9",
            "LLMGW_SERVER__WORKERS": "1",
            "LLMGW_SERVER__FRONT_DOOR__MAX_BODY": "1MiB",
            "LLMGW_SERVER__FRONT_DOOR__CONNECTIONS_PER_IP": "5",
            "LLMGW_SERVER__TRUSTED_PROXIES": '["10.0.0.0/8"]',
            "LLMGW_STORAGE__URL": "sqlite:///other.db",
        },
    )

    assert str(document.server.listen) == "0.0.0.0:9"
    assert document.server.front_door.max_body == 1 << 20
    assert document.server.front_door.max_headers == 7
    assert document.server.front_door.connections_per_ip == 5
    assert [str(network) for network in document.server.trusted_proxies] == ["10.0.0.0/8"]
    assert document.storage.database == "sqlite:////etc/llmgw/other.db"


def test_other_variables_are_left_alone() -> None:
    """They may be what a reference names."""
    environ = {
        "LLMGW_OPENAI_KEY": "x",
        "LLMGW_LOGGING__LEVEL": "debug",
        "LLMGW_SERVER": "x",
        "SERVER__LISTEN": "x",
    }

    assert document_from_text(TEXT, environ=environ).generation == document_from_text(TEXT).generation


def test_override_changes_the_generation() -> None:
    changed = document_from_text(TEXT, environ={"LLMGW_SERVER__LAME_DUCK": "1s"})

    assert changed.generation != document_from_text(TEXT).generation


def test_problems_name_the_variable(refusals: Callable[..., list[str]]) -> None:
    found = refusals(
        TEXT,
        environ={
            "LLMGW_SERVER__LISTN": "0.0.0.0:9",
            "LLMGW_SERVER__WORKERS": "many",
            "LLMGW_SERVER__TRUSTED_PROXIES": "[10.0.0.0/8",
            "LLMGW_STORAGE__REDIS": "http://x",
        },
    )

    assert found == [
        'LLMGW_SERVER__LISTN server.listn: unknown key; did you mean "listen"?',
        "LLMGW_SERVER__TRUSTED_PROXIES server.trusted_proxies: must be a list",
        "LLMGW_SERVER__WORKERS server.workers: must be a whole number",
        "LLMGW_STORAGE__REDIS storage.redis: must look like redis://cache:6379/0, rediss://, "
        "redis+sentinel:// or redis+cluster://",
    ]
