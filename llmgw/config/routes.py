"""`routes`: which requests go elsewhere than their model's name says, first match wins.

A pattern for a header's value may come to meet anything a client sends, so one that could take
long is refused when it is read: see `checked_pattern`. Path globs and host patterns cannot.
"""

from __future__ import annotations

import math
import re
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from llmgw.config.cache import CacheOverride
from llmgw.config.idempotency import IdempotencyOverride
from llmgw.config.issuers import ClaimName
from llmgw.config.limits import Level, Sparse
from llmgw.config.models import Strategy, TargetSettings
from llmgw.config.quantities import PositiveDuration
from llmgw.config.redaction import RedactionOverride
from llmgw.config.section import Flag, Mistake, ModelName, ModelPattern, Section, TenantName
from llmgw.config.tenants import UserName

MAX_VALUE = 256
"""Bytes of a header's value that a pattern is tried on; longer ones do not match."""
_MAX_WAYS = (MAX_VALUE + 1) ** 2
"""Ways in which a pattern may try to fit a value: two open-ended repeats."""
_HOST = re.compile(
    r"(\*\.|\{tenant\}\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def checked_pattern(pattern: str) -> str:
    """The pattern, if it decides soon about every value of 256 bytes. Raises ValueError.

    A matcher that goes back tries each way in which the repeats can share the value. Repeats
    within repeats have no bound on that, and neither do references back; beside each other the
    ways multiply. Possessive repeats, `[a-z]++`, have one way.
    """
    try:
        re.compile(pattern)
        ways = _ways(_parser.parse(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if ways > _MAX_WAYS:
        raise ValueError(
            "could take long on a hostile value: at most two open-ended repeats,"
            " and none in a repeat; a possessive one, as in [a-z]++, counts as none"
        )
    return pattern


def _ways(parsed: Any) -> float:  # Any: the parser's own tree
    ways: float = math.prod(_ways_of(operation, argument) for operation, argument in parsed)
    return ways


def _ways_of(operation: Any, argument: Any) -> float:
    if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
        least, most, inner = argument
        choices: int = min(most, MAX_VALUE) - min(least, MAX_VALUE) + 1
        within = _ways(inner)
        if most == 1:
            return within if least else within + 1
        return choices if within == 1 else math.inf
    if operation is _constants.POSSESSIVE_REPEAT:
        return _ways(argument[2])
    if operation is _constants.BRANCH:
        return sum(map(_ways, argument[1]))
    if operation is _constants.SUBPATTERN:
        return _ways(argument[3])
    if operation is _constants.ATOMIC_GROUP:
        return _ways(argument)
    if operation in (_constants.ASSERT, _constants.ASSERT_NOT):
        return _ways(argument[1])
    if operation in (_constants.GROUPREF, _constants.GROUPREF_EXISTS):
        return math.inf
    return 1


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(" ?#") & set(text):
        raise ValueError("must be a path such as /fast/v1/**, without query")
    if any("**" in segment and segment != "**" for segment in text.split("/")):
        raise ValueError("** stands for whole segments: /fast/**, not /fast**")
    return text


def _host(text: str) -> str:
    host = text.lower().rstrip(".")
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise ValueError("must be a host name, *.example.com or {tenant}.example.com, without port")
    return host


def _prefix(text: str) -> str:
    prefix = text.removesuffix("/")
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/")):
        raise ValueError("must be a path such as /fast, of plain characters")
    return prefix


class HeaderMatch(Section):
    """One of these about the value of a header or claim; a plain text means `equals`."""

    equals: str | None = None
    prefix: str | None = Field(default=None, min_length=1)
    regex: Annotated[str, StringConstraints(max_length=256), AfterValidator(checked_pattern)] | None = None
    """Fits the whole value, of at most 256 bytes."""
    present: Flag | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.equals, self.prefix, self.regex, self.present)) != 1:
            raise Mistake("needs one of equals, prefix, regex and present")
        return self


def _equals(value: object) -> object:
    return {"equals": value} if isinstance(value, str) else value


HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", to_lower=True, max_length=64)]
_SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie")


class MatchSettings(Section):
    """What a request must be like; all that is said must hold."""

    path: Annotated[str, StringConstraints(max_length=1024), AfterValidator(_path)] | None = None
    """As the client sends it. `*` stands for anything in a segment, `**` for any segments."""
    headers: dict[HeaderName, Annotated[HeaderMatch, BeforeValidator(_equals)]] = Field(default_factory=dict)
    host: Annotated[str, AfterValidator(_host)] | None = None
    """`*.example.com`: any host below; `{tenant}.example.com`: the one of the credential's tenant."""
    user: UserName | None = None
    tenant: TenantName | None = None
    key_labels: dict[str, str] = Field(default_factory=dict)
    """Labels that the API key has."""
    claim: dict[ClaimName, Annotated[HeaderMatch, BeforeValidator(_equals)]] = Field(default_factory=dict)
    """Claims of the token, by name or path. Of a claim with several values, one must fit."""
    model: ModelPattern | None = None
    """As the client names it, `*` for anything."""

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        for name in self.headers:
            if name in _SECRET_HEADERS:
                raise Mistake(
                    f"{name} holds a credential; match tenant, user or key_labels", member="headers"
                )
        return self


class RouteTimeouts(Sparse):
    """What is unset is as the model says."""

    connect: PositiveDuration | None = None
    first_byte: PositiveDuration | None = None
    idle: PositiveDuration | None = None
    total: PositiveDuration | None = None


class RouteLimits(Sparse):
    """Of one route's requests together."""

    per_route: Level | None = None
    """In the place of `limits.per_route`, and of what tenants say of it."""


class RouteSettings(Section):
    """One route. Without `model` and `targets`, requests go where their model's name says."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
    match: MatchSettings = MatchSettings()
    """Absent: every request."""
    strip_prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    """Taken off the path: `/fast/v1/messages` is served as `/v1/messages`."""
    model: ModelName | None = None
    """The model that answers, whatever was asked for."""
    targets: tuple[TargetSettings, ...] | None = Field(default=None, min_length=1)
    """What answers under the name that was asked for. Of that model, all but fallbacks and mirror holds."""
    strategy: Strategy | None = None
    """How one of the targets is chosen; `priority` when absent."""
    tenant: TenantName | None = None
    """Credentials of other tenants are refused."""
    limits: RouteLimits = RouteLimits()
    timeouts: RouteTimeouts = RouteTimeouts()
    idempotency: IdempotencyOverride = IdempotencyOverride()
    cache: CacheOverride = CacheOverride()
    redaction: RedactionOverride = RedactionOverride()

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.model is not None and self.targets is not None:
            raise Mistake("has a model, so it has no targets of its own; keep one", member="targets")
        if self.strategy is not None and self.targets is None:
            raise Mistake("is for targets, and the route has none", member="strategy")
        if self.strategy == "weighted" and not any(target.weight for target in self.targets or ()):
            raise Mistake("every target has weight 0, so none would be asked", member="targets")
        path = self.match.path
        if self.strip_prefix is not None and (path is None or not path.startswith(f"{self.strip_prefix}/")):
            raise Mistake(
                f"needs match.path to begin with it, as in {self.strip_prefix}/**", member="strip_prefix"
            )
        return self
