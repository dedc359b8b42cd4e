from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from llmgw.core.errors import ClientGone, IdempotencyKeyInvalid, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, MESSAGES
from llmgw.engine.match import PATH, PREFIX
from llmgw.engine.strand import Strand
from llmgw.policies.idempotency import Names, fingerprint_of, name_of, parse_key
from llmgw.ports.idempotency import LEASE_S, Found, Held
from llmgw.stores.idempotency_memory import MemoryIdempotency
from tests.contracts.idempotency import DAY_S, held

KEY = b"8e03978e-40d5-43dd-bc93-6894a57f9324"


def exchange(
    principal: Principal | None = None, body: bytes = b"{}", endpoint: Any = CHAT_COMPLETIONS, **fields: str
) -> Exchange:
    ex = Exchange(
        "req_1", endpoint, {k.encode(): v.encode() for k, v in fields.items()}, body, None, 0, 0, "g"
    )
    ex.principal = principal or Principal("acme", "alice", "k1")
    return ex


class Store(MemoryIdempotency):
    """Notes what it is asked, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.renewed: list[list[str]] = []
        self.broken = False
        self.silent = False

    async def claim(self, held: Held) -> Found | None:
        self._ask()
        found = await super().claim(held)
        if self.silent:
            await asyncio.Event().wait()
        return found

    async def renew(self, held: Sequence[Held]) -> None:
        self._ask()
        self.renewed.append([one.name for one in held])
        await super().renew(held)

    async def keep(self, held: Held, answer: bytes, ttl_s: float) -> bool:
        self._ask()
        return await super().keep(held, answer, ttl_s)

    def _ask(self) -> None:
        if self.broken:
            raise Unavailable("no")


def test_keys() -> None:
    assert parse_key(KEY, "uuid4") == KEY
    assert parse_key(b'"' + KEY.upper() + b'"', "uuid4") == KEY
    assert parse_key(b" Order-17 ", "opaque") == b"Order-17"
    for field, form in (
        (b'""', "opaque"),
        (b'"', "uuid4"),
        (b"a\xff", "opaque"),
        (b"{" + KEY + b"}", "uuid4"),
    ):
        with pytest.raises(IdempotencyKeyInvalid):
            parse_key(field, form)


def test_h06_a_key_is_the_callers_own() -> None:
    """By tenant, user and API key; of whom nothing else is known, by the address."""
    callers = [
        Principal("acme", "alice", "k1"),
        Principal("rival", "alice", "k1"),
        Principal("acme", "bob", "k1"),
        Principal("acme", None, "k1"),
        Principal("acme", "alice", "k2"),
        Principal("acme", "alice", None),
        Principal("acme", "", None),
    ]
    names = {name_of(exchange(one), KEY, "10.0.0.1") for one in callers}
    nobody = exchange(Principal("acme"))
    names |= {name_of(nobody, KEY, address) for address in ("10.0.0.1", "10.0.0.2", None)}

    assert len(names) == len(callers) + 3
    assert all(KEY.decode() not in name and "alice" not in name for name in names)
    assert name_of(exchange(), KEY, "10.0.0.1") == name_of(exchange(), KEY, "10.0.0.2")


def test_parts_of_a_name_cannot_be_taken_for_each_other() -> None:
    one = name_of(exchange(Principal("acme", "a", "b1:c")), b"d", None)
    other = name_of(exchange(Principal("acme", "a", "b")), b"c1:d", None)

    assert one != other


def test_h05_a_fingerprint_tells_requests_apart() -> None:
    path, prefix = PATH.decode(), PREFIX.decode()
    requests = [
        exchange(),
        exchange(body=b"{ }"),
        exchange(endpoint=MESSAGES),
        exchange(**{path: "/openai/deployments/a/chat/completions"}),
        exchange(**{path: "/openai/deployments/b/chat/completions"}),
        exchange(**{path: "/v1/chat/completions", prefix: "/fast"}),
    ]

    assert len({fingerprint_of(one) for one in requests}) == len(requests)
    assert fingerprint_of(exchange()) == fingerprint_of(exchange(**{"user-agent": "another"}))


async def test_names_are_renewed_as_long_as_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgw.policies.idempotency._RENEWED_EACH_S", 0.01)
    store = Store()
    names = Names(store)
    one, other = held("acme:1"), held("acme:2")
    await names.take(one)
    await names.take(other)
    await asyncio.sleep(0.05)
    assert store.renewed[0] == ["acme:1", "acme:2"]
    await names.free(one)
    await names.keep(other, b"answer", DAY_S, {})
    await asyncio.sleep(0.03)
    count = len(store.renewed)
    await asyncio.sleep(0.05)

    assert len(store.renewed) == count
    await names.take(held("acme:3"))
    await asyncio.sleep(0.05)
    assert store.renewed[-1] == ["acme:3"]
    await names.close()


def test_names_are_renewed_well_before_their_lease_is_over() -> None:
    from llmgw.policies.idempotency import _RENEWED_EACH_S

    assert LEASE_S / _RENEWED_EACH_S >= 3


async def test_who_leaves_while_the_store_thinks_takes_nothing() -> None:
    store = Store()
    names = Names(store)
    store.silent = True

    async def ask() -> None:
        await names.take(held())

    strand = Strand(ask())
    strand.start()
    await asyncio.sleep(0)
    strand.interrupt(ClientGone("the client left"))
    store.silent = False
    # The claim of the one that left came through, with a token that nobody else knows.
    await asyncio.sleep(0.01)

    assert await names.take(held()) is None
    await names.close()


async def test_a_process_that_stops_while_the_store_thinks_takes_nothing() -> None:
    """Its 503 is not the store's: nothing is told of the store, and the name is free for the next try."""
    told: list[str] = []
    store = Store()
    names = Names(store, lambda level, event, fields: told.append(event))
    store.silent = True

    async def ask() -> None:
        await names.take(held())

    strand = Strand(ask())
    strand.start()
    await asyncio.sleep(0)
    strand.interrupt(Unavailable("the gateway is stopping", code="draining", retry_after_s=1))
    store.silent = False
    await asyncio.sleep(0.01)

    assert told == []
    assert await names.take(held()) is None
    await names.close()


