"""How long usage records are kept, so that no quota misses one."""

from __future__ import annotations

from llmgw.config.document import Document

_DAY_S = 86_400.0
_NEEDS_DAYS = {"minute": 2, "hour": 2, "day": 3, "week": 9, "month": 33}
"""A window's longest period, and what time zones and the whole day add to it."""


def usage_kept_s(document: Document) -> float | None:
    """Seconds that records stay at the least; None for ever."""
    wanted = document.retention.usage
    if wanted is None:
        return None
    needed = max((_NEEDS_DAYS[rule.window] for rule in document.all_quota_rules()), default=0)
    return max(wanted, needed * _DAY_S)
