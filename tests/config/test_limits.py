"""Limits: what holds for whom, and what cannot be kept."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from llmgw.config.document import Document
from llmgw.config.limits import LEVELS, LimitRule, RuleSettings
from llmgw.config.load import document_from_text

Refusals = Callable[..., list[str]]
HASH = "sha256:" + "ab" * 32
ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


def load(text: str) -> Document:
    return document_from_text(ECHO + text, path=Path("f.yaml"))


def rules(
    text: str, tenant: str = "acme", user: str = "alice", key: str = "ci"
) -> dict[str, list[LimitRule]]:
    """What holds for alice of acme with key ci, by level."""
    found: dict[str, list[LimitRule]] = {}
    for rule in load(text).limit_rules(tenant, user, key):
        found.setdefault(rule.level, []).append(rule)
    return found


def acme(limits: str = "{}", user: str = "{}", key: str = "{}", owner: str = "alice") -> str:
    """A tenant with a user and its key, each with limits."""
    return (
        f"tenants:\n  acme:\n    limits: {limits}\n    users: {{alice: {{limits: {user}}}}}\n"
        f"    keys: [{{id: ci, user: {owner}, hash: '{HASH}', limits: {key}}}]\n"
    )


def summary(rule: LimitRule) -> tuple[str, int, float, str]:
    return rule.unit, rule.limit, rule.window_s, rule.algorithm


def test_defaults() -> None:
    """A file that says nothing is limited at five levels."""
    found = rules("")

    assert {level: summary(rule) for level, (rule,) in found.items()} == {
        "global": ("requests", 10_000, 60.0, "token_bucket"),
        "per_tenant": ("requests", 1000, 3600.0, "fixed_window"),
        "per_user": ("requests", 100, 60.0, "sliding_window"),
        "per_ip": ("requests", 50, 60.0, "fixed_window"),
    }
    assert [rule.segments for (rule,) in found.values()] == [0, 0, 6, 0]
    assert {rule.scope for (rule,) in found.values()} == {""}
    assert {rule.on_store_error for (rule,) in found.values()} == {"local"}
    limits = load("").limits
    assert limits.ip_exempt == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert limits.ip_apply_to == "all"
    assert limits.concurrency is not None
    assert (limits.concurrency.in_flight, limits.concurrency.queue) == (500, 0)


def test_everything_off() -> None:
    limits = ", ".join(f"{level}: off" for level in (*LEVELS, "concurrency"))

    document = load(f"limits: {{{limits}}}")

    assert document.limit_rules("default", None, None) == ()
    assert document.limits.concurrency is None
    assert document.limits.ip_exempt == ()
    assert document.limits.ip_apply_to is None


def test_absent_levels() -> None:
    """`null` is absent: the default holds."""
    nulls = ", ".join(f"{level}: null" for level in (*LEVELS, "concurrency"))

    assert load(f"limits: {{{nulls}}}").limits == load("").limits
    assert load("limits:\n").limits == load("").limits


@pytest.mark.parametrize(
    ("level", "rule", "expected"),
    [
        ("per_tenant", "{requests: 5}", [("requests", 5, 3600.0, "fixed_window")]),
        ("per_tenant", "{window: 2h}", [("requests", 1000, 7200.0, "fixed_window")]),
        ("per_user", "{requests: 0}", [("requests", 0, 60.0, "sliding_window")]),
        (
            "per_user",
            "{tokens: 2M}",
            [("requests", 100, 60.0, "sliding_window"), ("tokens", 2_000_000, 60.0, "sliding_window")],
        ),
        ("per_key", "{requests: 5}", [("requests", 5, 60.0, "fixed_window")]),
        ("per_model", "[{tokens: 5}]", [("tokens", 5, 60.0, "fixed_window")]),
        ("per_route", "{tokens: 5, window: 31d}", [("tokens", 5, 2_678_400.0, "fixed_window")]),
        ("global", "[{tokens: 5}]", [("tokens", 5, 60.0, "token_bucket")]),
        (
            "per_tenant",
            "[{requests: 5}, {requests: 50, window: 1d}]",
            [("requests", 5, 3600.0, "fixed_window"), ("requests", 50, 86_400.0, "fixed_window")],
        ),
    ],
)
def test_what_is_unset_is_the_levels_default(
    level: str, rule: str, expected: list[tuple[str, int, float, str]]
) -> None:
    """One rule changes the default; a list replaces it and keeps only its terms."""
    found = rules(f"limits: {{{level}: {rule}}}")[level]

    assert [summary(each) for each in found] == expected


def test_segments_come_and_go_with_the_sliding_window() -> None:
    fixed = rules("limits: {per_user: {algorithm: fixed_window}}")["per_user"]
    sliding = rules("limits: {per_tenant: {algorithm: sliding_window}}")["per_tenant"]

    assert (fixed[0].algorithm, fixed[0].segments) == ("fixed_window", 0)
    assert (sliding[0].algorithm, sliding[0].segments) == ("sliding_window", 6)


def test_the_most_specific_limit_replaces() -> None:
    """Key over user over tenant over all; what each leaves unset comes from the one above."""
    top = "limits: {per_user: {requests: 10, mode: shadow}}\n"

    def held(**places: str) -> LimitRule:
        (rule,) = rules(top + acme(**places))["per_user"]
        return rule

    tenant, user, key = "{per_user: {window: 5m}}", "{per_user: {requests: 300}}", "{per_user: {segments: 4}}"
    found = [held(), held(limits=tenant), held(limits=tenant, user=user)]
    found.append(held(limits=tenant, user=user, key=key))

    assert [rule.limit for rule in found] == [10, 10, 300, 300]
    assert [rule.window_s for rule in found] == [60, 300, 300, 300]
    assert [rule.segments for rule in found] == [6, 6, 6, 4]
    assert [rule.scope for rule in found] == ["", "tenant:acme", "user:acme/alice", "key:acme/ci"]
    assert all(rule.shadow and rule.algorithm == "sliding_window" for rule in found)


def test_changed_requests_keep_inherited_tokens() -> None:
    text = "limits: {per_key: {requests: 10, tokens: 500}}\n" + acme(key="{per_key: {requests: 99}}")

    found = rules(text)["per_key"]

    assert [(rule.unit, rule.limit, rule.scope) for rule in found] == [
        ("requests", 99, "key:acme/ci"),
        ("tokens", 500, "key:acme/ci"),
    ]


@pytest.mark.parametrize(
    ("above", "here", "expected"),
    [
        ("[{requests: 5, window: 9s}]", "{requests: 7}", [("requests", 7, 60.0, "sliding_window")]),
        ("{tokens: 5}", "[{requests: 7}]", [("requests", 7, 60.0, "sliding_window")]),
        ("off", "{requests: 7}", [("requests", 7, 60.0, "sliding_window")]),
        ("{requests: 5}", "off", []),
        ("off", "null", []),
        ("{requests: 5}", "{}", [("requests", 5, 60.0, "sliding_window")]),
    ],
)
def test_lists_and_off_replace_whole(
    above: str, here: str, expected: list[tuple[str, int, float, str]]
) -> None:
    text = f"limits: {{per_user: {above.replace('window: 9s', 'window: 9s, segments: 2')}}}\n"

    found = rules(text + acme(user=f"{{per_user: {here}}}")).get("per_user", [])

    assert [summary(rule) for rule in found] == expected


def test_a_key_may_switch_a_level_off_and_on_again_below() -> None:
    text = acme(limits="{per_key: off, per_user: off}", key="{per_key: {requests: 3}}")

    found = rules(text)

    assert "per_user" not in found
    assert found["per_key"][0].limit == 3


def test_overrides_concern_nobody_else() -> None:
    """Strangers, and principals without a user or key, get what is above."""
    document = load(acme("{per_tenant: {requests: 7}}", "{per_user: {requests: 8}}", "{per_user: off}"))

    def held(tenant: str, user: str | None, key: str | None) -> dict[str, int]:
        return {rule.level: rule.limit for rule in document.limit_rules(tenant, user, key)}

    base = {"global": 10_000, "per_tenant": 1000, "per_user": 100, "per_ip": 50}
    assert held("other", "alice", "ci") == base
    assert held("acme", None, None) == {**base, "per_tenant": 7}
    assert held("acme", "bob", "c2") == {**base, "per_tenant": 7}
    assert held("acme", "alice", None) == {**base, "per_tenant": 7, "per_user": 8}
    assert "per_user" not in held("acme", None, "ci")


def test_addresses() -> None:
    limits = load("limits: {per_ip: {exempt: [10.0.0.0/8], apply_to: unauthenticated}}").limits

    assert limits.ip_exempt == (ip_network("10.0.0.0/8"),)
    assert limits.ip_apply_to == "unauthenticated"


def test_addresses_of_a_list_are_its_firsts() -> None:
    limits = load("limits: {per_ip: [{requests: 5, exempt: []}, {requests: 50, window: 1h}]}").limits

    assert limits.ip_exempt == ()
    assert limits.ip_apply_to == "all"


def test_concurrency() -> None:
    held = load("limits: {concurrency: {queue: 10, queue_wait: 5s, mode: shadow}}").limits.concurrency

    assert held is not None
    assert (held.in_flight, held.queue, held.queue_wait, held.mode) == (500, 10, 5.0, "shadow")


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        ("{per_user: {requests: -5}}", "limits.per_user.requests: -5 is not a count; write it like 10k"),
        ("{per_user: {requests: 1.5}}", "limits.per_user.requests: 1.5 is not a count"),
        ("{per_user: {tokens: 1.0001k}}", 'limits.per_user.tokens: "1.0001k" has more decimals'),
        ("{per_user: {requests: true}}", "limits.per_user.requests: true is not a count"),
        ("{per_user: {requests: 2000G}}", "limits.per_user.requests: 2000000000000 is more than 10^12"),
        ("{per_user: {requests: off}}", 'limits.per_user.requests: "off" is not a count'),
        ("{per_user: {window: 60}}", "limits.per_user.window: 60 needs a unit; write it like 30s"),
        ("{per_user: {window: 0s}}", 'limits.per_user.window: "0s" must be more than zero'),
        ("{per_user: {window: -1m}}", 'limits.per_user.window: "-1m" is not a duration'),
        ("{per_user: {window: true}}", "limits.per_user.window: true is not a duration"),
        ("{per_user: {window: 999ms}}", "limits.per_user.window: 999ms is not a window between 1s and 31d"),
        ("{per_user: {window: 32d}}", "limits.per_user.window: 32d is not a window between 1s and 31d"),
        (
            "{per_user: {algorithm: sliding}}",
            "per_user.algorithm: must be 'fixed_window', 'sliding_window' or",
        ),
        (
            "{per_user: {on_store_error: ignore}}",
            "per_user.on_store_error: must be 'allow', 'deny' or 'local'",
        ),
        ("{per_user: {mode: off}}", "limits.per_user.mode: must be 'enforce' or 'shadow'"),
        ("{per_user: {segments: 1}}", "per_user.segments: input should be greater than or equal to 2"),
        ("{per_user: {segments: 13}}", "per_user.segments: input should be less than or equal to 12"),
        ("{per_user: {segments: true}}", "limits.per_user.segments: must be a whole number"),
        (
            "{per_tenant: {segments: 4}}",
            "per_tenant.segments: segments are for sliding_window; this is a fixed_window",
        ),
        (
            "{per_model: [{tokens: 1, algorithm: token_bucket, segments: 4}]}",
            "per_model[0].segments: segments are for sliding_window; this is a token_bucket",
        ),
        (
            "{per_user: {segments: 7}}",
            "per_user.segments: 1m cannot be cut into 7 segments of whole nanoseconds;"
            " use segments: 2, 3, 4, 5, 6, 8, 10 or 12",
        ),
        ("{per_user: {window: 10s}}", "per_user.window: 10s cannot be cut into 6 segments"),
        (
            "{per_tenant: {algorithm: sliding_window, window: 1s}}",
            "per_tenant.window: 1s cannot be cut into 6 segments",
        ),
        (
            "{per_model: [{tokens: 1}, {tokens: 2, algorithm: token_bucket}]}",
            "per_model[1].tokens: limits tokens in 1m twice; first at f.yaml:3",
        ),
        (
            "{per_tenant: [{requests: 1, tokens: 1}, {requests: 2, window: 60m}]}",
            "per_tenant[1].requests: limits requests in 1h twice",
        ),
        ("{per_model: []}", "limits.per_model: must hold at least one"),
        ("{per_model: {window: 5m}}", "limits.per_model: needs requests or tokens"),
        ("{per_user: [{window: 5m}]}", "limits.per_user[0]: needs requests or tokens"),
        ("{per_user: [off]}", "limits.per_user[0]: must be a mapping of names to values"),
        ("{per_user: false}", "limits.per_user: must be off, one rule, or a list of rules"),
        ("{per_user: 100}", "limits.per_user: must be off, one rule, or a list of rules"),
        ("{per_usr: off}", 'limits.per_usr: unknown key; did you mean "per_user"?'),
        ("{globl: off}", 'limits.globl: unknown key; did you mean "global"?'),
        ("{global_: off}", 'limits.global_: unknown key; did you mean "global"?'),
        ("{global: {reqests: 1}}", 'limits.global.reqests: unknown key; did you mean "requests"?'),
        ("{per_model: [{tokns: 1}]}", 'limits.per_model[0].tokns: unknown key; did you mean "tokens"?'),
        ("{per_user: {exempt: []}}", "limits.per_user.exempt: unknown key"),
        ("{per_ip: {exempt: [10.0.0.1/8]}}", "limits.per_ip.exempt[0]: not a network such as 10.0.0.0/8"),
        (
            "{per_ip: [{requests: 1}, {requests: 2, window: 1h, apply_to: all}]}",
            "limits.per_ip[1].apply_to: is read from the first rule of the list only",
        ),
        (
            "{concurrency: {in_flight: 0}}",
            "concurrency.in_flight: input should be greater than or equal to 1",
        ),
        ("{concurrency: {in_flight: -1}}", "concurrency.in_flight: -1 is not a count"),
        ("{concurrency: {queue: 5}}", "limits.concurrency.queue: needs queue_wait"),
        ("{concurrency: {queue_wait: 5}}", "limits.concurrency.queue_wait: 5 needs a unit"),
        ("{concurrency: 500}", "limits.concurrency: must be a mapping of names to values"),
        ("off", "limits: must be a mapping of names to values"),
    ],
)
def test_refused(limits: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"{ECHO}limits: {limits}\n")

    assert len(found) == 1, found
    assert found[0].startswith("f.yaml:3 ")
    assert refusal in found[0]


_EVERYBODY = "holds for everybody: it belongs in limits at the top level"
_TENANT = "belongs in the limits of the tenant: tenants.NAME.limits"


@pytest.mark.parametrize(
    ("places", "refusal"),
    [
        ({"limits": "{global: off}"}, f"f.yaml:5 tenants.acme.limits.global: {_EVERYBODY}"),
        ({"limits": "{per_ip: off}"}, f"tenants.acme.limits.per_ip: {_EVERYBODY}"),
        ({"limits": "{concurrency: off}"}, f"tenants.acme.limits.concurrency: {_EVERYBODY}"),
        ({"user": "{per_tenant: off}"}, f"f.yaml:6 tenants.acme.users.alice.limits.per_tenant: {_TENANT}"),
        ({"user": "{global: off}"}, f"tenants.acme.users.alice.limits.global: {_EVERYBODY}"),
        ({"key": "{per_route: off}"}, f"f.yaml:7 tenants.acme.keys[0].limits.per_route: {_TENANT}"),
        ({"key": "{per_keys: off}"}, 'keys[0].limits.per_keys: unknown key; did you mean "per_key"?'),
        ({"user": "{per_user: {requests: -1}}"}, "users.alice.limits.per_user.requests: -1 is not a count"),
        (
            {"limits": "{per_key: {window: 1h}}"},
            "limits.per_key: needs requests or tokens: there is no single rule above to inherit them from",
        ),
        ({"limits": "{per_tenant: {segments: 3}}"}, "per_tenant.segments: segments are for sliding_window"),
        ({"key": "{per_user: {window: 10s}}"}, "keys[0].limits.per_user.window: 10s cannot be cut into 6"),
        (
            {"user": "{per_user: {algorithm: fixed_window}}", "key": "{per_user: {segments: 3}}"},
            "keys[0].limits.per_user.segments: segments are for sliding_window; this is a fixed_window",
        ),
        (
            {"user": "{per_user: [{tokens: 1}, {tokens: 2}]}"},
            "users.alice.limits.per_user[1].tokens: limits tokens in 1m twice; first at f.yaml:6",
        ),
    ],
)
def test_refused_overrides(places: dict[str, str], refusal: str, refusals: Refusals) -> None:
    """A rule is judged by what it is after inheriting, where it was written."""
    found = refusals(ECHO + acme(**places))

    assert len(found) == 1, found
    assert refusal in found[0]


def test_a_key_without_a_listed_user_inherits_from_its_tenant(refusals: Refusals) -> None:
    found = refusals(ECHO + acme(limits="{per_user: off}", key="{per_user: {window: 1h}}", owner="bot"))

    assert len(found) == 1
    assert "keys[0].limits.per_user: needs requests or tokens: there is no single rule above" in found[0]


def test_an_inherited_flaw_is_told_once(refusals: Refusals) -> None:
    """Where it was written; and a level that cannot be read blames nobody below."""
    flawed = "limits: {per_user: {segments: 7}, per_tenant: {algorithm: sliding}}\n"

    found = refusals(ECHO + flawed + acme("{per_tenant: {segments: 4}}", user="{per_user: {requests: 5}}"))

    assert [line.partition(": ")[0] for line in found] == [
        "f.yaml:3 limits.per_tenant.algorithm",
        "f.yaml:3 limits.per_user.segments",
    ]


def test_every_problem_at_once(refusals: Refusals) -> None:
    """A unit missing elsewhere hides no limit that cannot be kept."""
    found = refusals(ECHO + "server: {lame_duck: 5}\nlimits: {per_user: {segments: 7}}\n")

    assert len(found) == 2


def test_shown_and_loaded_again() -> None:
    """Complete at the top level, no more than was said below it."""
    text = "limits: {per_user: off, per_ip: [{requests: 5}], concurrency: off}\n" + acme(
        "{per_user: {requests: 5}, per_key: off}", key="{per_model: [{tokens: 1M, window: 1h}]}"
    )
    document = load(text)

    shown = document.model_dump(mode="json")

    assert shown["limits"]["per_user"] == shown["limits"]["concurrency"] == "off"
    assert shown["limits"]["global"] == {
        "requests": 10_000,
        "window": "1m",
        "algorithm": "token_bucket",
        "on_store_error": "local",
        "mode": "enforce",
    }
    assert shown["limits"]["per_ip"][0]["exempt"] == ["127.0.0.0/8", "::1/128"]
    assert shown["tenants"]["acme"]["limits"] == {"per_user": {"requests": 5}, "per_key": "off"}
    again = document_from_text(yaml.safe_dump(shown))
    assert again.limits == document.limits
    assert again.tenants == document.tenants
    assert again.model_dump() == document.model_dump()


def test_rules_are_values() -> None:
    """A document holds complete rules, ready to be read."""
    held = load("limits: {per_user: {requests: 5}}").limits.per_user

    assert isinstance(held, RuleSettings)
    assert (held.window, held.algorithm, held.segments, held.mode) == (60, "sliding_window", 6, "enforce")
