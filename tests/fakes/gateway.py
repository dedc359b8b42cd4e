"""A gateway on a real socket in front of a scripted upstream, with its journal in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from textwrap import indent
from types import TracebackType
from typing import Any, Self, cast

from llmgw.auth.api_key import ApiKeys
from llmgw.config.load import document_from_text
from llmgw.core.alert import Alert
from llmgw.core.clock import Clock, system_clock
from llmgw.core.record import Settled
from llmgw.engine.health import Health, Healths
from llmgw.policies.upstream_state import KnownResponses
from llmgw.ports.telemetry import RequestReport
from llmgw.runtime.build import PriceTables, Resources, build_generation, build_road, declared_keys
from llmgw.server.app import build_app
from llmgw.server.bounded import httptools_parser
from llmgw.server.front_door import FrontDoor
from llmgw.server.gateway import Gateway
from llmgw.server.listeners import bind, data_listener
from llmgw.server.tls import tls_of
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.memory import MemoryJournal
from llmgw.stores.peers import MemoryPeers
from llmgw.stores.targets import MemoryTargets
from llmgw.tokens.estimate import estimate_request
from llmgw.transport.http import HttpTransport
from tests.fakes.raw_client import Answer, RawClient, request
from tests.fakes.upstream import ScriptedUpstream

PRICES = "{up/gpt-4o: {input: 2 USD/M, output: 8 USD/M}}"
CONFIG = """
version: 1
providers:
  up: {{kind: openai_compatible, base_url: "{base_url}", api_key: sk-upstream-canary, allow_private: true}}
  demo: {{kind: echo}}
{providers}
models:
  gpt-4o:
    targets: [{{provider: up, model: gpt-4o}}]
    timeouts: {timeouts}
    retry: {{attempts: 1}}
    breaker: off
  renamed: {{targets: [{{provider: up, model: upstream/name}}], timeouts: {timeouts}}}
{models}
  echo: {{targets: [{{provider: demo, model: echo}}]}}
prices: {{overrides: {prices}}}
tenants:
  acme:
    deny_models: [forbidden]
{acme}
    keys:
      - {{id: main, user: alice, hash: "{main}"}}
      - {{id: held, hash: "{held}", allow_models: [echo]}}
      - {{id: old, hash: "{old}", expires: "2020-01-01"}}
  rival: {{keys: [{{id: rival, hash: "{rival}"}}]}}
"""


_USED: dict[str, Callable[[tuple[int, ...]], int]] = {
    "fixed_window": lambda state: state[1],
    "sliding_window": lambda state: state[1],
    "token_bucket": lambda state: -(-state[1] // 1_000_000),
    "concurrency": lambda state: state[0],
    "balance": lambda state: state[0],
}
"""What a counter's state says was used."""


class Heard:
    """Meter and log in one. reports: every request that ended; inside: those under way."""

    def __init__(self) -> None:
        self.reports: list[RequestReport] = []
        self.inside = 0

    def started(self) -> None:
        self.inside += 1

    def finished(self, report: RequestReport) -> None:
        self.inside -= 1

    def write(self, report: RequestReport) -> None:
        self.reports.append(report)


