"""Which schema a database has, found without Alembic: a start cannot afford its import.

`FRESH_DDL` is what `alembic upgrade head` makes of an empty file, so that a first start costs
milliseconds; a test holds the two, and `schema.py`, to each other. On PostgreSQL the first start
of all runs Alembic.

Migrations add and never take away, so that a program runs on the schema of the next one while
hosts are replaced one after the other. A schema says from which revision on: `USABLE_FROM`.
"""

from __future__ import annotations

import sqlite3
from enum import Enum
from typing import TYPE_CHECKING

from llmgw.core.errors import Unavailable
from llmgw.stores.sqlite import DatabaseProblem, check_file, connect, database_path
from llmgw.stores.urls import is_postgres, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISIONS = ("0001", "0002")
"""Every revision this program knows, oldest first. The scripts are in `migrations/versions`."""
HEAD = REVISIONS[-1]
USABLE_FROM = "usable_from"
"""The row of `meta` that a migration writes when programs before it go on working: the number of
the oldest revision whose program does. Without it only a program that knows the revision does."""

FRESH_DDL = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
CREATE TABLE meta (name TEXT NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (name));
CREATE TABLE keys (
    key_id TEXT NOT NULL, digest TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT,
    allow_models TEXT, labels TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT,
    revoked_at BIGINT, rotated_from TEXT, rotated_to TEXT, changed_seq BIGINT NOT NULL,
    PRIMARY KEY (key_id), UNIQUE (digest));
CREATE INDEX keys_tenant ON keys (tenant);
CREATE TABLE usage (
    seq INTEGER NOT NULL, request_id TEXT NOT NULL, at_ns BIGINT NOT NULL, tenant TEXT NOT NULL,
    user TEXT, key_id TEXT, endpoint TEXT NOT NULL, operation TEXT NOT NULL, model TEXT NOT NULL,
    provider TEXT NOT NULL, upstream_model TEXT NOT NULL, route TEXT, streamed BOOLEAN NOT NULL,
    generation TEXT NOT NULL, attempts BIGINT NOT NULL, status BIGINT NOT NULL,
    outcome TEXT NOT NULL, code TEXT, input_tokens BIGINT NOT NULL, cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL, usage_source TEXT NOT NULL, cost_nano_usd BIGINT, price TEXT,
    first_byte_us BIGINT, total_us BIGINT NOT NULL, client_request_id TEXT, upstream_id TEXT,
    PRIMARY KEY (seq), UNIQUE (request_id));
CREATE INDEX usage_at ON usage (at_ns);
CREATE INDEX usage_tenant_at ON usage (tenant, at_ns);
CREATE TABLE alerts_told (
    balance TEXT NOT NULL, threshold_ppm BIGINT NOT NULL, at_s BIGINT NOT NULL,
    PRIMARY KEY (balance, threshold_ppm));
CREATE INDEX alerts_told_at ON alerts_told (at_s);
"""


class SchemaState(Enum):
    """fresh: nothing there yet. foreign: tables that are not ours. newer: a newer program's, which
    this one can use too. ahead: one that it cannot use.
    """

    FRESH = "fresh"
    CURRENT = "current"
    BEHIND = "behind"
    NEWER = "newer"
    AHEAD = "ahead"
    FOREIGN = "foreign"


_OURS = {"meta", "keys", "usage"}
_Found = tuple[set[str], str | None, int | None]
"""The tables' names, the revision, and from which revision on programs can use it."""


def check_database(url: str) -> None:
    """Look whether the database can be used, within milliseconds. Raises DatabaseProblem with a hint."""
    if is_postgres(url):
        from llmgw.stores.postgres import check_server

        check_server(url)
    else:
        check_file(url)


def schema_revision(url: str) -> str | None:
    """The revision that stands in the database, None when there is none."""
    return _look(url)[1]


def schema_state(url: str) -> SchemaState:
    """How the database's schema relates to this program's. Changes nothing, makes no file.

    Raises DatabaseProblem when it cannot be read.
    """
    tables, revision, usable_from = _look(url)
    if not tables:
        return SchemaState.FRESH
    if revision is None or not tables >= _OURS:
        return SchemaState.FOREIGN
    if revision == HEAD:
        return SchemaState.CURRENT
    if revision in REVISIONS:
        return SchemaState.BEHIND
    return SchemaState.NEWER if usable_from is not None and usable_from <= int(HEAD) else SchemaState.AHEAD


def _look(url: str) -> _Found:
    return _look_postgres(url) if is_postgres(url) else _look_sqlite(url)


_REVISION = "SELECT version_num FROM alembic_version"
_USABLE = f"SELECT value FROM meta WHERE name = '{USABLE_FROM}'"  # noqa: S608 - our own constant


def _look_sqlite(url: str) -> _Found:
    path = database_path(url)
    if not path.exists() or path.stat().st_size == 0:
        return set(), None, None
    try:
        connection = connect(path, checkpoints=False)
        try:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            revision = usable = None
            if "alembic_version" in names:
                revision = connection.execute(_REVISION).fetchone()
            if "meta" in names and revision is not None and revision[0] not in REVISIONS:
                usable = connection.execute(_USABLE).fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseProblem.of(path, error) from error
    return names, revision[0] if revision else None, usable[0] if usable else None


def _look_postgres(url: str) -> _Found:
    from llmgw.stores.postgres import PostgresDatabase

    def look(connection: Connection) -> _Found:
        found = connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        names = {row[0] for row in found}
        revision = usable = None
        if "alembic_version" in names:
            revision = connection.exec_driver_sql(_REVISION).scalar()
        if "meta" in names and revision is not None and revision not in REVISIONS:
            usable = connection.exec_driver_sql(_USABLE).scalar()
        return names, revision, usable

    database = PostgresDatabase(url)
    try:
        return database.read(look)
    except Unavailable as error:
        raise DatabaseProblem(f"the schema of {shown(url)} cannot be read: {error.detail}") from error
    finally:
        database.dispose()


def create_schema(url: str) -> None:
    """Make the current schema in a database that has none. A second caller finds it made."""
    if is_postgres(url):
        from llmgw.stores.migrate import migrate

        migrate(url)
        return
    path = database_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = connect(path, checkpoints=True)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                for statement in filter(str.strip, FRESH_DDL.split(";")):
                    connection.execute(statement)
                connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
                connection.execute("INSERT INTO meta VALUES ('keys_changed_seq', 0)")
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseProblem.of(path, error) from error
