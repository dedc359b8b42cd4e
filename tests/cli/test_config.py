from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.fakes.process import llmgw

GOOD = """
version: 1
providers: {openai: {kind: openai, api_key: "${env:TEST_KEY}"}}
"""
BAD = """\
version: 1
providers:
  openai: {kind: openai, api_key: "${env:TEST_KEY}"}
  openia: {kind: opnai}
modles: {}
models:
  m: {targets: [{provider: opneai, model: x}]}
"""


def test_check(tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(GOOD)

    assert "is valid" in llmgw("config", "check", cwd=tmp_path, env={"TEST_KEY": "x"}).stdout
    missing = llmgw("config", "check", cwd=tmp_path)

    assert missing.returncode == 1
    assert "TEST_KEY" in missing.stderr


def test_every_problem_at_once_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(BAD)

    done = llmgw("config", "check", cwd=tmp_path, env={"TEST_KEY": "x"})

    assert done.returncode == 1
    for said in ("llmgw.yaml:4", "llmgw.yaml:5", "llmgw.yaml:7", '"openai"', '"models"'):
        assert said in done.stderr


def test_n01_show_masks_secrets(tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(GOOD.replace("${env:TEST_KEY}", "sk-canary"))

    shown = llmgw("config", "show", cwd=tmp_path)
    as_json = llmgw("config", "show", "--format", "json", cwd=tmp_path)

    assert "canary" not in shown.stdout + as_json.stdout
    assert yaml.safe_load(shown.stdout)["server"]["listen"] == "127.0.0.1:8080"
    assert json.loads(as_json.stdout)["storage"]["durability"] == "normal"


def test_schema_is_json(tmp_path: Path) -> None:
    schema = json.loads(llmgw("config", "schema", cwd=tmp_path).stdout)

    assert {"server", "providers", "models", "tenants"} <= set(schema["properties"])
