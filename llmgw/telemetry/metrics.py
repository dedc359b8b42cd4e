"""What the road counts about itself, in slots of plain integers.

A labelled increment of `prometheus_client` costs about 4 us, and a request needs a dozen. Here
everything that one set of labels counts stands in one slot, found by one dictionary look-up;
`telemetry/prometheus.py` makes metric families of the slots when somebody scrapes.

Promise: memory is bounded whatever callers send. A model becomes a label only when the
configuration names it; label sets beyond `max_slots` are counted under `other`; nothing a
request without a credential wrote becomes a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection
from dataclasses import dataclass

from llmgw.ports.telemetry import RequestReport
from llmgw.telemetry.histogram import FIRST_BYTE_SECONDS, OVERHEAD_SECONDS, REQUEST_SECONDS, Histogram

OTHER = "other"
MAX_SLOTS = 2000
MAX_CODES = 200
MAX_ALIASES = 4000

_Key = tuple[str | None, str, str | None, str | None, int, str, str | None]


@dataclass(frozen=True, slots=True)
class Labels:
    """What tells one slot from another. Absent is the empty string, as Prometheus has it."""

    tenant: str
    endpoint: str
    provider: str
    model: str
    status: int
    outcome: str
    code: str


class Slot:
    """The counts of one set of labels.

    seconds, first_byte, overhead: shared with the other slots of the same, fewer, labels.
    """

    __slots__ = (
        "cached_tokens",
        "cost_nano_usd",
        "first_byte",
        "input_tokens",
        "labels",
        "output_tokens",
        "overhead",
        "requests",
        "seconds",
        "unpriced",
    )

    def __init__(
        self, labels: Labels, seconds: Histogram, first_byte: Histogram, overhead: Histogram
    ) -> None:
        self.labels = labels
        self.seconds = seconds
        self.first_byte = first_byte
        self.overhead = overhead
        self.requests = 0
        self.input_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self.cost_nano_usd = 0
        self.unpriced = 0


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number somebody else knows. `read` is called at a scrape, on another thread."""

    name: str
    help: str
    read: Callable[[], float]


class NullMeter:
    """Counts nothing."""

    def started(self) -> None:
        """A request entered."""

    def finished(self, report: RequestReport) -> None:
        """A request left."""


class PrometheusMeter:
    """Counts for `/metrics`."""

    def __init__(self, *, version: str = "", max_slots: int = MAX_SLOTS) -> None:
        self.version = version
        self.in_flight = 0
        self.gauges: dict[str, Gauge] = {}
        self.seconds: dict[tuple[str, ...], Histogram] = {}
        self.first_byte: dict[tuple[str, ...], Histogram] = {}
        self.overhead: dict[str, Histogram] = {}
        self._max_slots = max_slots
        self._models: frozenset[str] | None = frozenset()
        self._codes: set[str] = set()
        self._slots: dict[Labels, Slot] = {}
        # What a request says, to its slot; only a cache of `_slot_for`, cleared by a reload.
        self._aliases: dict[_Key, Slot] = {}

    def name_models(self, names: Collection[str] | None) -> None:
        """Which model names may be labels. None: every one that an upstream answered with 2xx.

        Called with each generation. None is for a configuration without models, where the
        caller's names go through; `max_slots` bounds them.
        """
        self._models = None if names is None else frozenset(names)
        self._aliases.clear()

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Show a number under `name` at each scrape; the same name again replaces it."""
        self.gauges[name] = Gauge(name, help, read)

    def started(self) -> None:
        """A request entered."""
        self.in_flight += 1

    def finished(self, report: RequestReport) -> None:
        """A request left. About a microsecond: no call but the look-ups."""
        self.in_flight -= 1
        key = (
            report.tenant,
            report.endpoint,
            report.provider,
            report.model,
            report.status,
            report.outcome,
            report.code,
        )
        slot = self._aliases.get(key)
        if slot is None:
            slot = self._slot_for(key)
        slot.requests += 1

        # `Histogram.observe` thrice, unrolled: the calls would cost as much as the counting.
        seconds = report.total_s
        histogram = slot.seconds
        histogram.counts[bisect_left(REQUEST_SECONDS, seconds)] += 1
        histogram.total += seconds
        value = report.overhead_s
        if value is not None:
            histogram = slot.overhead
            histogram.counts[bisect_left(OVERHEAD_SECONDS, value)] += 1
            histogram.total += value
        if report.streamed:
            value = report.first_byte_s
            if value is not None:
                histogram = slot.first_byte
                histogram.counts[bisect_left(FIRST_BYTE_SECONDS, value)] += 1
                histogram.total += value

        tokens = report.input_tokens
        if tokens is not None:
            slot.input_tokens += tokens
            slot.output_tokens += report.output_tokens or 0
            tokens = report.cached_tokens
            if tokens:
                slot.cached_tokens += tokens
            cost = report.cost_nano_usd
            if cost is None:
                slot.unpriced += 1
            else:
                slot.cost_nano_usd += cost

    def slots(self) -> list[Slot]:
        """Every slot, for a scrape on another thread."""
        return list(self._slots.values())

    def render(self) -> tuple[bytes, str]:
        """The text of a scrape, and its content type. Safe to call on another thread."""
        from llmgw.telemetry.prometheus import render_meter

        return render_meter(self)

    def _slot_for(self, key: _Key) -> Slot:
        """The slot of a request seen for the first time since a reload, or of an overflowing one."""
        tenant, endpoint, provider, model, status, outcome, code = key
        if code is not None and code not in self._codes:
            if len(self._codes) < MAX_CODES:
                self._codes.add(code)
            else:
                code = OTHER
        labels = Labels(
            tenant or "",
            endpoint,
            provider or "",
            self._model_label(model, provider, status),
            status,
            outcome,
            code or "",
        )
        slot = self._slots.get(labels)
        if slot is None:
            if len(self._slots) >= self._max_slots:
                labels = Labels(OTHER, OTHER, OTHER, OTHER, status, outcome, OTHER if code else "")
                slot = self._slots.get(labels)
            if slot is None:
                slot = self._new_slot(labels)
        if len(self._aliases) < MAX_ALIASES:
            self._aliases[key] = slot
        return slot

    def _model_label(self, model: str | None, provider: str | None, status: int) -> str:
        if model is None:
            return ""
        if self._models is None:
            return model if provider is not None and 200 <= status < 300 else OTHER
        return model if model in self._models else OTHER

    def _new_slot(self, labels: Labels) -> Slot:
        which = (labels.endpoint, labels.provider, labels.model)
        slot = Slot(
            labels,
            self.seconds.setdefault(which, Histogram(REQUEST_SECONDS)),
            self.first_byte.setdefault(which, Histogram(FIRST_BYTE_SECONDS)),
            self.overhead.setdefault(labels.endpoint, Histogram(OVERHEAD_SECONDS)),
        )
        self._slots[labels] = slot
        return slot
