"""Quotas: which hold for whom, and which cannot be kept; and where alerts go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.config.quotas import QuotaRule
from llmgw.config.secret import MASK

Refusals = Callable[..., list[str]]
HASH = "sha256:" + "ab" * 32
ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


def load(text: str) -> Document:
    return document_from_text(ECHO + text, path=Path("f.yaml"))


def acme(quotas: str = "[]", user: str = "[]", key: str = "[]") -> str:
    """A tenant with a user and its key, each with quotas."""
    return (
        f"tenants:\n  acme:\n    quotas: {quotas}\n    users: {{alice: {{quotas: {user}}}}}\n"
        f"    keys: [{{id: ci, user: alice, hash: '{HASH}', quotas: {key}}}]\n"
        "  other: {}\n"
    )


def held(text: str, tenant: str, user: str | None, key: str | None) -> list[tuple[str, int, str]]:
    return [(rule.per, rule.limit, rule.scope) for rule in load(text).quota_rules(tenant, user, key)]


def test_none() -> None:
    assert load("").quota_rules("default", "alice", "ci") == ()
    assert load("quotas:\n").all_quota_rules() == ()


def test_everything_a_quota_says() -> None:
    text = (
        "quotas: [{per: key, cost: 20 USD, window: month, timezone: Europe/Paris, model: 'gpt-*',"
        " alert_at: [100%, 12.5%], on_exceed: warn, reserve_output: 1k, clamp: true, mode: shadow,"
        " on_store_error: allow}]"
    )

    assert load(text).quota_rules("default", None, "k") == (
        QuotaRule(
            per="key",
            unit="cost",
            limit=20_000_000_000,
            window="month",
            timezone="Europe/Paris",
            model="gpt-*",
            alert_at=(125_000, 1_000_000),
            warn=True,
            shadow=True,
            reserve_output=1000,
            clamp=True,
            on_store_error="allow",
            scope="",
        ),
    )


def test_what_a_quota_does_not_say() -> None:
    (rule,) = load("quotas: [{per: user, requests: 0, window: day}]").quota_rules("default", "alice", None)

    assert (rule.unit, rule.limit, rule.timezone, rule.model, rule.alert_at) == (
        "requests",
        0,
        "UTC",
        None,
        (),
    )
    assert (rule.warn, rule.shadow, rule.clamp, rule.reserve_output) == (False, False, False, 4096)
    assert rule.on_store_error == "deny"


@pytest.mark.parametrize("unit", ["requests", "tokens", "input_tokens", "output_tokens"])
@pytest.mark.parametrize("window", ["minute", "hour", "day", "week", "month"])
def test_units_and_windows(unit: str, window: str) -> None:
    (rule,) = load(f"quotas: [{{per: tenant, {unit}: 50M, window: {window}}}]").all_quota_rules()

    assert (rule.unit, rule.limit, rule.window) == (unit, 50_000_000, window)


def test_quotas_add_up() -> None:
    """Whatever counts another thing, or in another period, holds beside the rest."""
    text = (
        "quotas:\n"
        "  - {per: tenant, tokens: 1, window: day}\n"
        "  - {per: user, tokens: 2, window: day}\n"
        "  - {per: tenant, tokens: 3, window: month}\n"
        "  - {per: tenant, tokens: 4, window: day, model: 'gpt-*'}\n"
    ) + acme(
        "[{requests: 5, window: day}]", "[{output_tokens: 6, window: day}]", "[{tokens: 7, window: day}]"
    )

    assert [limit for _, limit, _ in held(text, "acme", "alice", "ci")] == [1, 2, 3, 4, 5, 6, 7]
    assert [limit for _, limit, _ in held(text, "acme", None, None)] == [1, 2, 3, 4, 5]
    assert [limit for _, limit, _ in held(text, "other", "alice", "ci")] == [1, 2, 3, 4]


def test_the_same_for_fewer_replaces() -> None:
    """Nothing is inherited from what is replaced."""
    text = (
        "quotas: [{per: user, cost: 5 USD, window: day, timezone: Europe/Paris, on_exceed: warn}]\n"
        + acme("[{per: user, cost: 6 USD, window: day}]", "[{cost: 7 USD, window: day}]")
    )
    document = load(text)

    found = [document.quota_rules(*who)[0] for who in (("other", "x", None), ("acme", "x", None))]
    found += document.quota_rules("acme", "alice", "ci")

    assert [rule.limit for rule in found] == [5_000_000_000, 6_000_000_000, 7_000_000_000]
    assert [rule.scope for rule in found] == ["", "tenant:acme", "user:acme/alice"]
    assert [rule.timezone for rule in found] == ["Europe/Paris", "UTC", "UTC"]
    assert [rule.warn for rule in found] == [True, False, False]
    assert len(document.all_quota_rules()) == 3


def test_per_is_said_by_the_place() -> None:
    text = acme(
        "[{requests: 1, window: day}]", "[{requests: 2, window: day}]", "[{requests: 3, window: day}]"
    )

    assert held(text, "acme", "alice", "ci") == [
        ("tenant", 1, "tenant:acme"),
        ("user", 2, "user:acme/alice"),
        ("key", 3, "key:acme/ci"),
    ]


def test_selectors() -> None:
    """A quota at the top level for one tenant, or one of its users or keys."""
    text = (
        "quotas:\n"
        "  - {per: key, requests: 1, window: day}\n"
        "  - {per: key, requests: 2, window: day, tenant: acme}\n"
        "  - {per: key, requests: 3, window: day, tenant: acme, user: alice}\n"
        "  - {per: key, requests: 4, window: day, tenant: acme, key: ci}\n"
    ) + acme()

    assert held(text, "other", "alice", "ci") == [("key", 1, "")]
    assert held(text, "acme", "bob", "c2") == [("key", 2, "tenant:acme")]
    assert held(text, "acme", "alice", "c2") == [("key", 3, "user:acme/alice")]
    assert held(text, "acme", "alice", "ci") == [("key", 4, "key:acme/ci")]


def test_nobody_is_no_user_called_none() -> None:
    text = acme(user="[{requests: 1, window: day}]").replace("alice", "None")

    assert held(text, "acme", None, None) == []
    assert held(text, "acme", "None", None) == [("user", 1, "user:acme/None")]


def test_all_rules() -> None:
    """Also those that another replaces for everybody: their balances are rebuilt too."""
    text = "quotas: [{per: tenant, requests: 1, window: day}]\n" + acme("[{requests: 2, window: day}]")

    assert [rule.limit for rule in load(text).all_quota_rules()] == [1, 2]


@pytest.mark.parametrize(
    ("quota", "refusal"),
    [
        ("{requests: 1, window: day}", "quotas[0].per: is required"),
        ("{per: team, requests: 1, window: day}", "quotas[0].per: must be 'tenant', 'user' or 'key'"),
        ("{per: user, requests: 1}", "quotas[0].window: is required"),
        (
            "{per: user, requests: 1, window: 1d}",
            "window: must be 'minute', 'hour', 'day', 'week' or 'month'",
        ),
        ("{per: user, window: day}", "quotas[0]: needs an amount: one of requests, tokens, input_tokens"),
        (
            "{per: user, window: day, requests: 1, cost: 1 USD}",
            "quotas[0].cost: a quota counts one thing; write another one for cost",
        ),
        (
            "{per: user, window: day, tokens: 1, input_tokens: 1}",
            "quotas[0].input_tokens: a quota counts one",
        ),
        ("{per: user, window: day, requests: -1}", "quotas[0].requests: -1 is not a count"),
        ("{per: user, window: day, requests: 0.5}", "quotas[0].requests: 0.5 is not a count"),
        ("{per: user, window: day, requests: true}", "quotas[0].requests: true is not a count"),
        ("{per: user, window: day, tokens: 1001G}", "quotas[0].tokens: 1001000000000 is more than 10^12"),
        ("{per: user, window: day, cost: 20}", "quotas[0].cost: 20 is not an amount; write it like 50 USD"),
        ("{per: user, window: day, cost: 20 EUR}", 'quotas[0].cost: "20 EUR" is not an amount'),
        ("{per: user, window: day, cost: -1 USD}", 'quotas[0].cost: "-1 USD" is not an amount'),
        ("{per: user, window: day, cost: 1000000001 USD}", "cost: 1000000001 USD is more than 10^9 USD"),
        (
            "{per: user, window: day, requests: 1, timezone: Europe/Pari}",
            'quotas[0].timezone: no time zone named "Europe/Pari"; use an IANA name such as Europe/Paris;'
            ' did you mean "Europe/Paris"?',
        ),
        ("{per: user, window: day, requests: 1, timezone: Europe}", 'no time zone named "Europe"'),
        ("{per: user, window: day, requests: 1, timezone: ../passwd}", 'no time zone named "../passwd"'),
        ("{per: user, window: day, requests: 1, timezone: ''}", 'no time zone named ""'),
        ("{per: user, window: day, requests: 1, timezone: localtime}", 'no time zone named "localtime"'),
        ("{per: user, window: day, requests: 1, timezone: right/UTC}", 'no time zone named "right/UTC"'),
        ("{per: user, window: day, requests: 1, timezone: 2}", "quotas[0].timezone: must be text"),
        ("{per: user, window: day, requests: 1, alert_at: [80]}", "alert_at[0]: 80 is not a share"),
        ("{per: user, window: day, requests: 1, alert_at: [0.5%]}", "alert_at[0]: 0.5% is less than 1%"),
        ("{per: user, window: day, requests: 1, alert_at: [101%]}", 'alert_at[0]: "101%" is more than 100%'),
        ("{per: user, window: day, requests: 1, alert_at: [80%, 80.0%]}", "alert_at: 80% stands here twice"),
        ("{per: user, window: day, requests: 1, alert_at: 80%}", "quotas[0].alert_at: must be a list"),
        ("{per: user, window: day, requests: 1, on_exceed: deny}", "on_exceed: must be 'block' or 'warn'"),
        ("{per: user, window: day, requests: 1, mode: off}", "mode: must be 'enforce' or 'shadow'"),
        (
            "{per: user, window: day, requests: 1, reserve_output: 0}",
            "reserve_output: input should be greater",
        ),
        ("{per: user, window: day, requests: 1, clamp: yes}", "quotas[0].clamp: must be true or false"),
        ("{per: user, window: day, requets: 1}", 'quotas[0].requets: unknown key; did you mean "requests"?'),
        ("{per: user, window: day, requests: 1, user: a}", "quotas[0].user: needs tenant: whose user it is"),
        ("{per: key, window: day, requests: 1, key: a}", "quotas[0].key: needs tenant: whose key it is"),
        (
            "{per: tenant, window: day, requests: 1, tenant: default, user: a}",
            "quotas[0].user: one user cannot be selected per tenant; write per: user",
        ),
        (
            "{per: user, window: day, requests: 1, tenant: default, key: a}",
            "quotas[0].key: one key cannot be selected per user; write per: key",
        ),
        (
            "{per: key, window: day, requests: 1, tenant: default, user: a, key: b}",
            "quotas[0].user: a key belongs to one user; leave user out",
        ),
    ],
)
def test_refused(quota: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"{ECHO}quotas: [{quota}]\n")

    assert any(line.startswith("f.yaml:3 ") and refusal in line for line in found), found


def test_not_a_list(refusals: Refusals) -> None:
    assert refusals(ECHO + "quotas: {per: user}") == ["f.yaml:3 quotas: must be a list"]


_AT_TOP = "is for quotas at the top level; here, put the quota under that"


@pytest.mark.parametrize(
    ("places", "refusal"),
    [
        ({"quotas": "[{window: day}]"}, "f.yaml:5 tenants.acme.quotas[0]: needs an amount"),
        ({"quotas": "[{requests: 1, window: day, user: a}]"}, f"acme.quotas[0].user: {_AT_TOP} user"),
        (
            {"user": "[{requests: 1, window: day, tenant: a}]"},
            f"users.alice.quotas[0].tenant: {_AT_TOP} tenant",
        ),
        ({"key": "[{requests: 1, window: day, key: a}]"}, f"keys[0].quotas[0].key: {_AT_TOP} key"),
        (
            {"user": "[{per: key, requests: 1, window: day}]"},
            "f.yaml:6 tenants.acme.users.alice.quotas[0].per: is user here;"
            " put a quota per key under the tenant",
        ),
        ({"key": "[{per: tenant, requests: 1, window: day}]"}, "keys[0].quotas[0].per: is key here"),
        ({"quotas": "off"}, "tenants.acme.quotas: must be a list"),
    ],
)
def test_refused_below(places: dict[str, str], refusal: str, refusals: Refusals) -> None:
    found = refusals(ECHO + acme(**places))

    assert any(refusal in line for line in found), found


def test_two_that_count_the_same(refusals: Refusals) -> None:
    """In one list, or from two places for the same one: it could not be told which holds."""
    text = (
        f"{ECHO}quotas:\n"
        "  - {per: user, cost: 1 USD, window: day}\n"
        "  - {per: user, cost: 2 USD, window: day, timezone: Europe/Paris}\n"
        "  - {per: user, cost: 3 USD, window: day, model: 'gpt-*'}\n"
        "  - {per: tenant, requests: 4, window: day, tenant: acme}\n"
    ) + acme("[{requests: 5, window: day}]", key="[{tokens: 6, window: day}, {tokens: 7, window: day}]")

    assert refusals(text) == [
        "f.yaml:5 quotas[1]: counts cost per user and day, as f.yaml:4 quotas[0] does; keep one",
        "f.yaml:10 tenants.acme.quotas[0]: counts requests per tenant and day, as f.yaml:7 quotas[3] does;"
        " keep one",
        "f.yaml:12 tenants.acme.keys[0].quotas[1]: counts tokens per key and day,"
        " as f.yaml:12 tenants.acme.keys[0].quotas[0] does; keep one",
    ]


def test_two_for_the_same_models(refusals: Refusals) -> None:
    quota = "{per: user, requests: 1, window: day, model: 'gpt-*'}"

    (found,) = refusals(f"{ECHO}quotas: [{quota}, {quota}]")

    assert "counts requests per user and day of gpt-*, as" in found


def test_every_model_is_all_models(refusals: Refusals) -> None:
    """`*` counts what no pattern counts, in the same balance."""
    quotas = "[{per: tenant, requests: 9, window: day}, {per: tenant, requests: 5, window: day, model: '*'}]"
    (found,) = refusals(f"{ECHO}quotas: {quotas}")
    assert "counts requests per tenant and day, as" in found

    everybody = "quotas: [{per: tenant, requests: 9, window: day}]\n"
    (rule,) = load(everybody + acme("[{requests: 5, window: day, model: '*'}]")).quota_rules(
        "acme", None, None
    )
    assert (rule.limit, rule.model) == (5, None)


def test_every_problem_at_once(refusals: Refusals) -> None:
    """What is wrong with one quota hides no other."""
    good = "{per: user, requests: 1, window: day}"

    found = refusals(f"{ECHO}server: {{lame_duck: 5}}\nquotas: [{{per: user}}, {good}, {good}]\n")

    assert [line.partition(": ")[0] for line in found] == [
        "f.yaml:3 server.lame_duck",
        "f.yaml:4 quotas[0].window",
        "f.yaml:4 quotas[2]",
    ]


def test_shown_and_loaded_again() -> None:
    text = (
        "quotas: [{per: key, cost: 0.5 USD, window: month, alert_at: [80%, 12.5%], model: 'gpt-*'}]\n"
        "alerts: {webhook: '${env:HOOK}'}\n"
    ) + acme("[{tokens: 1M, window: day}]", "[{requests: 5, window: hour}]", "[{cost: 3 USD, window: week}]")
    document = load(text)

    shown = document.model_dump(mode="json")

    assert shown["quotas"][0]["cost"] == "0.5 USD"
    assert shown["quotas"][0]["alert_at"] == ["80%", "12.5%"]
    assert "requests" not in shown["quotas"][0]
    assert shown["alerts"] == {"webhook": "${env:HOOK}"}
    again = document_from_text(yaml.safe_dump(shown))
    assert again.quotas == document.quotas
    assert again.tenants == document.tenants
    assert again.model_dump() == document.model_dump()


@pytest.mark.parametrize(
    "webhook",
    ["https://hooks.example.com/T0/B0?x=1", "http://10.0.0.5:8080", "${env:HOOK}", "https://h/${env:T}"],
)
def test_webhooks(webhook: str) -> None:
    assert load(f"alerts: {{webhook: '{webhook}'}}").alerts.webhook is not None


def test_no_webhook() -> None:
    assert load("").alerts.webhook is None
    assert load("alerts: {webhook: null}").alerts.webhook is None


def test_a_webhook_is_a_secret() -> None:
    """Such URLs often hold their credential."""
    document = load("alerts: {webhook: 'https://hooks.example.com/T0/B0'}")

    assert document.model_dump(mode="json")["alerts"] == {"webhook": MASK}
    assert "T0" not in repr(document)


@pytest.mark.parametrize(
    "webhook",
    ["ftp://example.com", "example.com/hook", "https://", "https://h:0", "https://h:x", "https://a b"],
)
def test_not_webhooks(webhook: str, refusals: Refusals) -> None:
    """The value is not repeated."""
    assert refusals(f"{ECHO}alerts: {{webhook: '{webhook}'}}") == [
        "f.yaml:3 alerts.webhook: must look like https://host/path"
    ]


def test_other_alerts(refusals: Refusals) -> None:
    assert refusals(f"{ECHO}alerts: {{webhok: null}}") == [
        'f.yaml:3 alerts.webhok: unknown key; did you mean "webhook"?'
    ]
