"""`quotas` and `alerts`: how much may be used in a period of the calendar, and who is told.

Quotas add up: a request needs room in every one that concerns it. Only where two count the same
(`per`, unit, window and model), the one written for fewer replaces the other: for a key over for a
user over for a tenant over for everybody.

A quota concerns whoever its place says. At the top level that is everybody, or those its
selectors (`tenant`, `user`, `key`) name; under a tenant, user or key it is that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from llmgw.config.limits import Mode, OnStoreError, Sparse
from llmgw.config.problems import Path, Problem, nearest, problem_at, render_path
from llmgw.config.quantities import PPM_PER_PERCENT, Amount, Budget, Percent, render_percent
from llmgw.config.secret import Secret
from llmgw.config.section import Flag, Mistake, ModelPattern, Section, TenantName
from llmgw.config.source import ListNode, MapNode, Node, node_at, place_of, plain

Unit = Literal["requests", "tokens", "input_tokens", "output_tokens", "cost"]
Per = Literal["tenant", "user", "key"]

UNITS: tuple[Unit, ...] = ("requests", "tokens", "input_tokens", "output_tokens", "cost")

WEBHOOK_FORM = "must look like https://host/path"
# What a zone directory holds beside zones: `right` counts leap seconds, `localtime` differs by host.
_NOT_ZONES = ("posix", "right", "localtime", "posixrules", "Factory")
_UNPRINTED = re.compile(r"[^\x21-\x7e]")


def _zone(name: str) -> str:
    try:
        if name.partition("/")[0] not in _NOT_ZONES:
            ZoneInfo(name)
            return name
    except (KeyError, ValueError, OSError):
        pass  # all the ways in which there is no such zone
    raise Mistake(
        f'no time zone named "{name[:60]}"; use an IANA name such as Europe/Paris',
        suggestion=nearest(name, available_timezones()),
    )


def _threshold(ppm: int) -> int:
    if ppm < PPM_PER_PERCENT:
        raise ValueError(f"{render_percent(ppm)} is less than 1%")
    return ppm


Zone = Annotated[str, AfterValidator(_zone), Field(json_schema_extra={"examples": ["Europe/Paris"]})]
Threshold = Annotated[Percent, AfterValidator(_threshold)]
Selector = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class QuotaTerms(Sparse):
    """What every quota says. It counts one thing: exactly one of the amounts is given."""

    model_config = ConfigDict(defer_build=True)  # a file without quotas needs no validator of its own

    per: Per
    """Whose balance it is: one for each tenant, user or key."""
    requests: Amount | None = None
    tokens: Amount | None = None
    """Input and output."""
    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    cost: Budget | None = None
    window: Literal["minute", "hour", "day", "week", "month"]
    """Period of the calendar. Weeks begin on Monday."""
    timezone: Zone = "UTC"
    """In which days, weeks and months begin."""
    model: ModelPattern | None = None
    """Only requests for these models. Absent: all."""
    alert_at: tuple[Threshold, ...] = ()
    """Shares of the amount at which an alert is told, once in a period."""
    on_exceed: Literal["block", "warn"] = "block"
    reserve_output: Annotated[Amount, Field(ge=1)] = 4096
    """Output tokens held for a request that does not say how many it may have."""
    clamp: Flag = False
    """Write `reserve_output` into such a request."""
    mode: Mode = "enforce"
    """`shadow`: refuses nobody, and reports what it would have refused."""
    on_store_error: OnStoreError = "deny"
    """While balances cannot be reached."""

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return next(unit for unit in UNITS if getattr(self, unit) is not None)

    @property
    def models(self) -> str | None:
        """The pattern of the models that it counts, None for all: `*` is all of them too."""
        return None if self.model == "*" else self.model

    @field_validator("alert_at")
    @classmethod
    def _each_once(cls, shares: tuple[int, ...]) -> tuple[int, ...]:
        for index, share in enumerate(shares):
            if share in shares[:index]:
                raise ValueError(f"{render_percent(share)} stands here twice")
        return shares

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        given = [unit for unit in UNITS if getattr(self, unit) is not None]
        if not given:
            raise ValueError(f"needs an amount: one of {', '.join(UNITS)}")
        if len(given) > 1:
            raise Mistake(f"a quota counts one thing; write another one for {given[1]}", member=given[1])
        return self


_OTHERS = {
    name: f"is for quotas at the top level; here, put the quota under that {name}"
    for name in ("tenant", "user", "key")
}


class QuotaSettings(QuotaTerms):
    """A quota for everybody, or for those it selects."""

    tenant: TenantName | None = None
    """Only this one. Absent: each for itself."""
    user: Selector | None = None
    """Only this one, of `tenant`."""
    key: Selector | None = None
    """Only the key with this id, of `tenant`."""

    @model_validator(mode="after")
    def _selects_what_it_counts(self) -> Self:
        for member, pers in (("user", ("user", "key")), ("key", ("key",))):
            if getattr(self, member) is None:
                continue
            if self.tenant is None:
                raise Mistake(f"needs tenant: whose {member} it is", member=member)
            if self.per not in pers:
                raise Mistake(
                    f"one {member} cannot be selected per {self.per}; write per: {member}", member=member
                )
        if self.user is not None and self.key is not None:
            raise Mistake("a key belongs to one user; leave user out", member="user")
        return self

    @property
    def scope(self) -> str:
        """Whom it concerns, as in `QuotaRule.scope`."""
        if self.tenant is None:
            return ""
        if self.key is not None:
            return f"key:{self.tenant}/{self.key}"
        return f"user:{self.tenant}/{self.user}" if self.user is not None else f"tenant:{self.tenant}"


class TenantQuota(QuotaTerms):
    """A quota within one tenant."""

    elsewhere = _OTHERS

    per: Per = "tenant"


class UserQuota(QuotaTerms):
    """A quota of one user."""

    elsewhere = _OTHERS

    per: Per = "user"

    @field_validator("per")
    @classmethod
    def _its_own(cls, per: Per) -> Per:
        if per != "user":
            raise ValueError(f"is user here; put a quota per {per} under the tenant")
        return per


class KeyQuota(QuotaTerms):
    """A quota of one key."""

    elsewhere = _OTHERS

    per: Per = "key"

    @field_validator("per")
    @classmethod
    def _its_own(cls, per: Per) -> Per:
        if per != "key":
            raise ValueError(f"is key here; put a quota per {per} under the tenant")
        return per


def is_webhook_url(text: str) -> bool:
    """Whether text is an `http` or `https` URL that can be posted to."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    plain_text = not _UNPRINTED.search(text)
    return plain_text and url.scheme in ("http", "https") and bool(url.hostname) and port != 0


