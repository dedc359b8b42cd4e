"""A threshold that a budget has crossed."""

from __future__ import annotations

from msgspec import Struct


class Alert(Struct, frozen=True, kw_only=True):
    """Told once for each balance, period and threshold.

    balance: key of the balance, unique to its period: what "once" is about.
    threshold_ppm: the share that was reached, in parts per million of the limit.
    subject: whose budget: `tenant`, `user` or `key` and its name, as `{"tenant": "acme", "user": "alice"}`.
    unit: `requests`, `tokens`, `input_tokens`, `output_tokens` or `cost` (nano-USD).
    resets_at_s: UTC seconds since the epoch at which the period ends.
    """

    balance: str
    threshold_ppm: int
    subject: dict[str, str]
    unit: str
    window: str
    model: str | None
    used: int
    limit: int
    resets_at_s: int
