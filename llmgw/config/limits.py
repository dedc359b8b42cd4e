"""`limits`: how much may pass in a window, at each level, and who may have more or less.

A level is `off`, one rule, or a list of rules. A rule says what it wants to change: what it leaves
unset comes from the rule above it, the most specific one winning (key over user over tenant over
`limits` over the built-in defaults). A list, on either side, replaces whole.

Consequences of that inheritance (segments that do not fit an inherited window, a rule without any
amount) can only be seen on the merged rule; `problems_of_limits` looks for them on the tree, so
that they are reported together with whatever else is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from llmgw.config.problems import Path, Problem, Step, problem_at
from llmgw.config.quantities import Amount, Duration, PositiveDuration, render_duration
from llmgw.config.section import Mistake, Section
from llmgw.config.server import Network
from llmgw.config.source import ListNode, MapNode, Node, node_at, place_of, plain
from llmgw.core.claim import FIXED_WINDOW, MAX_SEGMENTS, SLIDING_WINDOW, TOKEN_BUCKET

LEVELS = ("global", "per_tenant", "per_user", "per_ip", "per_key", "per_model", "per_route")
SEGMENTS = 6
"""Of a sliding window that does not say how many."""

_MIN_WINDOW_S = 1.0
_MAX_WINDOW_S = 31 * 86_400.0


def _window_range(seconds: float) -> float:
    if not _MIN_WINDOW_S <= seconds <= _MAX_WINDOW_S:
        raise ValueError(f"{render_duration(seconds)} is not a window between 1s and 31d")
    return seconds


Window = Annotated[PositiveDuration, AfterValidator(_window_range)]
OnStoreError = Literal["allow", "deny", "local"]
Mode = Literal["enforce", "shadow"]


class Sparse(Section):
    """A section that is shown without what it leaves unset."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Names that do not stand here: where they belong."""

    @model_serializer(mode="wrap")
    def _said(self, show: SerializerFunctionWrapHandler) -> dict[str, Any]:  # Any: of many types
        return {name: value for name, value in show(self).items() if value is not None}


class RuleSettings(Sparse):
    """How much may pass in a window. What is unset is inherited."""

    requests: Amount | None = None
    """Requests in a window; 0 blocks."""
    tokens: Amount | None = None
    """Tokens in a window, input and output; 0 blocks."""
    window: Window | None = None
    algorithm: Literal["fixed_window", "sliding_window", "token_bucket"] | None = None
    segments: int | None = Field(default=None, strict=True, ge=2, le=MAX_SEGMENTS)
    """Parts that a sliding window moves by. Default 6."""
    on_store_error: OnStoreError | None = None
    """While the counters cannot be reached. `local`: each process counts for itself."""
    mode: Mode | None = None
    """`shadow`: refuses nobody, and reports what it would have refused."""


class IpRuleSettings(RuleSettings):
    """A limit for each address."""

    exempt: tuple[Network, ...] | None = None
    """Networks that are not counted."""
    apply_to: Literal["all", "unauthenticated"] | None = None
    """`unauthenticated`: only requests whose credential was missing or refused."""


_RULE, _RULES, _OFF = LEVEL_TAGS = ("<rule>", "<rules>", "<off>")


def _form(value: object) -> str | None:
    if isinstance(value, (dict, RuleSettings)):
        return _RULE
    if isinstance(value, (list, tuple)):
        return _RULES
    return _OFF if value == "off" else None


_BY_FORM = Discriminator(
    _form, custom_error_type="level", custom_error_message="Must be off, one rule, or a list of rules"
)
_Off = Annotated[Literal["off"], Tag(_OFF)]

Level = Annotated[
    Annotated[RuleSettings, Tag(_RULE)]
    | Annotated[tuple[RuleSettings, ...], Field(min_length=1), Tag(_RULES)]
    | _Off,
    _BY_FORM,
]
IpLevel = Annotated[
    Annotated[IpRuleSettings, Tag(_RULE)]
    | Annotated[tuple[IpRuleSettings, ...], Field(min_length=1), Tag(_RULES)]
    | _Off,
    _BY_FORM,
]
AnyLevel = RuleSettings | tuple[RuleSettings, ...] | Literal["off"]

_COMMON = {"on_store_error": "local", "mode": "enforce"}
_MINUTE = {"window": "1m", "algorithm": FIXED_WINDOW, **_COMMON}

