from __future__ import annotations

import pytest

from llmgw.cli.config_changes import print_changes
from llmgw.config.diff import Change


def test_each_change_is_told_in_its_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Without what says nothing, and never longer than a line."""
    long = "x" * 300
    print_changes(
        "aaa",
        "bbb",
        [
            Change("changed", "limits.global.requests", 10, 20, "everybody"),
            Change("added", "models.m", None, {"targets": [{"weight": 1}], "mirror": None}, "model m"),
            Change("removed", "routes.r", {"name": "r"}, None, "route r, every tenant"),
            Change("changed", "providers.p.base_url", long, "short", "nobody"),
        ],
    )

    assert capsys.readouterr().out.splitlines() == [
        "generation aaa -> bbb: 4 changes",
        "",
        "changed  limits.global.requests",
        "         10 -> 20",
        "         affects everybody",
        "",
        "added    models.m",
        '         {"targets": [{"weight": 1}]}',
        "         affects model m",
        "",
        "removed  routes.r",
        '         {"name": "r"}',
        "         affects route r, every tenant",
        "",
        "changed  providers.p.base_url",
        f"         {'x' * 97}...",
        "         -> short",
        "         affects nobody",
    ]


def test_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_changes("aaa", "bbb", [])

    assert capsys.readouterr().out == "nothing changes: generation aaa\n"
