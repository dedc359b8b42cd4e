"""Which route a request takes: the first whose conditions all hold. No I/O.

What depends on the path, the tenant and the model alone is decided once for each three and kept,
so that a request tries only what is left of the routes that can still match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from msgspec import Struct

from llmgw.core.exchange import Exchange

PATH = b":path"
PREFIX = b":prefix"
"""Fields that the door sets where a request's path is not its endpoint's: the path as it is
served, and what was taken off before it. No client can send a header with such a name."""

_KEPT = 4096
_LONGEST_KEPT = 256
"""As long as a configured model's name can be. What a caller makes up may be megabytes."""
_MAX_VALUE = 256


class Asked(Struct, frozen=True, gc=False):
    """What routes are matched by. path: whole, with the prefix. host: without port, in lower case."""

    path: str
    prefix: str
    host: str
    fields: Mapping[bytes, bytes]
    tenant: str
    user: str | None
    labels: tuple[tuple[str, str], ...]
    model: str
    claims: tuple[tuple[str, tuple[str, ...]], ...] = ()


def asked_of(ex: Exchange) -> Asked:
    """What a request whose principal and model are known is matched by."""
    principal = ex.principal
    assert principal is not None
    fields = ex.fields
    prefix = fields.get(PREFIX, b"").decode("latin-1")
    path = fields[PATH].decode("latin-1") if PATH in fields else ex.endpoint.path
    return Asked(
        prefix + path,
        prefix,
        host_name(fields.get(b"host", b"")),
        fields,
        principal.tenant,
        principal.user,
        principal.labels,
        ex.model or "",
        principal.claims,
    )


def host_name(field: bytes) -> str:
    """The host in a `Host` field, without its port."""
    host = field.decode("latin-1").lower()
    return host if host.startswith("[") else host.partition(":")[0].rstrip(".")


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """text: how it is told, as in `model is gpt-*`.
    settled: it depends on nothing but the path, the tenant and the model."""

    text: str
    holds: Callable[[Asked], bool]
    settled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """prefix: what it takes off the path. A request is only for routes that take off what was taken off."""

    name: str
    prefix: str
    conditions: tuple[Condition, ...]

    def lacks(self, asked: Asked) -> str | None:
        """Why it does not match, None when it does: the first condition that does not hold."""
        if asked.prefix and asked.prefix != self.prefix:
            return f"it takes no {asked.prefix} off the path"
        for condition in self.conditions:
            if not condition.holds(asked):
                return f"not so: {condition.text}"
        return None


_Candidates = tuple[tuple[str, tuple[Callable[[Asked], bool], ...]], ...]
"""Names of routes, and what of each is yet to be tried."""