class RunningGateway:
    """`async with RunningGateway(upstream) as gateway:`. Keys: sk-test, sk-held, sk-old, sk-rival."""

    def __init__(
        self,
        upstream: ScriptedUpstream,
        *,
        timeouts: str = "{connect: 1s, first_byte: 2s, idle: 2s, total: 10s}",
        max_body: int = 1024 * 1024,
        extra: str = "",
        acme: str = "",
        clock: Clock | None = None,
        providers: str = "",
        models: str = "",
        door: FrontDoor | None = None,
        make_parser: Callable[[object], Any] = httptools_parser,
    ) -> None:
        """providers, models: further rows, one a line. door: instead of one for `max_body`."""
        self.upstream = upstream
        self._door = door or FrontDoor(body_timeout_s=5, max_body=max_body)
        self._make_parser = make_parser
        self.heard = Heard()
        self.port = 0
        self._timeouts = timeouts
        self._extra = extra
        self._acme = indent(acme, "    ")
        self._providers = indent(providers, "  ")
        self._models = indent(models, "  ")
        self.clock = clock or system_clock()
        self.counters = MemoryCounters(self.clock.steady_ns)
        self.alerts: list[Alert] = []
        self._clients: list[RawClient] = []

    async def __aenter__(self) -> Self:
        from hashlib import sha256

        hashes = {
            name: f"sha256:{sha256(f'sk-{key}'.encode()).hexdigest()}"
            for name, key in {"main": "test", "held": "held", "old": "old", "rival": "rival"}.items()
        }
        self._text = CONFIG.format(
            base_url=f"{self.upstream.base_url}/v1",
            timeouts=self._timeouts,
            acme=self._acme,
            providers=self._providers,
            models=self._models,
            prices=PRICES,
            **hashes,
        )
        document = document_from_text(self._text + self._extra)
        loop = asyncio.get_running_loop()
        self.journal = MemoryJournal(loop)
        self._resources = resources = Resources(
            cast("Any", self.journal),
            HttpTransport(loop),
            ApiKeys(declared_keys(document)),
            KnownResponses(),
            self.clock,
            self.counters,
            self,
            Healths(MemoryTargets()),
        )
        self.road = build_road(document, resources, self.heard, self.heard)
        self.gateway = Gateway(
            self.road,
            build_generation(document, resources),
            replace(self._door, trusted=document.server.trusted_proxies or self._door.trusted),
            MemoryPeers(),
        )
        self._transport = resources.transport
        sock = bind("test", "127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        self.listener = data_listener(sock, build_app(self.gateway), self.gateway, loop, self._make_parser)
        await self.listener.open(loop, tls_of(document.server.tls))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.writer.transport.abort()
        self.listener.stop()
        await self.listener.finish(0.0)
        await self._transport.close()

    def crossed(self, alert: Alert) -> None:
        """Implements `ports.alerts.Alerter`."""
        if all(
            (one.balance, one.threshold_ppm) != (alert.balance, alert.threshold_ppm) for one in self.alerts
        ):
            self.alerts.append(alert)

    def reload(self, extra: str, prices: str = PRICES, replaced: tuple[str, str] = (PRICES, PRICES)) -> None:
        """Go on with other limits, prices and words, on the same counters."""
        text = self._text.replace(PRICES, prices).replace(*replaced)
        document = document_from_text(text + extra)
        self.gateway.generation = build_generation(document, self._resources)
        self.road.prices = PriceTables(document)

    def spent(self, unit: str) -> int:
        """What is spent of all quotas in a unit."""
        return sum(spent for key, spent, _ in self.counters.balances() if key.split("|")[2] == unit)

    def estimate(self, body: object) -> int:
        """Input tokens that a body is taken for."""
        return estimate_request(json.dumps(body).encode())

    def health(self, provider: str, model: str) -> Health:
        """What is known of a shared target."""
        return next(
            health for _, *target, health in self._resources.healths.all() if target == [provider, model]
        )

    @property
    def in_flight(self) -> int:
        """Places that are taken."""
        return self.used("concurrency")

    @property
    def held(self) -> int:
        """What all balances hold for requests under way."""
        return sum(held for _, _, held in self.counters.balances())

    def used(self, prefix: str, subject: str = "") -> int:
        """What the counters with such a name count together."""
        total = 0
        for key, rule, state in self.counters.states():
            if key.startswith(prefix) and subject in key.partition("|")[2] and state:
                total += _USED[rule.algorithm](state)
        return total

    @property
    def records(self) -> list[Settled]:
        """The usage records so far."""
        return self.journal.settled

    @property
    def reports(self) -> list[RequestReport]:
        return self.heard.reports

    async def connect(self, *, receive_buffer: int | None = None) -> RawClient:
        client = await RawClient.connect(self.port, receive_buffer=receive_buffer)
        self._clients.append(client)
        return client

    async def open(self, body: object = None, **how: Any) -> RawClient:
        """A connection on which one request has been sent."""
        client = await self.connect()
        await client.send(request(body, **how))
        return client

    async def ask(self, body: object = None, **how: Any) -> Answer:
        """The answer to one request on a connection of its own."""
        client = await self.open(body, **how)
        answer = await client.read_answer()
        await client.vanish()
        return answer

    async def settled(self, count: int = 1, within_s: float = 2.0) -> list[Settled]:
        """The records, once there are `count` and no request is under way."""
        async with asyncio.timeout(within_s):
            while len(self.records) < count or self.gateway.under_way:
                await asyncio.sleep(0.005)
        return self.records

    async def quiet(self, within_s: float = 2.0) -> None:
        """Wait until no request is under way."""
        async with asyncio.timeout(within_s):
            while self.gateway.under_way:
                await asyncio.sleep(0.005)
