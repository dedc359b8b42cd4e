"""The database's URL: text with a password in it, which is never shown.

A reference between literal text, as in `postgresql://llmgw:${env:PGPASSWORD}@db/llmgw`, stands
for the value as it is: what a URL gives another meaning to is escaped when it is filled in. A
URL that is one reference as a whole is taken as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from llmgw.config.secret import MASK, Secret
from llmgw.config.section import Mistake
from llmgw.ports.secrets import SecretRef

SQLITE = "sqlite:///"
_POSTGRES = ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg")
_FORM = (
    f"must look like {SQLITE}llmgw.db, {SQLITE}/var/lib/llmgw.db for an absolute path, or "
    "postgresql://user:password@host/database"
)
_PASSWORD = re.compile(r"(?<=://)([^/?#]*?:)(.*)(?=@)|([?&](?:password|sslpassword)=)([^&]*)")
_REFERENCE = re.compile("\0(\\d+)\0")


class DatabaseUrl(Secret):
    """A secret of which only the password is hidden."""

    __slots__ = ()

    def resolved(self, values: Mapping[SecretRef, str]) -> DatabaseUrl:
        whole = len(self._parts) == 1
        return DatabaseUrl(
            self._parts,
            "".join(
                part if isinstance(part, str) else values[part] if whole else quote(values[part], safe="")
                for part in self._parts
            ),
        )

    def __str__(self) -> str:
        text = "".join(part if isinstance(part, str) else f"\0{at}\0" for at, part in enumerate(self._parts))
        shown = _PASSWORD.sub(_masked, text)
        return _REFERENCE.sub(lambda found: str(self._parts[int(found[1])]), shown)

    @property
    def is_open(self) -> bool:
        """Whether there is nothing to hide and nothing to fill in, as with every SQLite file."""
        return str(self) == self._value

    @classmethod
    def checked(cls, value: object, directory: Path | None) -> DatabaseUrl:
        """The URL; a relative path of SQLite starts at `directory`. Raises Mistake, ValueError."""
        url = cls.parse(value)
        assert isinstance(url, DatabaseUrl)
        if url.references:
            if len(url._parts) > 1:
                # The shape can be judged before the values are there.
                check_database_url("".join(part if isinstance(part, str) else "x" for part in url._parts))
            return url
        text = url.get_secret_value()
        check_database_url(text)
        if directory is not None and text.startswith(SQLITE):
            text = f"{SQLITE}{directory / text.removeprefix(SQLITE)}"
        return cls((text,), text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def checked(value: object, info: core_schema.ValidationInfo) -> DatabaseUrl:
            directory = (info.context or {}).get("directory")
            return cls.checked(value, None if directory is None else Path(directory))

        return core_schema.with_info_plain_validator_function(
            checked, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": r"^(sqlite:///.+|postgres(ql)?(\+asyncpg)?://.+|\$\{.+\})$",
            "examples": ["sqlite:///llmgw.db", "postgresql://llmgw:${env:PGPASSWORD}@db/llmgw"],
        }


def check_database_url(text: str) -> None:
    """Raises Mistake, without the URL, when no database can be meant."""
    scheme, marks, rest = text.partition("://")
    if marks and scheme in _POSTGRES:
        _check_postgres(text)
        return
    if marks and scheme.startswith(("postgresql+", "postgres+")):
        raise Mistake("names a driver that llmgw does not use; write postgresql://")
    if scheme.startswith("sqlite+"):
        raise Mistake("names a driver; leave it out", suggestion=f"sqlite://{rest}")
    if not text.startswith(SQLITE):
        raise Mistake(_FORM)
    path = text.removeprefix(SQLITE)
    if path in ("", ":memory:") or path.endswith("/"):
        raise Mistake("must name a file")
    if "?" in path or "#" in path:
        raise Mistake("must hold no query and no fragment")


def _check_postgres(text: str) -> None:
    try:
        split = urlsplit(text)
        named = split.hostname or parse_qs(split.query).get("host")
        if "," not in split.netloc:
            split.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise Mistake("is no URL; escape special characters of the password, as in %40 for @") from None
    if not named:
        raise Mistake("must name a host, as in postgresql://user:password@host/database")
    if len(split.path) < 2 or "/" in split.path[1:]:
        raise Mistake("must name one database, as in postgresql://user:password@host/database")
    if split.fragment:
        raise Mistake("must hold no fragment; escape special characters of the password, as in %23 for #")


def _masked(found: re.Match[str]) -> str:
    before, secret = found[1] or found[3], found[2] or found[4] or ""
    literal = _REFERENCE.sub("", secret)
    return f"{before}{MASK if literal else secret}"
