"""What goes over the wire to Redis, and what comes back as a verdict."""

from __future__ import annotations

from struct import pack

import hiredis
import pytest

from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, Claim
from llmgw.stores.redis_claims import EPOCH, TAKEN, Codec, command, counter_key, spents
from llmgw.stores.redis_script import ACQUIRE, KINDS, SETTLE, SILENT, UNLEASED, digest_of
from tests.contracts.counters import claim, rule

OFFSET_NS = 1_700_000_000_000_000_000
END_NS = 50_000_000_000


def words(packed: bytes) -> list[bytes]:
    """A command as Redis reads it: one, whole."""
    reader = hiredis.Reader()
    reader.feed(packed)
    found: list[bytes] = reader.gets()
    assert reader.gets() is False
    return found


@pytest.fixture
def codec() -> Codec:
    made = Codec(b"owner", OFFSET_NS)
    made.epoch = b"epoch"
    return made


def test_a_command_is_written_by_bytes() -> None:
    assert words(command("SET", b"\x00\r\n", "ä", 12)) == [b"SET", b"\x00\r\n", "ä".encode(), b"12"]


@pytest.mark.parametrize("count", [1, 7, 8, 32])
@pytest.mark.parametrize("dry", [False, True])
def test_claims_are_one_command(codec: Codec, count: int, dry: bool) -> None:
    claims = [claim(rule(FIXED_WINDOW, counts=f"c{number}"), number) for number in range(count)]

    sent = words(codec.acquire(claims, "request", dry=dry))

    keys, arguments = codec.words(claims, "request", dry=dry)
    assert sent == [b"EVALSHA", digest_of(ACQUIRE), b"%d" % len(keys), *keys, *arguments]
    assert keys[:2] == [EPOCH, b"owner"]
    assert keys[2:] == [counter_key(one.key) for one in claims]
    assert arguments[:3] == [b"epoch", b"1" if dry else b"", b"request"]


def test_a_window_is_in_microseconds_of_redis(codec: Codec) -> None:
    """That of a sliding window is whole segments."""
    sliding = claim(rule(SLIDING_WINDOW, limit=9, window_ns=100_000, segments=3, shadow=True), 2)
    balance = Claim(rule(BALANCE, limit=10**15), "b", 7, END_NS)

    blob = codec.words([sliding, balance], "", dry=False)[1][-1]

    until = (END_NS + OFFSET_NS) // 1_000
    assert blob == pack("<7d", KINDS[SLIDING_WINDOW], SILENT, 9, 2, 99, 3, 0) + pack(
        "<7d", KINDS[BALANCE], 0, 10**15, 7, 0, 0, until
    )


def test_a_changed_rule_is_written_as_it_is_now(codec: Codec) -> None:
    for limit in (1, 2):
        assert codec.terms(rule(FIXED_WINDOW, limit=limit))[2] == limit


def test_settlements_name_each_key_and_request_once(codec: Codec) -> None:
    one, other = claim(BALANCE, 5), claim(FIXED_WINDOW)
    items = [(one, 3, 1_000, "r1", True), (other, 0, 2_000, "r2", False), (one, 4, 3_000, "r2", True)]

    sent = words(codec.settle(items))

    assert sent[:3] == [b"EVALSHA", digest_of(SETTLE), b"4"]
    assert sent[3:7] == [EPOCH, b"owner", counter_key(one.key), counter_key(other.key)]
    assert sent[-2:] == [b"r1", b"r2"]
    flags = [sent[9][8 + 88 * number : 16 + 88 * number] for number in range(3)]
    assert flags == [pack("<d", flag) for flag in (0, UNLEASED, 0)]


def test_an_answer_is_a_verdict(codec: Codec) -> None:
    now_us = OFFSET_NS // 1_000 + 1_000
    window, balance = claim(FIXED_WINDOW), Claim(rule(BALANCE), "b", 60, END_NS)
    silent = claim(rule(FIXED_WINDOW, counts="s", shadow=True))
    reply = pack("<10d", now_us, 1, 99, now_us + 5, 2, 40, 0, 0, 0, now_us + 7)

    verdict = codec.verdict([window, balance, silent], reply)

    assert verdict.now == 1_000_000
    assert verdict.steps == [(TAKEN, 99, 1_005_000), (None, 40, END_NS), (None, 0, 1_007_000)]
    assert [(one.claim, one.held, one.at) for one in verdict.refusals] == [(balance, True, END_NS)]
    assert [one.claim for one in verdict.shadows] == [silent]


def test_a_balance_that_refuses_nobody_went_beyond_its_limit(codec: Codec) -> None:
    lenient = Claim(rule(BALANCE, warn=True), "b", 60, END_NS)

    verdict = codec.verdict([lenient], pack("<4d", 0, 1, -20, 0))

    assert verdict.refusals == ()
    assert [(one.claim, one.remaining) for one in verdict.shadows] == [(lenient, 0)]


def test_what_no_waiting_helps(codec: Codec) -> None:
    large = claim(rule(FIXED_WINDOW, limit=3), 4)

    (refusal,) = codec.verdict([large], pack("<4d", 0, 0, 3, 0)).refusals

    assert refusal.never


def test_what_is_spent_is_exact_to_the_nano_dollar() -> None:
    assert spents(3, pack("<3d", 2**53 - 1, -1, 0)) == [2**53 - 1, -1, 0]
