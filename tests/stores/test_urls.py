from __future__ import annotations

import pytest

from llmgw.stores.urls import is_postgres, shown


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///data/x.db", "data/x.db"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("postgresql+asyncpg://u:hunter2@h:5/d", "postgresql://u@h:5/d"),
        ("postgres://h/d?sslmode=require&password=hunter2", "postgresql://h/d?sslmode=require"),
        ("postgresql:///d?host=/run/pg", "postgresql:///d?host=/run/pg"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, name: str) -> None:
    assert shown(url) == name
    assert is_postgres(url) is not url.startswith("sqlite")
