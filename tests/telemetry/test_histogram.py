from __future__ import annotations

import pytest

from llmgw.telemetry.histogram import FIRST_BYTE_SECONDS, OVERHEAD_SECONDS, REQUEST_SECONDS, Histogram


def test_bounds_are_inclusive() -> None:
    histogram = Histogram((1.0, 2.0))

    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)

    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


def test_cumulative_ends_with_everything() -> None:
    histogram = Histogram((1.0, 2.5))

    for value in (1, 2, 3):
        histogram.observe(value)

    assert histogram.cumulative() == [("1.0", 1), ("2.5", 2), ("+Inf", 3)]


@pytest.mark.parametrize("bounds", [REQUEST_SECONDS, FIRST_BYTE_SECONDS, OVERHEAD_SECONDS])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
