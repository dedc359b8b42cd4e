"""Quantities with units: durations, sizes, counts, shares, money and prices.

A number without its unit is refused where a unit could be meant, because `timeout: 30` has been
read as seconds and as milliseconds. Everything is computed in integers or decimals; money is an
integer number of nano-USD and a price an integer number of nano-USD per million tokens, exactly
as written or not at all.

Each `parse_*` raises ValueError with a message for the person who wrote the value; the types
(`Duration`, `Size`, ...) are what the models of the document use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000
PPM_PER_PERCENT = 10_000
MAX_AMOUNT = 10**12
"""Requests or tokens that a limit can speak of."""
MAX_BUDGET_USD = 10**9

_DURATION_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SIZE = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_COUNT = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3}
_PER_TOKENS = {"k": 1000, "K": 1000, "M": 1_000_000}
_NUMBER = r"(\d{1,15}(?:\.\d{1,12})?)"
_WITH_UNIT = re.compile(rf"{_NUMBER}\s*([A-Za-z]*)")
_PERCENT = re.compile(rf"{_NUMBER}\s*%")
_MONEY = re.compile(rf"{_NUMBER}\s*USD")
_PRICE = re.compile(rf"{_NUMBER}\s*USD\s*/\s*([kKM])")


def parse_duration(value: object) -> float:
    """Seconds, from `250ms`, `30s`, `5m`, `1h`, `1d` or `1w`. Exact to the millisecond."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    milliseconds = _whole(value, _DURATION_MS, "a duration", "30s")
    return milliseconds / 1000


def parse_size(value: object) -> int:
    """Bytes, from `32MiB`, `1MB` or `512B`."""
    return _whole(value, _SIZE, "a size", "32MiB")


def parse_count(value: object) -> int:
    """A whole number, from `100`, `10k` or `2M`."""
    return _whole(value, _COUNT, "a count", "10k")


def parse_percent(value: object) -> int:
    """Parts per million, from `20%` or `0.5%`."""
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{_shown(value)} is not a share; write it like 20%")
    parts = _integer(Decimal(found[1]) * PPM_PER_PERCENT, value)
    if parts > 1_000_000:
        raise ValueError(f"{_shown(value)} is more than 100%")
    return parts


def parse_money(value: object) -> int:
    """Nano-USD, from `50 USD`."""
    found = _MONEY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{_shown(value)} is not an amount; write it like 50 USD")
    return _integer(Decimal(found[1]) * NANO_PER_USD, value)


def parse_price(value: object) -> int:
    """Nano-USD per million tokens, from `2.50 USD/M` or `0.0025 USD/k`."""
    found = _PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{_shown(value)} is not a price; write it like 2.50 USD/M (per million tokens)")
    per_million = Decimal(found[1]) * NANO_PER_USD * TOKENS_PER_PRICE / _PER_TOKENS[found[2]]
    return _integer(per_million, value)


def render_duration(seconds: float) -> str:
    """`90.0` as `90s`, `0.25` as `250ms`; the largest unit that keeps it whole."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit in ("w", "d", "h", "m", "s", "ms") if milliseconds % _DURATION_MS[unit] == 0)
    return f"{milliseconds // _DURATION_MS[unit]}{unit}"


def render_size(size: int) -> str:
    """`32768` as `32KiB`."""
    if size == 0:
        return "0B"
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if size % _SIZE[unit] == 0)
    return f"{size // _SIZE[unit]}{unit}"


def render_percent(ppm: int) -> str:
    """`200000` as `20%`, `5000` as `0.5%`."""
    whole, fraction = divmod(ppm, PPM_PER_PERCENT)
    digits = f"{fraction:04d}".rstrip("0")
    return f"{whole}{'.' if digits else ''}{digits}%"


def render_usd(nano_usd: int) -> str:
    """An exact decimal without an exponent: `2500000000` as `2.5`."""
    whole, fraction = divmod(abs(nano_usd), NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{'-' if nano_usd < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def _whole(value: object, units: Mapping[str, int], noun: str, example: str) -> int:
    """The value in the smallest unit, as an integer."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _WITH_UNIT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{_shown(value)} is not {noun}; write it like {example}")
    number, unit = found.groups()
    if unit not in units:
        known = ", ".join(name for name in units if name)
        reason = f"has the unknown unit {unit!r}" if unit else "needs a unit"
        raise ValueError(f"{_shown(value)} {reason}; write it like {example} (units: {known})")
    return _integer(Decimal(number) * units[unit], value)