class Routes:
    """In the order of the file."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._open: dict[tuple[str, str, str, str], _Candidates] = {}

    def first(self, asked: Asked) -> str | None:
        """The name of the route that a request takes, None for none."""
        key = (asked.path, asked.prefix, asked.tenant, asked.model)
        candidates = self._open.get(key)
        if candidates is None:
            candidates = self._candidates(asked)
            if len(asked.model) <= _LONGEST_KEPT and len(asked.path) <= _LONGEST_KEPT:
                if len(self._open) >= _KEPT:
                    self._open.clear()
                self._open[key] = candidates
        for name, conditions in candidates:
            for holds in conditions:
                if not holds(asked):
                    break
            else:
                return name
        return None

    def considered(self, asked: Asked) -> list[tuple[str, str | None]]:
        """Each route and why it does not match, up to the one that does."""
        told: list[tuple[str, str | None]] = []
        for route in self._routes:
            lacks = route.lacks(asked)
            told.append((route.name, lacks))
            if lacks is None:
                break
        return told

    def _candidates(self, asked: Asked) -> _Candidates:
        found = []
        for route in self._routes:
            if asked.prefix and asked.prefix != route.prefix:
                continue
            if all(one.holds(asked) for one in route.conditions if one.settled):
                still = tuple(one.holds for one in route.conditions if not one.settled)
                found.append((route.name, still))
                if not still:
                    break
        return tuple(found)


def tenant_is(tenant: str) -> Condition:
    return Condition(f"tenant is {tenant}", lambda asked: asked.tenant == tenant, settled=True)


def model_is(pattern: str) -> Condition:
    return Condition(f"model is {pattern}", lambda asked: fnmatchcase(asked.model, pattern), settled=True)


def user_is(user: str) -> Condition:
    return Condition(f"user is {user}", lambda asked: asked.user == user)


def label_is(name: str, value: str) -> Condition:
    pair = (name, value)
    return Condition(f"key label {name} is {value}", lambda asked: pair in asked.labels)


def claim_equals(name: str, value: str) -> Condition:
    return _claim(name, f"equals {value}", lambda one: one == value)


def claim_begins(name: str, prefix: str) -> Condition:
    return _claim(name, f"begins with {prefix}", lambda one: one.startswith(prefix))


def claim_fits(name: str, pattern: str) -> Condition:
    """pattern: as `header_fits` has it."""
    fits = re.compile(pattern.encode()).fullmatch

    def holds(one: str) -> bool:
        value = one.encode()
        return len(value) <= _MAX_VALUE and fits(value) is not None

    return _claim(name, f"fits {pattern}", holds)


def claim_present(name: str, present: bool) -> Condition:
    text = f"claim {name} is {'there' if present else 'absent'}"
    return Condition(text, lambda asked: any(name == each for each, _ in asked.claims) is present)


def _claim(name: str, said: str, fits: Callable[[str], bool]) -> Condition:
    """Of a claim with several values, one must fit."""

    def holds(asked: Asked) -> bool:
        for each, values in asked.claims:
            if each == name:
                return any(map(fits, values))
        return False

    return Condition(f"claim {name} {said}", holds)


def path_is(glob: str) -> Condition:
    """`*` stands for anything in a segment, `**` for any number of segments."""
    segments = [None if one == "**" else _segment(one) for one in glob.split("/")]
    return Condition(f"path is {glob}", lambda asked: _fits(segments, asked.path.split("/")), settled=True)


def host_is(pattern: str) -> Condition:
    """Exact, `*.` for any host below, `{tenant}.` for the one that has the tenant's name."""
    text = f"host is {pattern}"
    if pattern.startswith("*."):
        below = pattern[1:]
        return Condition(text, lambda asked: len(asked.host) > len(below) and asked.host.endswith(below))
    if pattern.startswith("{tenant}."):
        rest = pattern.removeprefix("{tenant}")
        return Condition(text, lambda asked: asked.host == asked.tenant.lower() + rest)
    return Condition(text, lambda asked: asked.host == pattern)


def header_equals(name: str, value: str) -> Condition:
    key, wanted = name.encode(), value.encode()
    return Condition(f"header {name} equals {value}", lambda asked: asked.fields.get(key) == wanted)


def header_begins(name: str, prefix: str) -> Condition:
    key, wanted = name.encode(), prefix.encode()
    return Condition(
        f"header {name} begins with {prefix}", lambda asked: asked.fields.get(key, b"").startswith(wanted)
    )


def header_fits(name: str, pattern: str) -> Condition:
    """pattern: one that decides soon about every value of 256 bytes; longer ones do not fit."""
    key, fits = name.encode(), re.compile(pattern.encode()).fullmatch

    def holds(asked: Asked) -> bool:
        value = asked.fields.get(key)
        return value is not None and len(value) <= _MAX_VALUE and fits(value) is not None

    return Condition(f"header {name} fits {pattern}", holds)


def header_present(name: str, present: bool) -> Condition:
    key = name.encode()
    text = f"header {name} is {'there' if present else 'absent'}"
    return Condition(text, lambda asked: (key in asked.fields) is present)


def _segment(glob: str) -> re.Pattern[str]:
    """Of the literals between the asterisks, each is found at its first place: nothing is tried twice."""
    first, *more = map(re.escape, glob.split("*"))
    if not more:
        return re.compile(first)
    middle = "".join(f"(?>.*?{literal})" for literal in more[:-1])
    return re.compile(f"{first}{middle}.*{more[-1]}")


def _fits(globs: Sequence[re.Pattern[str] | None], segments: Sequence[str]) -> bool:
    """Whether segments fit one by one; a None takes as few as it must, and more when that fails later."""
    at = here = 0
    again: tuple[int, int] | None = None
    while here < len(segments):
        glob = globs[at] if at < len(globs) else None
        if at < len(globs) and glob is None:
            again = (at, here)
            at += 1
        elif glob is not None and glob.fullmatch(segments[here]):
            at += 1
            here += 1
        elif again is not None:
            again = (again[0], again[1] + 1)
            at, here = again[0] + 1, again[1]
        else:
            return False
    return all(glob is None for glob in globs[at:])
