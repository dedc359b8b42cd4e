"""What is the same request, and what never is."""

from __future__ import annotations

import json
import random
from itertools import product
from typing import Any

import pytest

from llmgw.core.principal import Principal
from llmgw.policies.cache_key import CANONICAL_BYTES, cache_key, canonical, material_of, scope_of
from llmgw.ports.cache import CacheKey
from tests.fakes.exchanges import exchange

SECRET = b"s" * 32
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0.5,
    "metadata": {"a": "1", "b": "2"},
}


def key_of(
    body: object = BODY,
    principal: Principal | None = None,
    *,
    scope: str = "tenant",
    fingerprint: bytes = b"f",
    fields: dict[bytes, bytes] | None = None,
    path: str = "/v1/chat/completions",
    streamed: bool = False,
    model: str = "m",
    clamp: int | None = None,
    otherwise: bool = False,
    forwards: tuple[bytes, ...] = (),
) -> CacheKey:
    ex = exchange(body, path=path, principal=principal, fields=fields)
    ex.streamed, ex.model, ex.clamp = streamed, model, clamp
    assert ex.principal is not None
    sharers = scope_of(ex.principal, scope)
    assert sharers is not None
    material = material_of(ex, fingerprint, forwards, reads_otherwise=otherwise)
    return cache_key(SECRET, ex.principal, sharers, material)


def test_the_same_request_has_the_same_key() -> None:
    assert key_of() == key_of()
    assert len(key_of().digest) == 32


@pytest.mark.parametrize("seed", range(50))
def test_the_order_of_names_and_white_space_make_no_difference(seed: int) -> None:
    chance = random.Random(seed)

    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            names = list(value)
            chance.shuffle(names)
            return {name: shuffled(value[name]) for name in names}
        return [shuffled(one) for one in value] if isinstance(value, list) else value

    text = json.dumps(shuffled(BODY), indent=chance.choice([None, 1, 4]), ensure_ascii=chance.random() < 0.5)

    assert key_of(text.encode()) == key_of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1.0", "1.00"),
        ("1e1", "10"),
        ("1E1", "1e1"),
        ("0.1", "0.10000000000000001"),
        ("9007199254740993", "9007199254740992"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("1", '"1"'),
        ("1.5", '"1.5"'),
        ("null", "false"),
        ("[]", "{}"),
        ('["a","b"]', '["b","a"]'),
        ('{"a":{"b":1}}', '{"a":[{"b":1}]}'),
        ('"a"', '"A"'),
        ('"é"', '"e\\u0301"'),
    ],
)
def test_i06_values_that_somebody_may_read_differently_split(one: str, other: str) -> None:
    """Nested and at the top."""
    for form in ('{"model":"m","seed":%s}', '{"model":"m","x":{"y":[%s]}}'):
        assert key_of((form % one).encode()) != key_of((form % other).encode())


def test_escapes_of_the_same_text_are_the_same() -> None:
    assert key_of(b'{"model":"m","x":"caf\\u00e9 \\/"}') == key_of('{"model":"m","x":"café /"}'.encode())


def test_i06_a_name_that_stands_twice_is_no_other_request() -> None:
    """Whichever of the two a provider takes, the answer is kept for these very bytes alone."""
    texts = [
        b'{"model":"m","x":{"a":1,"a":2}}',
        b'{"model":"m","x":{"a":2,"a":1}}',
        b'{"model":"m","x":{"a":2}}',
        b'{"model":"m","x":{"a":1}}',
        b'{"model":"m","x":{"a":1, "a":2}}',
        b'{"model":"m","x":{"a":1,"\\u0061":2}}',
    ]

    assert len({key_of(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.6},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello"}]},
        {"response_format": {"type": "json_object"}},
        {"n": 2},
        {"seed": 1},
        {"max_tokens": 5},
        {"user": "alice"},
        {"metadata": {"a": "1", "b": "3"}},
        {"stream": True},
        {"never_heard_of": None},
    ],
)
def test_i06_every_member_splits(more: dict[str, object]) -> None:
    """Unknown ones too."""
    assert key_of({**BODY, **more}) != key_of()


def test_i06_everything_beside_the_body_splits() -> None:
    plain = key_of()
    others = [
        key_of(streamed=True),
        key_of(model="another"),
        key_of(clamp=100),
        key_of(fingerprint=b"another configuration"),
        key_of(otherwise=True),
        key_of(path="/v1/completions"),
        key_of(path="/v1/responses"),
        key_of(fields={b"anthropic-version": b"2023-06-01"}),
        key_of(fields={b"anthropic-beta": b"x"}),
        key_of(fields={b"openai-beta": b"x"}),
        key_of(fields={b"x-forwarded-on": b"x"}, forwards=(b"x-forwarded-on",)),
    ]

    assert len({plain, *others}) == 1 + len(others)


def test_what_changes_no_answer_does_not_split() -> None:
    assert key_of(fields={b"x-forwarded-on": b"x"}) == key_of()
    assert key_of(fields={b"authorization": b"Bearer x", b"user-agent": b"y"}) == key_of()
    assert key_of({**BODY, "model": "an alias of the same"}) == key_of()