def _integer(amount: Decimal, value: object) -> int:
    if amount != amount.to_integral_value():
        raise ValueError(f"{_shown(value)} has more decimals than can be kept exactly")
    return int(amount)


def _shown(value: object) -> str:
    """The value as it may be written, short."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def _off_is_none(value: object) -> object:
    return None if value == "off" else value


def _positive(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError(f"{_shown(value)} must be more than zero")
    return seconds


def _schema(example: str, pattern: str, **more: Any) -> WithJsonSchema:  # Any: JSON Schema is open
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example], **more})


def _show_duration(value: float) -> str:
    return render_duration(value)


_DURATION_JSON = (
    PlainSerializer(_show_duration, return_type=str, when_used="json"),
    _schema("30s", r"^\d+(\.\d+)? ?(ms|s|m|h|d|w)$"),
)

Duration = Annotated[float, BeforeValidator(parse_duration), *_DURATION_JSON]
"""Seconds."""

PositiveDuration = Annotated[float, BeforeValidator(_positive), *_DURATION_JSON]
"""Seconds, more than zero."""

OptionalDuration = Annotated[Duration | None, BeforeValidator(_off_is_none)]
"""Seconds, or None for `off`."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(render_size, return_type=str, when_used="json"),
    _schema("32MiB", r"^\d+(\.\d+)? ?(B|kB|KB|MB|GB|KiB|MiB|GiB)$"),
]
"""Bytes."""

Count = Annotated[
    int,
    BeforeValidator(parse_count),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)? ?[kKMG]?$"},
            ]
        }
    ),
]
"""A whole number."""


def _amount(count: int) -> int:
    if count > MAX_AMOUNT:
        raise ValueError(f"{count} is more than 10^12; write a smaller one, or lift the limit")
    return count


Amount = Annotated[Count, AfterValidator(_amount)]
"""A whole number that a limit can speak of, `MAX_AMOUNT` at most."""

Percent = Annotated[
    int,
    BeforeValidator(parse_percent),
    PlainSerializer(render_percent, return_type=str, when_used="json"),
    _schema("20%", r"^\d+(\.\d+)? ?%$"),
]
"""Parts per million."""


def _show_money(nano_usd: int) -> str:
    return f"{render_usd(nano_usd)} USD"


Money = Annotated[
    int,
    BeforeValidator(parse_money),
    PlainSerializer(_show_money, return_type=str, when_used="json"),
    _schema("50 USD", r"^\d+(\.\d+)? ?USD$"),
]
"""Nano-USD."""


def _budget(nano_usd: int) -> int:
    if nano_usd > MAX_BUDGET_USD * NANO_PER_USD:
        raise ValueError(
            f"{_show_money(nano_usd)} is more than 10^9 USD; write a smaller one, or lift the limit"
        )
    return nano_usd


Budget = Annotated[Money, AfterValidator(_budget)]
"""Nano-USD that a quota can speak of, `MAX_BUDGET_USD` at most."""


def _show_price(per_million: int) -> str:
    return f"{render_usd(per_million)} USD/M"


Price = Annotated[
    int,
    BeforeValidator(parse_price),
    PlainSerializer(_show_price, return_type=str, when_used="json"),
    _schema("2.50 USD/M", r"^\d+(\.\d+)? ?USD ?/ ?[kKM]$"),
]
"""Nano-USD per million tokens."""