TERMS: Mapping[str, RuleSettings] = {
    "global": RuleSettings.model_validate({**_MINUTE, "algorithm": TOKEN_BUCKET}),
    "per_tenant": RuleSettings.model_validate({**_MINUTE, "window": "1h"}),
    "per_user": RuleSettings.model_validate({**_MINUTE, "algorithm": SLIDING_WINDOW, "segments": SEGMENTS}),
    "per_ip": IpRuleSettings.model_validate(
        {**_MINUTE, "exempt": ["127.0.0.0/8", "::1/128"], "apply_to": "all"}
    ),
    **{level: RuleSettings.model_validate(_MINUTE) for level in ("per_key", "per_model", "per_route")},
}
"""What each level's rule is like when it says only how much."""


def _default(level: str, requests: int) -> RuleSettings:
    return TERMS[level].model_copy(update={"requests": requests})


DEFAULTS: Mapping[str, AnyLevel] = {
    **dict.fromkeys(LEVELS, "off"),
    "global": _default("global", 10_000),
    "per_tenant": _default("per_tenant", 1000),
    "per_user": _default("per_user", 100),
    "per_ip": _default("per_ip", 50),
}
"""What holds when nothing is said."""


class ConcurrencySettings(Section):
    """Requests under way at once on a host, over all its workers."""

    in_flight: Annotated[Amount, Field(ge=1)] = 500
    queue: Amount = 0
    """Requests that may wait for a place."""
    queue_wait: Duration = 0.0
    """How long one may wait."""
    on_store_error: OnStoreError = "local"
    mode: Mode = "enforce"

    @model_validator(mode="after")
    def _a_queue_waits(self) -> Self:
        if self.queue and not self.queue_wait:
            raise Mistake("needs queue_wait: how long a request may wait, such as 5s", member="queue")
        return self


def _level(level: str, **more: Any) -> Any:  # Any: what `Field` takes and gives
    return Field(default=DEFAULTS[level], **more)


def _or_off(schema: dict[str, Any]) -> None:  # Any: JSON Schema is open
    schema["anyOf"] = [
        {"const": "off", "type": "string"} if side == {"type": "null"} else side for side in schema["anyOf"]
    ]


class LimitsSettings(Section):
    """Every level, complete: what the file leaves unset is filled from the defaults."""

    model_config = ConfigDict(serialize_by_alias=True)

    global_: Level = _level("global", alias="global")
    """All requests together."""
    per_tenant: Level = _level("per_tenant")
    per_user: Level = _level("per_user")
    """Each user; without one its key, else its address."""
    per_ip: IpLevel = _level("per_ip")
    per_key: Level = _level("per_key")
    per_model: Level = _level("per_model")
    per_route: Level = _level("per_route")
    concurrency: ConcurrencySettings | None = Field(default=ConcurrencySettings(), json_schema_extra=_or_off)
    """None when it is `off`."""

    @field_validator(
        "global_", "per_tenant", "per_user", "per_ip", "per_key", "per_model", "per_route", mode="before"
    )
    @classmethod
    def _null_is_absent(cls, given: object, info: ValidationInfo) -> object:
        return DEFAULTS[_name(info.field_name)] if given is None else given

    @field_validator("global_", "per_tenant", "per_user", "per_ip", "per_key", "per_model", "per_route")
    @classmethod
    def _complete(cls, given: AnyLevel, info: ValidationInfo) -> AnyLevel:
        level = _name(info.field_name)
        return merged(level, DEFAULTS[level], given)

    @field_validator("concurrency", mode="before")
    @classmethod
    def _off_is_none(cls, given: object) -> object:
        if given is None:
            return ConcurrencySettings()
        return None if given == "off" else given

    @field_serializer("concurrency", mode="wrap")
    def _none_is_off(self, value: ConcurrencySettings | None, show: SerializerFunctionWrapHandler) -> Any:
        return "off" if value is None else show(value)

    @property
    def ip_exempt(self) -> tuple[Network, ...]:
        """Networks that `per_ip` does not count."""
        first = self._first_ip
        return first.exempt or () if first is not None else ()

    @property
    def ip_apply_to(self) -> Literal["all", "unauthenticated"] | None:
        """Whom `per_ip` counts; None when it is off."""
        first = self._first_ip
        return first.apply_to if first is not None else None

    @property
    def _first_ip(self) -> IpRuleSettings | None:
        if self.per_ip == "off":
            return None
        return self.per_ip[0] if isinstance(self.per_ip, tuple) else self.per_ip


