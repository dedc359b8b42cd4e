from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.server.plane import StartProblem
from llmgw.server.sole import alone_on


def hold(data_dir: Path) -> None:
    with alone_on(data_dir):
        pass


def test_a_second_gateway_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    data_dir = tmp_path / "made" / "for it"
    refusal = r"another gateway runs on storage\.data_dir .*for it; stop it"

    with alone_on(data_dir), pytest.raises(StartProblem, match=refusal):
        hold(data_dir)

    hold(data_dir)


def test_l17_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StartProblem, match=r"storage\.data_dir .*/file cannot be used: .*File exists"):
        hold(tmp_path / "file")
