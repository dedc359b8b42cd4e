"""`python -m tests.bench.kills`: kill -9 under load, over SQLite and over PostgreSQL.

Prints a line for each store and exits with 1 when a record is missing, doubled or invented. Needs
nothing installed: PostgreSQL is the wheel's.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.fakes.kills import CONFIG, Rows, check, kill_often
from tests.fakes.postgres import postgres_server
from tests.fakes.process import rows

KILLS = 200


def measure(store: str, url: str, ask: Rows, place: Path, kills: int, seed: int) -> bool:
    """Whether nothing was lost, and nothing took longer than 10 s."""
    (place / "llmgw.yaml").write_text(CONFIG.format(url=url))
    key = str(rows("keys", "create", cwd=place)["key"])
    began = time.monotonic()
    found = kill_often(place, key, kills, seed)
    try:
        lost = check(found, ask)
    except AssertionError as error:
        print(f"{store}: {error} (seed {seed})")
        return False
    print(
        f"{store}: {kills} kills in {time.monotonic() - began:.0f} s; {len(found.sent)} requests sent, "
        f"{len(found.answered)} answered, each with one record; {lost} under way when killed, "
        f"settled within {found.slowest_s:.1f} s of the restart; 0 missing, 0 twice (seed {seed})"
    )
    return found.slowest_s < 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    good = True
    for store in options.store or ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory(prefix="llmgw-kills-") as directory:
            place = Path(directory)
            if store == "sqlite":
                ask: Rows = partial(_ask_file, place / "llmgw.db")
                good &= measure(store, "sqlite:///llmgw.db", ask, place, options.kills, options.seed)
                continue
            server = postgres_server()
            with server.llmgw() as url:
                ask = partial(server.fetch, url.rpartition("/")[2])
                good &= measure(store, url, ask, place, options.kills, options.seed)
    return 0 if good else 1


def _ask_file(file: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


if __name__ == "__main__":
    sys.exit(main())
