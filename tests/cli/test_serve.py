from __future__ import annotations

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_a_number_of_workers_that_cannot_be(llmgw: Run, number: str) -> None:
    done = llmgw("serve", "--workers", number)

    assert done.code == 2
    assert "--workers" in done.err
