"""What programs of earlier schemas say to the database goes on working on today's.

Their statements stand here as they were, and stay when the schema moves on: a new revision adds a
row to `PROGRAMS` with what was written before it. So a change that would break hosts which are
not upgraded yet turns red here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from llmgw.stores.database import open_database
from llmgw.stores.schema_version import REVISIONS, USABLE_FROM
from llmgw.stores.sql import SqlKeyRegistry, SqlRecordStore
from llmgw.stores.urls import is_postgres
from tests.contracts.records import AT_NS

ALONE = 2
"""The last revision that no earlier program can use: nothing was in use before it."""


class Program(NamedTuple):
    """usage: the columns that it writes of a record, with a value each; keys: of a key."""

    usage: dict[str, Any]
    keys: dict[str, Any]
    reads: tuple[str, ...]


PROGRAMS = {
    "0002": Program(
        usage={
            "request_id": "req_1", "at_ns": AT_NS, "tenant": "acme", "user": "alice", "key_id": "k1",
            "endpoint": "/v1/chat/completions", "operation": "chat", "model": "gpt-4o",
            "provider": "openai", "upstream_model": "gpt-4o-2024-11-20", "route": None,
            "streamed": False, "generation": "g1", "attempts": 1, "status": 200, "outcome": "lost",
            "code": None, "input_tokens": 250, "cached_tokens": 50, "cache_write_tokens": 0,
            "output_tokens": 100, "reasoning_tokens": 10, "usage_source": "reported",
            "cost_nano_usd": 97_500, "price": None, "first_byte_us": 1000, "total_us": 2000,
            "client_request_id": None, "upstream_id": None,
        },
        keys={
            "key_id": "k1", "digest": "sha256:00", "tenant": "acme", "user": None,
            "allow_models": None, "labels": "{}", "created_at": 1, "expires_at": None,
            "revoked_at": None, "rotated_from": None, "rotated_to": None, "changed_seq": 1,
        },
        reads=(
            "SELECT value FROM meta WHERE name = 'keys_changed_seq'",
            'SELECT key_id, tenant, "user", digest, allow_models, expires_at, labels FROM keys '
            "WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > 5)",
            'SELECT tenant, "user", key_id, model, count(*), sum(input_tokens), sum(output_tokens), '
            f"sum(cost_nano_usd) FROM usage WHERE at_ns >= {AT_NS} AND at_ns < {AT_NS + 1} "
            'GROUP BY tenant, "user", key_id, model',
            "SELECT threshold_ppm FROM alerts_told WHERE balance = 'b'",
        ),
    ),
}  # fmt: skip


def insert(table: str, values: dict[str, Any], conflict: str = "") -> str:
    names = ", ".join(f'"{name}"' for name in values)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)}) {conflict}"


@pytest.mark.parametrize("revision", PROGRAMS)
def test_l15_it_goes_on_reading_and_writing(any_url: str, revision: str) -> None:
    """And the two read what the other wrote."""
    program = PROGRAMS[revision]
    key = "request_id, at_ns" if is_postgres(any_url) else "request_id"
    updates = ", ".join(
        f'"{name}" = excluded."{name}"' for name in program.usage if name not in key.split(", ")
    )
    upsert = f"ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE usage.outcome = 'lost'"
    database = open_database(any_url)
    settled = {**program.usage, "outcome": "ok", "output_tokens": 120}

    def work(connection: Any) -> list[int]:
        connection.execute(text(insert("keys", program.keys)), program.keys)
        connection.execute(text("UPDATE meta SET value = value + 1 WHERE name = 'keys_changed_seq'"))
        connection.execute(text(insert("usage", program.usage, upsert)), program.usage)
        for _ in range(2):
            connection.execute(text(insert("usage", settled, upsert)), settled)
        return [len(connection.execute(text(statement)).all()) for statement in program.reads]

    found = database.write(work)

    assert found == [1, 1, 1, 0]
    ((_, record),) = SqlRecordStore(database).last(5)
    assert (record.request_id, record.outcome, record.output_tokens) == ("req_1", "ok", 120)
    issued = SqlKeyRegistry(database).get("k1")
    assert issued is not None
    assert issued.tenant == "acme"
    (row,) = SqlRecordStore(database).sums(["tenant"], None, None)
    assert (row["requests"], row["output_tokens"]) == (1, 120)
    database.dispose()


def test_l15_every_revision_has_its_program() -> None:
    """Whoever adds one writes down what was said before, or hosts are stopped by an upgrade."""
    assert {revision for revision in REVISIONS[:-1] if int(revision) >= ALONE} <= set(PROGRAMS)


def test_l15_the_schema_says_which_programs_can_use_it(any_url: str) -> None:
    """Those of one revision before at least, from the revision after `ALONE` on."""
    database = open_database(any_url)
    statement = text(f"SELECT value FROM meta WHERE name = '{USABLE_FROM}'")
    said = database.read(lambda connection: connection.execute(statement).scalar())
    database.dispose()

    newest = int(REVISIONS[-1])
    assert (newest if said is None else int(said)) <= max(ALONE, newest - 1)