def test_gemini_has_its_model_in_the_path() -> None:
    """So what its body says of one is a member like any other."""
    ex = exchange({"model": "x", "contents": []})
    from llmgw.dialects.endpoints import GENERATE

    ex.endpoint = GENERATE
    assert b"model" in material_of(ex, b"", (), reads_otherwise=False)


def test_a_large_body_is_taken_as_it_is() -> None:
    """To the byte, as sorting it would take long."""
    long = "x" * CANONICAL_BYTES
    one, other = (
        f'{{"model":"m","x":{{"a":"{long}","b":1}}}}',
        f'{{"model":"m","x":{{"b":1,"a":"{long}"}}}}',
    )

    assert key_of(one.encode()) == key_of(one.encode())
    assert key_of(one.encode()) != key_of(other.encode())


@pytest.mark.parametrize(
    "raw", [b'"\\ud800"', b'{"a":"\\ud800"}', b"[" * 2000 + b"]" * 2000], ids=["text", "nested", "deep"]
)
def test_what_cannot_be_read_is_taken_as_it_is(raw: bytes) -> None:
    assert canonical(raw) is None


def test_i01_the_scope_has_to_be_said() -> None:
    with pytest.raises(TypeError):
        cache_key(SECRET, Principal("acme"))  # type: ignore[call-arg]


def test_who_shares_answers() -> None:
    alice, bob = Principal("acme", "alice", "k1"), Principal("acme", "bob", "k2")
    again = Principal("acme", "alice", "k3")

    assert key_of(BODY, alice) == key_of(BODY, bob)
    assert key_of(BODY, alice, scope="user") != key_of(BODY, bob, scope="user")
    assert key_of(BODY, alice, scope="user") == key_of(BODY, again, scope="user")
    assert key_of(BODY, alice, scope="key") != key_of(BODY, again, scope="key")


def test_nobody_shares_with_who_is_not_known() -> None:
    assert scope_of(Principal("acme"), "user") is None
    assert scope_of(Principal("acme", "alice"), "key") is None
    assert scope_of(Principal("acme", None, "k1"), "user") == (b"acme", b"key", b"k1")


def test_a_user_is_not_a_key_of_the_same_name() -> None:
    user, key = Principal("acme", "same", None), Principal("acme", None, "same")

    assert key_of(BODY, user, scope="user") != key_of(BODY, key, scope="user")


def test_i01_i03_no_two_callers_have_a_key_in_common() -> None:
    """100,000 pairs of different callers, made of names that run into each other, and of one body.

    Whatever a name holds, it cannot be taken for two parts of a key, nor two for one.
    """
    pieces = [
        "a",
        "aa",
        "a|b",
        "a/b",
        "user",
        "key",
        "tenant",
        "\0",
        "\0\0\0\0\0\0\0\1a",
        "8:a",
        "é",
        "",
        "1",
    ]
    names = [first + second for first, second in product(pieces, pieces)]
    chance = random.Random(7)
    material = [b"/v1/chat/completions", b"body"]

    def key(tenant: str, scope: str, name: str) -> CacheKey:
        principal = Principal(tenant, name if scope == "user" else None, name if scope == "key" else None)
        sharers = scope_of(principal, scope)
        assert sharers is not None
        return cache_key(SECRET, principal, sharers, material)

    seen: dict[bytes, tuple[str, ...]] = {}
    pairs = 0
    while pairs < 100_000:
        who = (chance.choice(names), chance.choice(["tenant", "user", "key"]), chance.choice(names))
        same = who[:2] if who[1] == "tenant" else who
        other = seen.setdefault(key(*who).digest, same)
        assert other == same
        pairs += 1
    assert len(seen) == len(set(seen.values())) > 10_000


def test_i03_a_scope_in_the_body_or_a_header_is_no_scope() -> None:
    """A caller can write what it likes: the key of another tenant does not come out of it."""
    victim = key_of(BODY, Principal("victim"))
    forged = [
        key_of({**BODY, "tenant": "victim"}, Principal("attacker")),
        key_of({**BODY, "metadata": {"tenant": "victim"}}, Principal("attacker")),
        key_of(BODY, Principal("attacker"), fields={b"x-tenant": b"victim"}),
        key_of(BODY, Principal("attacker"), fields={b"anthropic-beta": b"\0\0\0\0\0\0\0\6victim"}),
        key_of(BODY, Principal("attacker\0\0\0\0\0\0\0\6victim")),
    ]

    assert victim not in forged
    assert victim.digest not in {one.digest for one in forged}


def test_the_stores_secret_makes_the_key() -> None:
    """Who does not have it cannot tell from a key what was asked."""
    principal = Principal("acme")
    scope = (b"acme", b"tenant")

    assert cache_key(b"1" * 32, principal, scope, [b"x"]) != cache_key(b"2" * 32, principal, scope, [b"x"])
