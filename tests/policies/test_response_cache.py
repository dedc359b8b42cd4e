"""What the policy answers with, lets on and keeps; with sockets it is in `tests/journeys/test_cache*.py`."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.stored_reply import CACHE, Replay, StoredReply, to_bytes
from llmgw.core.target import Target
from llmgw.policies.response_cache import MAX_BODY, ResponseCache, Shelf, Terms, _directives
from llmgw.ports.cache import CacheKey, Found, Kept
from tests.fakes.exchanges import exchange

REPLY = StoredReply(200, b"content-type: application/json\r\n", b"{}", False, "up", "m")


class OneEntry:
    """A store with the same entry under every key. Implements `ports.cache.CacheStore`."""

    def __init__(self, age_s: float | None) -> None:
        self.discarded = self.failed = self.size_bytes = 0
        self.secret: bytes | None = b"s" * 32
        self.asked: list[CacheKey] = []
        self._age_s = age_s

    def get(self, key: CacheKey, found: Found) -> None:
        self.asked.append(key)
        found(None if self._age_s is None else Kept(to_bytes(REPLY), self._age_s))

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None: ...

    def forget(self, tenants: frozenset[str]) -> None: ...

    def close(self) -> None: ...


def cache(age_s: float | None = 5.0, scope: str = "tenant") -> ResponseCache:
    terms = Terms(60.0, 1024, scope, tool_calls=False, wait_s=1.0)
    return ResponseCache(Shelf(OneEntry(age_s)), terms, b"f", [Target("up", "openai", None, "m")], ())


def asked(control: bytes | None = None, body: Any = None) -> Exchange:
    return exchange(body, fields={} if control is None else {b"cache-control": control})


async def test_an_entry_answers_and_says_how_old_it_is() -> None:
    policy = cache(5.9)

    reply = policy.admit(asked())

    assert isinstance(reply, Replay)
    assert (reply.outcome, reply.stored) == (CACHE, REPLY)
    assert b"x-llmgw-cache: hit\r\nage: 5\r\n" in reply.head
    assert len(policy.shelf.flights) == 0


@pytest.mark.parametrize(
    ("age_s", "control", "is_hit"),
    [
        (59.0, None, True),
        (60.0, None, False),
        (59.0, b"max-age=100", True),
        (61.0, b"max-age=100", False),
        (9.0, b"max-age=10", True),
        (10.0, b"max-age=10", False),
        (9.0, b"max-age=10, max-age=5", False),
    ],
)
async def test_i04_an_age_can_only_be_lowered(age_s: float, control: bytes | None, is_hit: bool) -> None:
    assert isinstance(cache(age_s).admit(asked(control)), Replay) is is_hit


async def test_a_miss_is_let_on_and_recorded() -> None:
    policy = cache(None)
    ex = asked()

    assert policy.admit(ex) is None

    assert ex.recording is not None
    assert ex.limit_head == b"x-llmgw-cache: miss\r\n"
    assert policy.shelf.misses == 1
    assert len(policy.shelf.flights) == 1, "others may wait for it"


@pytest.mark.parametrize(
    ("control", "body"),
    [
        (b"no-store", None),
        (b"no-store, max-age=100", None),
        (None, {"model": "m", "previous_response_id": "resp_1"}),
        (None, {"model": "m", "x": "x" * MAX_BODY}),
    ],
)
async def test_what_is_passed_by_leaves_nothing(control: bytes | None, body: object) -> None:
    policy = cache()
    ex = asked(control, body)

    assert policy.admit(ex) is None

    assert ex.limit_head == b"x-llmgw-cache: bypass\r\n"
    assert ex.recording is None
    assert policy.shelf.bypassed == 1
    assert len(policy.shelf.flights) == 0


async def test_one_who_wants_it_new_waits_for_nobody_and_is_kept() -> None:
    policy = cache()
    ex = asked(b"no-cache")

    assert policy.admit(ex) is None

    assert ex.recording is not None
    assert len(policy.shelf.flights) == 0


async def test_nobody_known_shares_with_nobody() -> None:
    policy = cache(scope="user")
    ex = exchange(principal=Principal("acme"))

    assert policy.admit(ex) is None
    assert ex.limit_head == b"x-llmgw-cache: bypass\r\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (True, False, None)),
        (b"", (True, False, None)),
        (b"no-store", (False, False, None)),
        (b"No-Cache", (True, True, None)),
        (b'no-cache="x"', (True, True, None)),
        (b"max-age=10", (True, False, 10.0)),
        (b"max-age=10, max-age=5", (True, False, 5.0)),
        (b"max-age=5, max-age=10", (True, False, 5.0)),
        (b"max-age=0", (True, True, 0.0)),
        (b"max-age=-1", (True, True, 0.0)),
        (b"max-age", (True, True, 0.0)),
        (b"max-age=99999999999999", (True, True, 0.0)),
        (b"max-stale=10, public, s-maxage=10", (True, False, None)),
    ],
)
def test_i04_directives(value: bytes | None, expected: tuple[bool, bool, float | None]) -> None:
    """What cannot be read tightens."""
    assert _directives(value) == expected
