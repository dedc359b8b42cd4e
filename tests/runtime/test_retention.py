"""No quota misses a record that was removed."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from llmgw.config.load import document_from_text
from llmgw.limits.calendar import period
from llmgw.runtime.retention import usage_kept_s

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"
DAY_S = 86_400


def kept(retention: str, *windows: str) -> float | None:
    quotas = ", ".join(
        f"{{per: {per}, requests: 5, window: {window}}}"
        for per, window in zip(("tenant", "user", "key"), windows, strict=False)
    )
    return usage_kept_s(document_from_text(f"{ECHO}retention: {{usage: {retention}}}\nquotas: [{quotas}]"))


def test_as_long_as_it_says() -> None:
    assert kept("off", "month") is None
    assert kept("400d", "month") == 400 * DAY_S
    assert kept("2d") == 2 * DAY_S


@pytest.mark.parametrize("window", ["minute", "hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_g12_longer_where_a_quotas_window_is(window: str, zone: str) -> None:
    """Whatever the moment: the day that is dropped ends before any running period begins."""
    seconds = kept("1d", "hour", window)
    assert seconds is not None
    for now in range(1_790_000_000, 1_790_000_000 + 400 * DAY_S, 20_011):
        begins, _ = period(window, ZoneInfo(zone), now)
        assert int((now - seconds) // DAY_S) * DAY_S <= begins
