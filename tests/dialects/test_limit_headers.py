from __future__ import annotations

from llmgw.core.claim import CONCURRENCY, FIXED_WINDOW, Rule, Step
from llmgw.dialects.endpoints import ANTHROPIC
from llmgw.dialects.limit_headers import LimitHead

NS = 1_000_000_000
NOW = 1000 * NS
# The counters' clock began at 2026-11-24T12:00:00Z less 1,000 s.
OFFSET = 1795521600 * NS - NOW


def rule(name: str, limit: int, window_s: int, unit: str = "requests") -> Rule:
    return Rule(
        name=name, counts=name, algorithm=FIXED_WINDOW, unit=unit, limit=limit, window_ns=window_s * NS
    )


USER = rule("per-user", 100, 60)
GLOBAL = rule("global", 10_000, 60)
TOKENS = rule("per-model-tokens", 5000, 60, "tokens")
PLACES = Rule(name="concurrency", counts="c", algorithm=CONCURRENCY, unit="in_flight", limit=2)


def step(remaining: int, at_s: float, passed: bool = True) -> Step:
    return ((1,) if passed else None, remaining, round(at_s * NS))


def lines(head: bytes) -> dict[str, str]:
    assert head.endswith(b"\r\n")
    return dict(line.split(": ", 1) for line in head.decode().splitlines())


def test_the_policy_with_the_least_left_is_told() -> None:
    """The names and the policies are of all, the numbers of the one that binds."""
    found = lines(LimitHead([USER, GLOBAL], None).render([step(98, 1059.5), step(9000, 1030)], NOW, OFFSET))

    assert found == {
        "x-ratelimit-policy": "per-user,global",
        "ratelimit-policy": '"per-user";q=100;w=60, "global";q=10000;w=60',
        "ratelimit": '"per-user";r=98;t=60',
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "98",
        "x-ratelimit-reset-requests": "1m0s",
    }


def test_tokens_have_fields_of_their_own() -> None:
    found = lines(LimitHead([USER, TOKENS], None).render([step(5, 1010), step(4000, 1020)], NOW, OFFSET))

    assert found["ratelimit"] == '"per-user";r=5;t=10, "per-model-tokens";r=4000;t=20'
    assert found["ratelimit-policy"] == '"per-user";q=100;w=60, "per-model-tokens";q=5000;w=60;qu="tokens"'
    assert found["x-ratelimit-limit-tokens"] == "5000"
    assert found["x-ratelimit-remaining-tokens"] == "4000"
    assert found["x-ratelimit-reset-tokens"] == "20s"


def test_anthropics_fields_say_the_moment() -> None:
    """RFC 3339, and the same instant that the IETF's fields point at."""
    found = lines(LimitHead([USER, TOKENS], ANTHROPIC).render([step(5, 1010), step(40, 1020)], NOW, OFFSET))

    assert found["anthropic-ratelimit-requests-limit"] == "100"
    assert found["anthropic-ratelimit-requests-remaining"] == "5"
    assert found["anthropic-ratelimit-requests-reset"] == "2026-11-24T12:00:10Z"
    assert found["anthropic-ratelimit-tokens-reset"] == "2026-11-24T12:00:20Z"
    assert not any(name.startswith("x-ratelimit-limit") for name in found)


def test_on_a_refusal_every_field_points_at_one_instant() -> None:
    """The one that `Retry-After` points at."""
    head = LimitHead([USER, GLOBAL, TOKENS], None)
    steps = [step(0, 1030, False), step(9000, 1059), step(10, 1045, False)]
    found = lines(head.refused(steps, [2, 0], 45, NOW, OFFSET))

    assert found["ratelimit"] == '"per-model-tokens";r=10;t=45'
    assert found["x-ratelimit-remaining-requests"] == "0"
    assert found["x-ratelimit-reset-requests"] == found["x-ratelimit-reset-tokens"] == "45s"


def test_places_are_named_only_where_they_refuse() -> None:
    """They are the server's own matter while there are enough."""
    head = LimitHead([USER, PLACES], None)
    let_on = lines(head.render([step(5, 1010), step(1, 0)], NOW, OFFSET))
    refused = lines(head.refused([step(5, 1010), step(0, 0, False)], [1], 1, NOW, OFFSET))

    assert let_on["x-ratelimit-policy"] == "per-user"
    assert refused["x-ratelimit-policy"] == "per-user,concurrency"
    assert refused["ratelimit-policy"].endswith('"concurrency";q=2;qu="concurrent-requests"')
    assert refused["ratelimit"] == '"concurrency";r=0;t=1'


def test_long_waits_read_like_a_clock() -> None:
    found = lines(LimitHead([USER], None).render([step(0, 1000 + 3661)], NOW, OFFSET))

    assert found["x-ratelimit-reset-requests"] == "1h1m1s"
