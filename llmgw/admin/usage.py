"""Usage, summed and followed, for the command line and the admin API alike. Sums are exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time

from llmgw.config.quantities import NANO_PER_USD, parse_duration
from llmgw.core.errors import InvalidRequest
from llmgw.core.record import Settled
from llmgw.ports.stores import GROUPS, RecordStore

_BATCH = 500


def report(
    records: RecordStore, by: Sequence[str], since: datetime | None = None, until: datetime | None = None
) -> list[dict[str, str | int | None]]:
    """One row a group: the group's names, counts, and money as an integer and as a decimal.

    by: of `GROUPS`, each once; none for one row over everything.
    `cost_nano_usd` adds up the requests whose price is known; `unpriced_requests` counts the others.
    Raises InvalidRequest for a group that does not exist.
    """
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise InvalidRequest(
            f'usage cannot be summed by "{unknown[0]}"; by any of {", ".join(GROUPS)}', param="by"
        )
    if since is not None and until is not None and since >= until:
        raise InvalidRequest("the span ends before it begins", param="until")
    rows = records.sums(tuple(dict.fromkeys(by)), _ns(since), _ns(until))
    return [_with_usd(row) for row in rows]


def _with_usd(row: dict[str, str | int | None]) -> dict[str, str | int | None]:
    priced: dict[str, str | int | None] = {}
    for name, value in row.items():
        priced[name] = value
        if name == "cost_nano_usd":
            priced["cost_usd"] = render_cost(value if isinstance(value, int) else 0)
    return priced


def render_cost(nano_usd: int) -> str:
    """US dollars with all nine decimals: `0.000123456`."""
    whole, rest = divmod(abs(nano_usd), NANO_PER_USD)
    return f"{'-' if nano_usd < 0 else ''}{whole}.{rest:09d}"


def tail(records: RecordStore, limit: int) -> tuple[list[dict[str, object]], int]:
    """The newest records, oldest first, and the place to follow them from."""
    found = records.last(limit)
    return [row(record) for _, record in found], found[-1][0] if found else 0


def follow(records: RecordStore, place: int) -> tuple[list[dict[str, object]], int]:
    """What was recorded since `place`, and the next place."""
    rows: list[dict[str, object]] = []
    for page in _pages(records, place):
        rows += [row(record) for _, record in page]
        place = page[-1][0]
    return rows, place


def _pages(records: RecordStore, place: int) -> Iterator[Sequence[tuple[int, Settled]]]:
    while page := records.after(place, _BATCH):
        yield page
        place = page[-1][0]


def row(record: Settled) -> dict[str, object]:
    """A record as machines read it: the fields' names, the time in ISO 8601, money also decimal."""
    seconds, rest = divmod(record.at_ns, 10**9)
    at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    values: dict[str, object] = {"at": f"{at}.{rest // 1_000_000:03d}Z"}
    for name in record.__struct_fields__:
        if name == "at_ns":
            continue
        value = getattr(record, name)
        values["key" if name == "key_id" else name] = value
        if name == "cost_nano_usd":
            values["cost_usd"] = None if value is None else render_cost(value)
    return values


def parse_moment(text: str, now: datetime) -> datetime:
    """A moment from `7d` (so long before now), `2026-01-31` (its first moment) or an ISO time.

    UTC unless the text says otherwise. Raises InvalidRequest.
    """
    try:
        if len(text) == len("2026-01-31") and text[4] == "-":
            return datetime.combine(date.fromisoformat(text), day_time(), UTC)
        if len(text) > len("2026-01-31") and text[4] == "-":
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return now - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f'"{text[:40]}" is not a span such as 7d, a date such as 2026-01-31, or an ISO time'
        ) from None


def _ns(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds) * 1000
