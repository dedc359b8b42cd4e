"""`storage`: where durable things are kept. Read once, at start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema

from llmgw.config.later import REASON
from llmgw.config.section import ConfigPath, Mistake, Section

_SQLITE = "sqlite:///"


def _sqlite(url: str, info: ValidationInfo) -> str:
    """The URL with an absolute path, when the file's directory is known."""
    scheme, marks, _ = url.partition("://")
    if marks and scheme.partition("+")[0] in ("postgresql", "postgres"):
        raise Mistake(f"PostgreSQL is {REASON}; use {_SQLITE}llmgw.db")
    if scheme.startswith("sqlite+"):
        raise Mistake("names a driver; leave it out", suggestion=url.replace(scheme, "sqlite", 1))
    if not url.startswith(_SQLITE):
        raise Mistake(f"must look like {_SQLITE}llmgw.db, or {_SQLITE}/var/lib/llmgw.db for an absolute path")
    path = url.removeprefix(_SQLITE)
    if path in ("", ":memory:") or path.endswith("/"):
        raise Mistake("must name a file")
    if "?" in path or "#" in path:
        raise Mistake("must hold no query and no fragment")
    directory = (info.context or {}).get("directory")
    return url if directory is None else f"{_SQLITE}{Path(directory) / path}"


SqliteUrl = Annotated[
    str,
    AfterValidator(_sqlite),
    WithJsonSchema({"type": "string", "pattern": r"^sqlite:///.+", "examples": ["sqlite:///llmgw.db"]}),
]


class StorageSettings(Section):
    """The static half's files: a change needs a restart."""

    url: SqliteUrl = Field(default="sqlite:///llmgw.db", validate_default=True)
    """Database. A relative path starts at the configuration file's directory."""
    data_dir: ConfigPath = Field(default=Path(".llmgw"), validate_default=True)
    """Journals and other files of this host."""
    durability: Literal["normal", "full"] = "normal"
    """`full`: fsync each batch of the journal, so that records survive a power failure."""

    @property
    def sqlite_path(self) -> Path:
        """The database file."""
        return Path(self.url.removeprefix(_SQLITE))
