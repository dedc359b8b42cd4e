"""A histogram of fixed buckets, cheap enough for every request.

One bisect and two additions; the cumulative form that Prometheus wants is made at the scrape.
"""

from __future__ import annotations

from bisect import bisect_left

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
FIRST_BYTE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60)
OVERHEAD_SECONDS = (
    0.00005,
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
)


class Histogram:
    """Counts per bucket, the last one for what exceeds every bound.

    bounds: upper bounds, inclusive, ascending.
    counts: one more than the bounds; not cumulative.
    total: the sum of everything observed.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus reads them: `le` as text, and everything up to it."""
        rows: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), list(self.counts), strict=True):
            seen += count
            rows.append(("+Inf" if bound == float("inf") else str(float(bound)), seen))
        return rows
