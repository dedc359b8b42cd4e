"""Where Redis is: `redis://cache:6379/0`, with TLS `rediss://`, behind Sentinel or as a cluster.

    redis://[user:password@]host[:6379][/db]
    redis+sentinel://[user:password@]host[:26379],host.../master[/db]
    redis+cluster://[user:password@]host[:6379],host...

`rediss`, `rediss+sentinel` and `rediss+cluster` speak TLS to Redis, checked against the system's
certificates or those of `?ca=/path/ca.pem`. A decision waits 20 ms for Redis, or what
`?budget=50ms` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from llmgw.config.database_url import DatabaseUrl
from llmgw.config.section import Mistake
from llmgw.ports.secrets import SecretRef

_SCHEME = re.compile(r"(rediss?)(?:\+(sentinel|cluster))?")
_PORTS = {"sentinel": 26379}
_EXAMPLE = "redis://cache:6379/0"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """nodes: host and port of each that may be asked. kind: `single`, `sentinel` or `cluster`.

    budget_s: how long a decision waits.
    """

    kind: str
    nodes: tuple[tuple[str, int], ...]
    tls: bool = False
    ca: str | None = None
    user: str | None = None
    password: str | None = None
    db: int = 0
    master: str = ""
    budget_s: float = 0.02

    @property
    def where(self) -> str:
        """For people: no credentials."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)


def parse_redis_url(text: str) -> RedisUrl:
    """Read a URL. Raises ValueError saying what is wrong, without the URL, which may hold a password."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"must look like {_EXAMPLE}") from error
    scheme = _SCHEME.fullmatch(parts.scheme)
    if scheme is None:
        raise ValueError(f"must look like {_EXAMPLE}, rediss://, redis+sentinel:// or redis+cluster://")
    kind = scheme[2] or "single"
    credentials, at, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    if at and not password:
        raise ValueError("names a user and no password; a password alone is written `:password@`")
    nodes = tuple(_node(host, _PORTS.get(kind, 6379)) for host in hosts.split(","))
    if kind == "single" and len(nodes) > 1:
        raise ValueError("names several hosts; use redis+sentinel:// or redis+cluster://")
    path = [unquote(part) for part in parts.path.split("/")[1:] if part]
    master = ""
    if kind == "sentinel":
        if not path:
            raise ValueError("must name Sentinel's master: redis+sentinel://host:26379/mymaster/0")
        master = path.pop(0)
    if len(path) > 1 or (path and not path[0].isdecimal()) or (kind == "cluster" and path):
        raise ValueError("must end with the number of a database, as in /0; a cluster has none")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    ca = query.pop("ca", None)
    budget = re.fullmatch(r"(\d{1,4})ms", query.pop("budget", "20ms"))
    if budget is None or not int(budget[1]):
        raise ValueError("must give its budget in milliseconds, as in ?budget=20ms")
    if query or parts.fragment:
        raise ValueError("takes no options but ?ca= and ?budget=")
    if ca is not None and scheme[1] != "rediss":
        raise ValueError("has ?ca= without TLS; use rediss://")
    return RedisUrl(
        kind,
        nodes,
        tls=scheme[1] == "rediss",
        ca=ca,
        user=unquote(user) or None,
        password=unquote(password) or None,
        db=int(path[0]) if path else 0,
        master=master,
        budget_s=int(budget[1]) / 1_000,
    )


def _node(text: str, port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]@/]+))(?::(\d{1,5}))?", text)
    if found is None or (found[3] and not 0 < int(found[3]) < 65536):
        raise ValueError(f"must name a host, as in {_EXAMPLE}")
    return found[1] or found[2], int(found[3]) if found[3] else port


class RedisSetting(DatabaseUrl):
    """A Redis URL in the configuration: a secret of which only the password is hidden."""

    __slots__ = ()

    def resolved(self, values: Mapping[SecretRef, str]) -> RedisSetting:
        filled = super().resolved(values)
        return RedisSetting(filled._parts, filled._value)

    @property
    def url(self) -> RedisUrl:
        """What it says. Raises LookupError before its references were resolved."""
        return parse_redis_url(self.get_secret_value())

    @classmethod
    def checked(cls, value: object, directory: Path | None) -> RedisSetting:
        """The URL. Raises Mistake, ValueError."""
        url = cls.parse(value)
        whole = len(url._parts) == 1 and bool(url.references)
        if not whole:
            check_redis_url("".join(part if isinstance(part, str) else "x" for part in url._parts))
        return cls(url._parts, url._value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": r"^(rediss?(\+(sentinel|cluster))?://.+|\$\{.+\})$",
            "examples": ["redis://cache:6379/0", "rediss://:${env:REDIS_PASSWORD}@cache:6379/0"],
        }


def check_redis_url(text: str) -> None:
    """Raises Mistake, without the URL, when no Redis can be meant."""
    try:
        parse_redis_url(text)
    except ValueError as error:
        raise Mistake(str(error)) from None
