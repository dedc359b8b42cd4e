"""`storage`: where durable things are kept. Read once, at start."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from llmgw.config.database_url import SQLITE, DatabaseUrl
from llmgw.config.redis_url import RedisSetting
from llmgw.config.section import ConfigPath, Section


class StorageSettings(Section):
    """The static half's files: a change needs a restart."""

    url: DatabaseUrl = Field(default=DatabaseUrl.checked(f"{SQLITE}llmgw.db", None), validate_default=True)
    """Database: a SQLite file, or PostgreSQL for many hosts. A relative path starts at the configuration
    file's directory."""
    redis: RedisSetting | None = None
    """Counters that all hosts share: redis://cache:6379/0, rediss://, redis+sentinel:// or redis+cluster://."""
    redis_mode: Literal["exact", "lease"] = "exact"
    """`lease`: a worker takes up to 2 % of a busy limit in advance, over all workers; most requests then wait
    for no answer of Redis. Quotas stay exact."""
    data_dir: ConfigPath = Field(default=Path(".llmgw"), validate_default=True)
    """Journals and other files of this host."""
    durability: Literal["normal", "full"] = "normal"
    """`full`: fsync each batch of the journal, so that records survive a power failure."""

    @property
    def database(self) -> str:
        """The URL with its password. Raises LookupError before its references were resolved."""
        return self.url.get_secret_value()

    @property
    def sqlite_path(self) -> Path | None:
        """The database file; None for PostgreSQL."""
        url = self.database
        return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None