async def test_what_cannot_be_kept_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgw.policies.idempotency._KEPT_WITHIN_S", 0.05)
    monkeypatch.setattr("llmgw.policies.idempotency._TRIED_EACH_S", 0.01)
    told: list[str] = []
    store = Store()
    names = Names(store, lambda level, event, fields: told.append(event))
    one = held()
    await names.take(one)
    store.broken = True
    await names.keep(one, b"answer", DAY_S, {})
    await asyncio.sleep(0.2)

    assert told == ["idempotency_store_unreachable", "idempotency_not_stored"]
    assert names._held == {}
    await names.close()


async def test_it_is_told_when_another_has_the_name_by_now() -> None:
    told: list[str] = []
    store = Store()
    names = Names(store, lambda level, event, fields: told.append(event))
    await store.claim(held())

    await names.keep(held(), b"answer", DAY_S, {})

    assert told == ["idempotency_not_stored"]
    await names.close()


async def test_h13_sweeping_goes_on_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """In small parts, and then not again for a while."""
    monkeypatch.setattr("llmgw.policies.idempotency._BETWEEN_SWEEPS_S", 0.0)
    left = [True, True, False]
    store = Store()

    async def sweep() -> bool:
        return left.pop(0)

    monkeypatch.setattr(store, "sweep", sweep)
    names = Names(store)
    for _ in range(5):
        names.sweep()
    await asyncio.sleep(0.05)
    names.sweep()
    await asyncio.sleep(0.01)

    assert left == []
    await names.close()
