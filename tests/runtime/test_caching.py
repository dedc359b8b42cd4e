"""Whose answers are kept, what empties what is kept, and where it is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.core.principal import Principal
from llmgw.engine.health import Healths
from llmgw.policies.response_cache import ResponseCache, Shelf
from llmgw.policies.upstream_state import KnownResponses
from llmgw.ports.alerts import NullAlerter
from llmgw.ports.cache import CacheKey, CacheStore
from llmgw.runtime.build import PriceTables, Providers
from llmgw.runtime.caching import CacheRoom, Caching, NoCache, uses_cache
from llmgw.runtime.limits import Limits
from llmgw.runtime.plans import Plans
from llmgw.stores.cache_memory import MemoryCache
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.targets import MemoryTargets
from tests.fakes.clock import FakeClock
from tests.fakes.exchanges import exchange

CONFIG = """
version: 1
providers:
  openai: {kind: openai, api_key: sk-shared}
  demo: {kind: echo}
cache: {mode: exact, ttl: 10s}
models:
  gpt: {targets: [{provider: openai, model: gpt}]}
  long: {targets: [{provider: demo, model: x}], cache: {ttl: 20s}}
  never: {targets: [{provider: demo, model: x}], cache: {mode: off}}
routes:
  - {name: fast, match: {path: /fast/**}, cache: {ttl: 1s}}
limits: {global: off}
tenants:
  plain: {}
  acme:
    cache: {ttl: 30s, scope: user}
    models: {long: {targets: [{provider: demo, model: x}], cache: {ttl: 40s}}}
  private: {cache: {mode: off}}
"""

GPT = "gpt: {targets: [{provider: openai, model: gpt}]}"


def document(text: str = CONFIG, *changes: tuple[str, str]) -> Document:
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return document_from_text(text)


def cache_of(
    found: Document, tenant: str = "plain", model: str = "gpt", path: str = "/v1/chat/completions"
) -> ResponseCache | None:
    """The cache that a request would meet."""
    clock = FakeClock().clock
    plans = Plans(
        found,
        Providers(found).provider,
        cast("Any", None),
        KnownResponses(),
        Limits(found, MemoryCounters(clock.steady_ns), clock, NullAlerter()),
        PriceTables(found),
        Healths(MemoryTargets()),
        Caching(found, Shelf(NoCache())),
    )
    ex = exchange(principal=Principal(tenant))
    ex.model = model
    ex.fields[b"x-route"] = path.encode()
    plan = plans.match(ex)
    caches = [one for one in plan.policies if isinstance(one, ResponseCache)]
    assert len(caches) <= 1
    assert not caches or plan.policies[-1] is caches[0], "it must come last"
    return caches[0] if caches else None


@pytest.mark.parametrize(
    ("tenant", "model", "route", "ttl_s"),
    [
        ("plain", "gpt", None, 10),
        ("plain", "long", None, 20),
        ("acme", "gpt", None, 30),
        ("acme", "long", None, 40),
        ("acme", "long", "fast", 1),
        ("nobody", "gpt", None, 10),
        ("plain", "unknown", None, 10),
    ],
)
def test_the_narrowest_says_it(tenant: str, model: str, route: str | None, ttl_s: float) -> None:
    """A route, a tenant's own model, the tenant, the shared model, all."""
    terms = Caching(document(), None).terms(tenant, model, route)

    assert (terms.mode, terms.ttl_s) == ("exact", ttl_s)


def test_off_means_that_there_is_none() -> None:
    assert cache_of(document(), "plain", "gpt") is not None
    assert cache_of(document(), "plain", "never") is None
    assert cache_of(document(), "private", "gpt") is None
    assert cache_of(document(CONFIG, ("mode: exact, ", ""))) is None


def fingerprint(*changes: tuple[str, str], tenant: str = "plain", model: str = "gpt") -> bytes:
    cache = cache_of(document(CONFIG, *changes), tenant, model)
    assert cache is not None
    return cache._fingerprint


@pytest.mark.parametrize(
    "change",
    [
        ("limits: {global: off}", "limits: {global: off, per_user: off}"),
        ("ttl: 10s", "ttl: 99s, wait: 1s"),
        ("api_key: sk-shared", "api_key: sk-rotated"),
        (
            GPT,
            "gpt: {targets: [{provider: openai, model: gpt}], retry: {attempts: 5}, timeouts: {total: 9s}}",
        ),
        ("  never:", "  more: {targets: [{provider: demo, model: x}]}\n  never:"),
        ("plain: {}", "plain: {users: {alice: {}}, prices: {overrides: {}}}"),
    ],
    ids=["limits", "ttl", "rotated key", "retries", "another model", "users"],
)  # fmt: skip
def test_what_changes_no_answer_empties_nothing(change: tuple[str, str]) -> None:
    assert fingerprint(change) == fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        (GPT, "gpt: {targets: [{provider: openai, model: gpt-2}]}"),
        (GPT, "gpt: {targets: [{provider: demo, model: gpt}]}"),
        (
            GPT,
            "gpt: {targets: [{provider: openai, model: gpt}], on_loss: reject}",
        ),
        ("api_key: sk-shared}", "api_key: sk-shared, base_url: https://eu.api.openai.com/v1}"),
        ("api_key: sk-shared}", "api_key: sk-shared, project: another}"),
        ("plain: {}", "plain: {providers: {openai: {kind: openai, api_key: sk-own, project: own}}}"),
    ],
    ids=["upstream model", "provider", "on_loss", "base URL", "project", "own account"],
)  # fmt: skip
def test_i06_what_may_change_answers_empties_them(change: tuple[str, str]) -> None:
    """The alias target and all that is said to it."""
    assert fingerprint(change) != fingerprint()


def test_what_nobody_has_thought_of_is_taken_to_change_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that a later version adds empties what is kept, unless it is known not to matter."""
    before = fingerprint()
    known = __import__("llmgw.runtime.caching", fromlist=["x"])
    monkeypatch.setattr(known, "_NOT_OF_ALL", known._NOT_OF_ALL - {"errors"})

    assert fingerprint(("limits:", "errors: {format: flat}\nlimits:")) != before


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("", False),
        ("cache: {mode: exact}", True),
        ("models: {m: {targets: [{provider: e, model: m}], cache: {mode: exact}}}", True),
        ("routes: [{name: r, cache: {mode: exact}}]", True),
        ("tenants: {t: {cache: {mode: exact}}}", True),
        (
            "tenants: {t: {models: {m: {targets: [{provider: e, model: m}], cache: {mode: exact}}}}}",
            True,
        ),
        ("cache: {mode: off}\ntenants: {t: {cache: {mode: off}}}", False),
    ],
)
def test_whether_anything_is_kept(text: str, used: bool) -> None:
    assert uses_cache(document_from_text(f"version: 1\nproviders: {{e: {{kind: echo}}}}\n{text}\n")) is used


class Made:
    """Stores that were made, and whether the place was forgotten."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.forgotten = 0
        self.room = CacheRoom(self._make, self._forget)

    def _make(self, memory: int) -> CacheStore:
        self.sizes.append(memory)
        return MemoryCache(memory, lambda: 0.0)

    def _forget(self) -> None:
        self.forgotten += 1


MIB = 1024 * 1024
ON = document_from_text("version: 1\nproviders: {e: {kind: echo}}\ncache: {mode: exact, memory: 2MiB}\n")
LARGER = document_from_text("version: 1\nproviders: {e: {kind: echo}}\ncache: {mode: exact, memory: 3MiB}\n")
OFF = document_from_text("version: 1\nproviders: {e: {kind: echo}}\n")
KEY = CacheKey("acme", b"k" * 32)


def is_there(room: CacheRoom) -> bool:
    found: list[object] = []
    room.shelf.store.get(KEY, found.append)
    return found != [None]


def test_without_a_cache_no_memory_is_taken() -> None:
    made = Made()

    assert made.room.prepare(OFF) is None
    made.room.follow(OFF)

    assert made.sizes == []
    assert made.forgotten == 0
    assert not is_there(made.room)
    made.room.shelf.store.put(KEY, b"x", 1.0)
    made.room.close()


def test_what_is_kept_stays_through_a_reload() -> None:
    made = Made()
    made.room.prepare(ON)
    made.room.follow(ON)
    made.room.shelf.store.put(KEY, b"x", 1.0)

    made.room.prepare(ON)
    made.room.follow(ON)

    assert is_there(made.room)
    assert made.sizes == [2 * MIB]


def test_another_size_begins_anew() -> None:
    made = Made()
    made.room.prepare(ON)
    made.room.shelf.store.put(KEY, b"x", 1.0)

    made.room.follow(LARGER)

    assert not is_there(made.room)
    assert made.sizes == [2 * MIB, 3 * MIB]


def test_switched_off_it_is_let_go_but_not_before() -> None:
    """A reload that comes to nothing must not empty what is served."""
    made = Made()
    made.room.prepare(ON)
    made.room.shelf.store.put(KEY, b"x", 1.0)

    made.room.prepare(OFF)
    assert is_there(made.room)

    made.room.follow(OFF)
    assert not is_there(made.room)
    assert made.forgotten == 1


def test_i11_tenants_that_a_reload_removes_are_erased() -> None:
    made = Made()
    text = "version: 1\nproviders: {e: {kind: echo}}\ncache: {mode: exact}\ntenants: {acme: {}, rival: {}}\n"
    made.room.follow(document_from_text(text))
    for tenant in ("acme", "rival"):
        made.room.shelf.store.put(CacheKey(tenant, KEY.digest), b"x", 1.0)

    made.room.follow(document_from_text(text.replace("acme: {}, ", "")))

    assert not is_there(made.room)
    found: list[object] = []
    made.room.shelf.store.get(CacheKey("rival", KEY.digest), found.append)
    assert found != [None]