class LimitOverrides(Sparse):
    """Levels that are other than `limits` says, for one tenant, user or key."""

    per_user: Level | None = None
    per_key: Level | None = None
    per_model: Level | None = None


_FOR_ALL = "holds for everybody: it belongs in limits at the top level of the file"
_FOR_TENANT = "belongs in the limits of the tenant: tenants.NAME.limits"
_TOP_ONLY = dict.fromkeys(("global", "per_ip", "concurrency"), _FOR_ALL)
_NOT_ONES_OWN = {**_TOP_ONLY, "per_tenant": _FOR_TENANT, "per_route": _FOR_TENANT}


class TenantLimits(LimitOverrides):
    """Of one tenant."""

    elsewhere = _TOP_ONLY

    per_tenant: Level | None = None
    per_route: Level | None = None


class UserLimits(LimitOverrides):
    """Of one user."""

    elsewhere = _NOT_ONES_OWN


class KeyLimits(LimitOverrides):
    """Of one key."""

    elsewhere = _NOT_ONES_OWN


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A limit in effect, with everything inherited.

    level: `global`, `per_tenant`, ...; unit: `requests` or `tokens`.
    segments: of a sliding window, otherwise 0.
    scope: where its last word was written: "" for `limits`, `tenant:acme`,
        `user:acme/alice@acme.test`, `key:acme/ci` or `route:research`.
    """

    level: str
    unit: Literal["requests", "tokens"]
    limit: int
    window_s: float
    algorithm: str
    segments: int
    on_store_error: str
    shadow: bool
    scope: str


def merged(level: str, above: AnyLevel, given: AnyLevel | None) -> AnyLevel:
    """What holds at a level, from what holds above and what is said here."""
    if given is None or given == "off":
        return above if given is None else "off"
    if isinstance(given, tuple):
        return tuple(_over(TERMS[level], rule) for rule in given)
    return _over(above if isinstance(above, RuleSettings) else TERMS[level], given)


def rules_in_effect(limits: LimitsSettings, overrides: Iterable[tuple[str, Sparse]]) -> tuple[LimitRule, ...]:
    """Every level's rules but `concurrency`. overrides: scope and levels, the most specific last."""
    overrides = tuple(overrides)
    found: list[LimitRule] = []
    for level in LEVELS:
        scope = ""
        held: AnyLevel = getattr(limits, _attribute(level))
        for narrower, override in overrides:
            given: AnyLevel | None = getattr(override, level, None)
            if given is not None:
                scope, held = narrower, merged(level, held, given)
        for rule in () if held == "off" else held if isinstance(held, tuple) else (held,):
            found += _rules(level, rule, scope)
    return tuple(found)


def _over(above: RuleSettings, given: RuleSettings) -> RuleSettings:
    said = {name: value for name in type(given).model_fields if (value := getattr(given, name)) is not None}
    rule = above.model_copy(update=said)
    if rule.algorithm != SLIDING_WINDOW:
        return rule.model_copy(update={"segments": given.segments})
    return rule if rule.segments is not None else rule.model_copy(update={"segments": SEGMENTS})


def _rules(level: str, rule: RuleSettings, scope: str) -> Iterator[LimitRule]:
    assert rule.window is not None
    assert rule.algorithm is not None
    assert rule.on_store_error is not None
    amounts: tuple[tuple[Literal["requests", "tokens"], int | None], ...] = (
        ("requests", rule.requests),
        ("tokens", rule.tokens),
    )
    for unit, limit in amounts:
        if limit is not None:
            yield LimitRule(
                level=level,
                unit=unit,
                limit=limit,
                window_s=rule.window,
                algorithm=rule.algorithm,
                segments=rule.segments or 0,
                on_store_error=rule.on_store_error,
                shadow=rule.mode == "shadow",
                scope=scope,
            )


def _name(field: str | None) -> str:
    return (field or "").rstrip("_")


def _attribute(level: str) -> str:
    return "global_" if level == "global" else level


Held = dict[str, AnyLevel | None]
"""What holds at each level; None where it cannot be read."""


def problems_of_limits(root: Node) -> Iterator[Problem]:
    """Rules that are well written and yet cannot be kept."""
    looked = _Look(root)
    shared = looked.at(("limits",), dict(DEFAULTS))
    routes = node_at(root, ("routes",))
    for index in range(len(routes.items)) if isinstance(routes, ListNode) else ():
        looked.at(("routes", index, "limits"), shared)
    for tenant, node in _entries(root, ("tenants",)):
        path: Path = ("tenants", tenant)
        own = looked.at((*path, "limits"), shared)
        users = {
            user: looked.at((*path, "users", user, "limits"), own) for user, _ in _entries(node, ("users",))
        }
        keys = node_at(node, ("keys",))
        for index in range(len(keys.items)) if isinstance(keys, ListNode) else ():
            user = node_at(node, ("keys", index, "user"))
            above = users.get(str(user.value), own) if user is not None else own
            looked.at((*path, "keys", index, "limits"), above)
    yield from looked.problems


