"""Imports point down the floors; third-party packages stay on theirs; the hot path stays lean."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "llmgw"

FLOORS = {
    "wire": 0,
    "redaction": 0,
    "core": 1,
    "ports": 2,
    "dialects": 3,
    "limits": 3,
    "tokens": 3,
    "config": 3,
    "policies": 4,
    "engine": 4,
    "providers": 4,
    "transport": 4,
    "stores": 4,
    "secrets": 4,
    "auth": 4,
    "telemetry": 4,
    "runtime": 5,
    "server": 6,
    "admin": 6,
    "cli": 7,
}
LEFT_ARM = {"policies", "engine"}
HOT = {"wire", "core", "ports", "dialects", "limits", "policies", "engine"}
THIRD_PARTY = {
    "botocore": {"providers"},
    "cryptography": {"auth", "providers"},
    "jwt": {"auth"},
    "google": {"providers"},
    "msgspec": set(FLOORS),
    "httptools": {"transport", "server", "cli"},
    "uvloop": {"server", "cli", "transport"},
    "pydantic": {"config", "cli"},
    "pydantic_core": {"config"},
    "pydantic_settings": {"config"},
    "yaml": {"config", "cli"},
    "sqlalchemy": {"stores", "admin"},
    "alembic": {"stores"},
    "hiredis": {"stores"},
    "aiosqlite": {"stores"},
    "asyncpg": {"stores"},
    "tiktoken": {"tokens"},
    "stdnum": {"redaction"},
    "genai_prices": {"tokens"},
    "starlette": {"server", "admin"},
    "uvicorn": {"server", "admin"},
    "h11": {"server"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli", "telemetry", "server"},
    "prometheus_client": {"telemetry"},
    "httpx2": {"telemetry", "providers"},
    "anyio": {"telemetry"},
}


def modules() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file names in an import, `TYPE_CHECKING` and functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module or ""
            if node.module == "llmgw":
                yield from ((node.lineno, f"llmgw.{alias.name}") for alias in node.names)


def package_of(path: Path) -> str | None:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def may_import(own: str, other: str) -> bool:
    if own == other:
        return True
    if own in LEFT_ARM and other in LEFT_ARM:
        return True
    return FLOORS[other] < FLOORS[own] or (FLOORS[own] == FLOORS[other] == 6)


def test_every_package_has_a_floor() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}

    assert found <= set(FLOORS)


def test_imports_point_down() -> None:
    wrong = []
    for path in modules():
        own = package_of(path)
        if own is None:
            continue
        for line, name in imports(path):
            parts = name.split(".")
            if (
                parts[0] == "llmgw"
                and len(parts) > 1
                and parts[1] in FLOORS
                and not may_import(own, parts[1])
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{line} {own} imports {name}")

    assert wrong == []


def test_third_party_packages_stay_on_their_floors() -> None:
    wrong = []
    for path in modules():
        own = package_of(path)
        if own is None:
            continue
        for line, name in imports(path):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top == "llmgw":
                continue
            if own not in THIRD_PARTY.get(top, set()) or (own in HOT and top != "msgspec"):
                wrong.append(f"{path.relative_to(ROOT)}:{line} {own} imports {top}")

    assert wrong == []


@pytest.mark.parametrize("package", sorted(HOT))
def test_the_hot_path_does_not_wait_on_files_or_sql(package: str) -> None:
    """No blocking module is imported by what every request goes through."""
    for path in sorted((PACKAGE / package).rglob("*.py")):
        for line, name in imports(path):
            assert name.partition(".")[0] not in {"sqlite3", "subprocess", "socket", "requests"}, (
                f"{path}:{line}"
            )
