"""The scripts count as the pure steps do: the same integers, instant for instant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, Claim, Rule, State
from llmgw.limits import ALGORITHMS
from llmgw.limits.refusals import refusals
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import EPOCH, Codec, spents
from llmgw.stores.redis_script import _COMMON, ACQUIRE, SETTLE
from tests.fakes.redis import RedisServer, redis_server

START_US = 1_790_000_000_000_000
US = 1_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def redis(server: RedisServer) -> Iterator[BlockingRedis]:
    connection = BlockingRedis(server.parsed(), 10.0)
    yield connection
    connection.close()


LIMITS = st.one_of(st.integers(0, 20), st.integers(0, 10**7), st.sampled_from([10_000, 2_000_000, 5 * 10**7]))
WINDOWS_US = st.one_of(
    st.integers(1, 5_000),
    st.sampled_from([1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000, 604_800_000_000]),
)


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    """Some rules, their windows in microseconds."""
    made = []
    for place in range(draw(st.integers(1, 4))):
        algorithm = draw(st.sampled_from([FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, BALANCE]))
        segments = draw(st.integers(1, 8)) if algorithm == SLIDING_WINDOW else 0
        window = draw(WINDOWS_US)
        made.append(
            Rule(
                name=algorithm,
                counts=f"{place}",
                algorithm=algorithm,
                unit=draw(st.sampled_from(["tokens", "requests"])),
                limit=draw(LIMITS),
                window_ns=0 if algorithm == BALANCE else (window * segments if segments else window),
                segments=segments,
                shadow=draw(st.integers(0, 4)) == 0,
            )
        )
    return made


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "settle", "back"]),
        st.one_of(st.floats(0, 0.4), st.floats(0, 1.2)),
        st.one_of(st.floats(0, 0.3), st.floats(0, 1.4)),
        st.integers(0, 100),
    ),
    min_size=8,
    max_size=60,
)
"""What to do, how much of a limit it takes, how much of the longest window passes before."""


class Twin:
    """The pure steps over a dictionary, in microseconds."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def take(self, claims: list[Claim], now: int) -> tuple[list[Any], bool]:
        steps = [
            ALGORITHMS[claim.rule.algorithm].step(self.states.get(claim.key, ()), claim, now)
            for claim in claims
        ]
        enforced, _ = refusals(claims, steps, lambda key: self.states.get(key, ()))
        if not enforced:
            for claim, step in zip(claims, steps, strict=True):
                if step[0] is not None:
                    self.states[claim.key] = step[0]
        return steps, bool(enforced)

    def settle(self, claim: Claim, charge: int, taken_at: int, now: int) -> None:
        state = self.states.get(claim.key, ())
        self.states[claim.key] = ALGORITHMS[claim.rule.algorithm].settled(state, claim, charge, taken_at, now)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules(), ACTIONS)
def test_a_script_does_what_the_steps_do(
    redis: BlockingRedis, rules: list[Rule], actions: list[tuple[str, float, float, int]]
) -> None:
    redis.call("FLUSHALL")
    redis.call("SET", EPOCH, "e")
    twin, codec = Twin(), Codec(b"llmgw:{limits}:o:test", 0)
    codec.epoch = b"e"
    timed = [msgspec.structs.replace(rule, window_ns=rule.window_ns * US) for rule in rules]
    longest = max((rule.window_ns for rule in rules), default=1) or 1_000_000
    now, until = START_US, START_US + 10**13
    taken: list[tuple[list[Claim], list[Claim], int, str]] = []
    for number, (action, share, part, place) in enumerate(actions):
        now += int(longest * part) * (-1 if action == "back" else 1)
        codec.given = b"%d" % now
        ends = [until if rule.algorithm == BALANCE else 0 for rule in rules]
        costs = [int(share * (rule.limit + 1)) for rule in rules]
        ours = [
            Claim(rule, rule.counts, amount, end)
            for rule, amount, end in zip(rules, costs, ends, strict=True)
        ]
        theirs = [
            Claim(rule, rule.counts, amount, end * US)
            for rule, amount, end in zip(timed, costs, ends, strict=True)
        ]
        if action == "settle" and taken:
            mine, others, at, request = taken.pop(place % len(taken))
            charges = [int(2 * share * (claim.rule.limit + 1)) for claim in mine]
            for claim, charge in zip(mine, charges, strict=True):
                twin.settle(claim, charge, at, now)
            items = [
                (claim, charge, at * US, request, claim.rule.algorithm == BALANCE)
                for claim, charge in zip(others, charges, strict=True)
            ]
            spent = spents(len(items), send(redis, codec.settle(items)))
            for claim, said in zip(mine, spent, strict=True):
                if claim.rule.algorithm == BALANCE:
                    assert said == twin.states[claim.key][0]
            continue
        request = f"r{number}"
        steps, refused = twin.take(ours, now)
        verdict = codec.verdict(theirs, send(redis, codec.acquire(theirs, request)))
        assert bool(verdict.refusals) == refused
        assert verdict.now == now * US
        assert [(step[0] is None, step[1], step[2]) for step in verdict.steps] == [
            (after is None, remaining, at * US) for after, remaining, at in steps
        ]
        if not refused:
            passed = [index for index, step in enumerate(steps) if step[0] is not None]
            taken.append(([ours[i] for i in passed], [theirs[i] for i in passed], now, request))
    held = sum(claim.cost for mine, _, _, _ in taken for claim in mine if claim.rule.algorithm == BALANCE)
    leased = redis.call("HVALS", codec.owner)
    assert sum(int(amount) for amount in leased) == held


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**15), st.integers(1, 10**15), st.integers(1, 10**15))
def test_a_product_is_divided_exactly(redis: BlockingRedis, a: int, n: int, d: int) -> None:
    quotient = min(a // d * n, 2**53)
    if quotient + n >= 2**53:
        return
    script = _COMMON + "local q, r = muldiv(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))"
    script += " return {string.format('%.0f', q), string.format('%.0f', r)}"

    assert [int(part) for part in redis.call("EVAL", script, 0, a, n, d)] == [*divmod(a * n, d)]


def send(redis: BlockingRedis, packed: bytes) -> bytes:
    """One packed command's answer; a script that Redis does not know yet is sent whole."""
    for script in (ACQUIRE, SETTLE):
        redis.call("SCRIPT", "LOAD", script)
    assert redis._socket is not None
    redis._socket.sendall(packed)
    reader = redis._reader
    while (reply := reader.gets()) is False:
        reader.feed(redis._socket.recv(65536))
    assert isinstance(reply, bytes), reply
    return reply