class AlertsSettings(Section):
    """Who is told when a quota reaches a share of its amount; the log always is."""

    webhook: Secret | None = None
    """URL that a JSON object is posted to for each alert."""

    @field_validator("webhook")
    @classmethod
    def _webhook_is_http(cls, webhook: Secret | None) -> Secret | None:
        if webhook is not None and not webhook.references and not is_webhook_url(webhook.get_secret_value()):
            raise ValueError(WEBHOOK_FORM)
        return webhook


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """A quota in effect.

    limit: requests, tokens or nano-USD, as `unit` says.
    alert_at: shares in parts per million, ascending.
    warn, shadow: it refuses nobody; in shadow it is only reported what it would have refused.
    scope: whom it concerns: "" for everybody, `tenant:acme`, `user:acme/alice@acme.test` or
        `key:acme/ci`.
    """

    per: Per
    unit: Unit
    limit: int
    window: str
    timezone: str
    model: str | None
    alert_at: tuple[int, ...]
    warn: bool
    shadow: bool
    reserve_output: int
    clamp: bool
    on_store_error: str
    scope: str


_RANK = {"": 0, "tenant": 1, "user": 2, "key": 3}


def rule_of(quota: QuotaTerms, scope: str) -> QuotaRule:
    """The quota as it is compiled."""
    return QuotaRule(
        per=quota.per,
        unit=quota.unit,
        limit=getattr(quota, quota.unit),
        window=quota.window,
        timezone=quota.timezone,
        model=quota.models,
        alert_at=tuple(sorted(quota.alert_at)),
        warn=quota.on_exceed == "warn",
        shadow=quota.mode == "shadow",
        reserve_output=quota.reserve_output,
        clamp=quota.clamp,
        on_store_error=quota.on_store_error,
        scope=scope,
    )


def most_specific(rules: Iterable[QuotaRule]) -> tuple[QuotaRule, ...]:
    """The rules that hold: of those that count the same, the one for fewest."""
    found: dict[tuple[str, ...], QuotaRule] = {}
    for rule in sorted(rules, key=lambda rule: _RANK[rule.scope.partition(":")[0]]):
        found[(rule.per, rule.unit, rule.window, rule.model or "")] = rule
    return tuple(found.values())


def problems_of_quotas(root: Node) -> Iterator[Problem]:
    """Quotas that count the same for the same; which one holds could not be told."""
    seen: dict[tuple[str, ...], Path] = {}
    for path, node, kind, scope in _written(root):
        try:
            quota = kind.model_validate(plain(node))
        except ValidationError:
            continue  # validation says why
        if isinstance(quota, QuotaSettings):
            scope = quota.scope
        same = (scope, quota.per, quota.unit, quota.window, quota.models or "")
        first = seen.setdefault(same, path)
        if first is not path:
            counted = f"{quota.unit} per {quota.per} and {quota.window}"
            counted += f" of {quota.models}" if quota.models else ""
            where = f"{place_of(root, first)} {render_path(first)}"
            yield problem_at(place_of(root, path), path, f"counts {counted}, as {where} does; keep one")


def _written(root: Node) -> Iterator[tuple[Path, Node, type[QuotaTerms], str]]:
    """Every quota in the tree with its path, kind and the scope that its place gives it."""
    yield from _items(root, ("quotas",), QuotaSettings, "")
    for tenant in _names(root, ("tenants",)):
        path: Path = ("tenants", tenant)
        yield from _items(root, (*path, "quotas"), TenantQuota, f"tenant:{tenant}")
        for user in _names(root, (*path, "users")):
            yield from _items(root, (*path, "users", user, "quotas"), UserQuota, f"user:{tenant}/{user}")
        keys = node_at(root, (*path, "keys"))
        for index in range(len(keys.items)) if isinstance(keys, ListNode) else ():
            here = (*path, "keys", index)
            key = node_at(root, (*here, "id"))
            scope = f"key:{tenant}/{key.value if key is not None else index}"
            yield from _items(root, (*here, "quotas"), KeyQuota, scope)


def _items(
    root: Node, path: Path, kind: type[QuotaTerms], scope: str
) -> Iterator[tuple[Path, Node, type[QuotaTerms], str]]:
    node = node_at(root, path)
    for index, item in enumerate(node.items if isinstance(node, ListNode) else ()):
        yield (*path, index), item, kind, scope


def _names(root: Node, path: Path) -> tuple[str, ...]:
    node = node_at(root, path)
    return tuple(node.entries) if isinstance(node, MapNode) else ()