class _Look:
    """Follows every level from the defaults down, and collects the problems."""

    def __init__(self, root: Node) -> None:
        self.problems: list[Problem] = []
        self._root = root

    def at(self, path: Path, above: Held) -> Held:
        """What holds below a place. path: of a mapping of levels, which need not exist."""
        held = dict(above)
        for level, node in _entries(self._root, path):
            if level in LEVELS:
                held[level] = self._level(level, node, (*path, level), above[level])
        return held

    def _level(self, level: str, node: Node, path: Path, above: AnyLevel | None) -> AnyLevel | None:
        try:
            given = _read(level, node)
        except ValidationError:
            return None  # validation says why
        if given is None or above is None or given == "off":
            return merged(level, above, given) if above is not None else given
        result = merged(level, above, given)
        if isinstance(given, tuple) and isinstance(result, tuple):
            seen: dict[tuple[str, float | None], Path] = {}
            for index, (said, rule) in enumerate(zip(given, result, strict=True)):
                self._flaws(said, rule, (*path, index), "")
                self._overlaps(rule, (*path, index), seen)
                if index and isinstance(said, IpRuleSettings):
                    self._only_first(said, (*path, index))
        elif isinstance(given, RuleSettings) and isinstance(result, RuleSettings):
            alone = ": there is no single rule above to inherit them from" if len(path) > 2 else ""
            self._flaws(given, result, path, alone)
        return result

    def _flaws(self, said: RuleSettings, rule: RuleSettings, path: Path, alone: str) -> None:
        assert rule.window is not None
        if rule.requests is None and rule.tokens is None:
            self._add(path, f"needs requests or tokens{alone}")
        if rule.algorithm != SLIDING_WINDOW:
            if said.segments is not None:
                self._add((*path, "segments"), f"segments are for sliding_window; this is a {rule.algorithm}")
            return
        assert rule.segments is not None
        changed = [name for name in ("segments", "window", "algorithm") if getattr(said, name) is not None]
        if changed and not _divides(rule.segments, rule.window):
            window = render_duration(rule.window)
            fitting = [str(count) for count in range(2, MAX_SEGMENTS + 1) if _divides(count, rule.window)]
            self._add(
                (*path, changed[0]),
                f"{window} cannot be cut into {rule.segments} segments of whole nanoseconds;"
                f" use segments: {', '.join(fitting[:-1])} or {fitting[-1]}",
            )

    def _overlaps(self, rule: RuleSettings, path: Path, seen: dict[tuple[str, float | None], Path]) -> None:
        for unit in ("requests", "tokens"):
            if getattr(rule, unit) is None:
                continue
            first = seen.setdefault((unit, rule.window), path)
            if first is not path:
                window = render_duration(rule.window or 0.0)
                place = place_of(self._root, first)
                self._add((*path, unit), f"limits {unit} in {window} twice; first at {place}")

    def _only_first(self, said: IpRuleSettings, path: Path) -> None:
        for name in ("exempt", "apply_to"):
            if getattr(said, name) is not None:
                self._add((*path, name), "is read from the first rule of the list only; move it there")

    def _add(self, path: Path, reason: str) -> None:
        self.problems.append(problem_at(place_of(self._root, path), path, reason))


def _read(level: str, node: Node) -> AnyLevel | None:
    """What a level says. Raises ValidationError when it is badly written."""
    kind = IpRuleSettings if level == "per_ip" else RuleSettings
    if isinstance(node, ListNode):
        return tuple(kind.model_validate(plain(item)) for item in node.items)
    if type(node) is Node and node.value in (None, "off"):
        return "off" if node.value == "off" else None
    return kind.model_validate(plain(node))


def _divides(segments: int, window_s: float) -> bool:
    return round(window_s * 1000) * 1_000_000 % segments == 0


def _entries(root: Node, path: tuple[Step, ...]) -> Iterator[tuple[str, Node]]:
    node = node_at(root, path)
    if isinstance(node, MapNode):
        yield from ((name, child) for name, (_, child) in node.entries.items())
