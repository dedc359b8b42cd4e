"""`python -m tests.bench.report`: a usage report over many records, on PostgreSQL and SQLite.

Loads a hundred thousand records the way the drainer does and has the database make the rest
(10 million by default, 8 GB of disk), then times `usage report --by tenant,day` and its likes as the
program asks them. Exits with 1 when PostgreSQL takes longer than 2 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from llmgw.core.record import Settled
from llmgw.stores.database import open_database
from llmgw.stores.days import DAY_NS
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from llmgw.stores.sql import SqlRecordStore
from llmgw.stores.urls import is_postgres
from tests.contracts.records import settled
from tests.fakes.postgres import postgres_server

RECORDS = 10_000_000
DAYS = 30
BATCH = 2000
LOADED = 100_000
ASKED_S = 2.0
REPORTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tenant,day", ("tenant", "day")),
    ("tenant,model", ("tenant", "model")),
    ("nothing", ()),
)


def one(number: int, at_ns: int) -> Settled:
    """50 tenants, 500 users, 5 models; one in 97 failed."""
    return settled(
        number,
        at_ns=at_ns,
        tenant=f"tenant-{number % 50}",
        user=f"user-{number * 7 % 500}",
        model=f"model-{number % 5}",
        outcome="ok" if number % 97 else "upstream_error",
    )


def load(url: str, now_ns: int) -> float:
    """How many records a second were loaded, spread over the days."""
    sink = open_sink(url, durable=False)
    sink.alone = True
    step = DAYS * DAY_NS // LOADED
    began = time.perf_counter()
    for first in range(0, LOADED, BATCH):
        numbers = range(first, first + BATCH)
        sink.load([one(number, now_ns - DAYS * DAY_NS + number * step) for number in numbers])
    seconds = time.perf_counter() - began
    sink.close()
    return LOADED / seconds


def fill(url: str, count: int, now_ns: int) -> None:
    """Make the rest in the database, a day at a time."""
    database = open_database(url)
    each = -(-count // DAYS)
    sample = one(0, 0)
    made = {
        "request_id": "'made_' || n",
        "at_ns": f"{{start}} + (n % {each}) * {DAY_NS // each}",
        "tenant": "'tenant-' || (n % 50)",
        '"user"': "'user-' || (n * 7 % 500)",
        "model": "'model-' || (n % 5)",
        "outcome": "CASE WHEN n % 97 = 0 THEN 'upstream_error' ELSE 'ok' END",
    }
    columns = {
        f'"{name}"': literal(getattr(sample, name))
        for name in sample.__struct_fields__
        if name not in made and f'"{name}"' not in made
    } | made
    for day in range(DAYS):
        first, last = day * each, min(count, (day + 1) * each) - 1
        start = now_ns - (DAYS - day) * DAY_NS
        following = f"SELECT n + 1 FROM numbers WHERE n < {last}"
        numbers = f"WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL {following})"
        if is_postgres(url):
            numbers = f"WITH numbers(n) AS (SELECT generate_series({first}::bigint, {last}))"
        statement = (
            f"{numbers} INSERT INTO usage ({', '.join(columns)}) "
            f"SELECT {', '.join(columns.values()).replace('{start}', str(start))} FROM numbers"
        )
        if not is_postgres(url):
            statement = statement.replace(f"{numbers} INSERT", "INSERT").replace(
                ") SELECT", f") {numbers} SELECT"
            )
        database.write(lambda connection, statement=statement: connection.exec_driver_sql(statement))
    database.dispose()


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value)


def measure(store: str, url: str, count: int, size: int) -> float:
    """Prints the figures; the slower of two runs of the report by tenant and day."""
    database = open_database(url)
    records = SqlRecordStore(database)
    worst = 0.0
    for name, by in REPORTS:
        times = [timed(records, by, count) for _ in range(2)]
        print(f"{store}: report by {name}: {times[0]:.2f} s, again {times[1]:.2f} s")
        if by == ("tenant", "day"):
            worst = max(times)
    week = time.time_ns() - 7 * DAY_NS
    began = time.perf_counter()
    records.sums(("tenant", "day"), week, None)
    print(f"{store}: report by tenant,day of the last 7 days: {time.perf_counter() - began:.2f} s")
    print(f"{store}: {size / count:.0f} bytes a record, indexes included")
    database.dispose()
    return worst


def timed(records: SqlRecordStore, by: Sequence[str], count: int) -> float:
    began = time.perf_counter()
    rows = records.sums(by, None, None)
    seconds = time.perf_counter() - began
    assert sum(int(row["requests"] or 0) for row in rows) == count
    return seconds


def make(store: str, url: str, count: int) -> None:
    now_ns = time.time_ns()
    print(f"{store}: {load(url, now_ns):,.0f} records a second loaded")
    fill(url, count - LOADED, now_ns)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.report", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    good = True
    for store in options.store or ["sqlite", "postgresql"]:
        if store == "sqlite":
            with tempfile.TemporaryDirectory(prefix="llmgw-report-") as directory:
                file = Path(directory) / "u.db"
                create_schema(f"sqlite:///{file}")
                make(store, f"sqlite:///{file}", options.records)
                measure(store, f"sqlite:///{file}", options.records, file.stat().st_size)
            continue
        server = postgres_server()
        with server.llmgw() as url:
            name = url.rpartition("/")[2]
            make(store, url, options.records)
            server.execute(name, "VACUUM ANALYZE usage_hours")
            ((size,),) = server.fetch(name, f"SELECT pg_database_size('{name}')")
            good &= measure(store, url, options.records, int(size)) <= ASKED_S
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
