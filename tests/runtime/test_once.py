from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llmgw.config.load import document_from_text
from llmgw.core.clock import system_clock
from llmgw.core.errors import ModelNotFound
from llmgw.engine.plan import Plan
from llmgw.policies.idempotency import Idempotency, Names
from llmgw.policies.rate_limit import RateLimit
from llmgw.ports.transport import Timeouts
from llmgw.runtime.once import Once, Refusal, open_names
from llmgw.stores.idempotency_host import HostIdempotency
from llmgw.stores.idempotency_memory import MemoryIdempotency
from llmgw.stores.idempotency_redis import RedisIdempotency
from tests.fakes.exchanges import exchange

TEXT = "version: 1\nproviders: {demo: {kind: echo}}\n"


class Before:
    def admit(self, ex: object) -> None: ...


def plan(route: str | None = None) -> Plan:
    limit: Any = RateLimit.__new__(RateLimit)
    return Plan("m", (Before(), limit, Before()), (), Timeouts(), route)


def once(text: str = "") -> Once:
    return Once(document_from_text(TEXT + text), Names(MemoryIdempotency()))


def test_keys_are_looked_at_right_behind_the_limits() -> None:
    """So that a replay is limited, and spends no quota."""
    policies = once().onto(plan(), "default").policies

    assert [type(one) for one in policies] == [Before, RateLimit, Idempotency, Before]


def test_where_they_mean_nothing_there_is_no_policy() -> None:
    text = "idempotency: {mode: off}\nroutes: [{name: r, idempotency: {mode: required}}]\n"

    assert len(once(text).onto(plan(), "default").policies) == 3
    assert len(once(text).onto(plan("r"), "default").policies) == 4
    assert len(once("tenants: {acme: {idempotency: {mode: off}}}").onto(plan(), "acme").policies) == 3


def test_a_refusal_refuses() -> None:
    with pytest.raises(ModelNotFound):
        Refusal(ModelNotFound("no model named 'm'")).admit(exchange())


@pytest.mark.parametrize(
    ("storage", "link", "kind"),
    [("", None, HostIdempotency), ("redis: redis://127.0.0.1:1/0, ", lambda: None, RedisIdempotency)],
)
async def test_where_names_are_kept(tmp_path: Path, storage: str, link: Any, kind: type[object]) -> None:
    document = document_from_text(f"{TEXT}storage: {{{storage}data_dir: {tmp_path}}}\n")

    names = open_names(document, system_clock(), link, lambda level, event, fields: None)

    assert type(names._store) is kind
    names.sweep()
    await asyncio.sleep(0.01)
    await names.close()
