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
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter

import msgspec

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

    def take(self) -> tuple[int, int, int, int, int, int]:
        """The counts, which begin at zero again."""
        taken = (
            self.requests,
            self.input_tokens,
            self.cached_tokens,
            self.output_tokens,
            self.cost_nano_usd,
            self.unpriced,
        )
        self.requests = self.input_tokens = self.cached_tokens = self.output_tokens = 0
        self.cost_nano_usd = self.unpriced = 0
        return taken

    def add(self, taken: tuple[int, int, int, int, int, int]) -> None:
        """Count what was taken elsewhere."""
        self.requests += taken[0]
        self.input_tokens += taken[1]
        self.cached_tokens += taken[2]
        self.output_tokens += taken[3]
        self.cost_nano_usd += taken[4]
        self.unpriced += taken[5]


_label_values = attrgetter(*(field.name for field in fields(Labels)))

_TakenHistograms = list[tuple[tuple[str, ...], list[int], float]]


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What a process counted since it was last asked, and its gauges as they stand.

    slots: by their labels, in the order of `Labels`. gauges: text and value, by name.
    limited: policy, mode and how often it refused, or would have.
    redacted: where, which kind and how often.
    """

    in_flight: int
    slots: list[tuple[tuple[str, str, str, str, int, str, str], tuple[int, int, int, int, int, int]]]
    seconds: _TakenHistograms
    first_byte: _TakenHistograms
    overhead: _TakenHistograms
    gauges: dict[str, tuple[str, float]]
    limited: list[tuple[str, str, int]] = []
    redacted: list[tuple[str, str, int]] = []


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number somebody else knows. `read` is called at a scrape, on another thread."""

    name: str
    help: str
    read: Callable[[], float]


@dataclass(frozen=True, slots=True)
class LabelledGauge:
    """Numbers somebody else knows, by the values of their labels. `read`: as `Gauge` has it."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]


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
        self.labelled: dict[str, LabelledGauge] = {}
        self.seconds: dict[tuple[str, ...], Histogram] = {}
        self.first_byte: dict[tuple[str, ...], Histogram] = {}
        self.overhead: dict[str, Histogram] = {}
        self.limited: Counter[tuple[str, str]] = Counter()
        self.redacted: Counter[tuple[str, str]] = Counter()
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

    def labelled_gauge(
        self,
        name: str,
        help: str,
        labels: tuple[str, ...],
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]],
    ) -> None:
        """Show numbers under `name` at each scrape; only the process that is scraped should know them."""
        self.labelled[name] = LabelledGauge(name, help, labels, read)

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

        for limited in report.limited:
            self.limited[limited] += 1
        for at, kind, count in report.redacted:
            self.redacted[at, kind] += count

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

    def render(self, host: HostProcesses | None = None) -> tuple[bytes, str]:
        """The text of a scrape, and its content type. Safe to call on another thread.

        host: the processes to tell the resources of, instead of this one's.
        """
        from llmgw.telemetry.prometheus import render_meter

        return render_meter(self, host)

    def take(self) -> Tally:
        """What was counted since the last take, for the meter that adds up several processes.

        It is forgotten here: whoever takes does not render.
        """
        limited, self.limited = self.limited, Counter()
        redacted, self.redacted = self.redacted, Counter()
        return Tally(
            self.in_flight,
            [(_label_values(slot.labels), slot.take()) for slot in self._slots.values() if slot.requests],
            _taken(self.seconds.items()),
            _taken(self.first_byte.items()),
            _taken(((endpoint,), histogram) for endpoint, histogram in self.overhead.items()),
            {gauge.name: (gauge.help, value) for gauge, value in self.read_gauges()},
            [(policy, mode, count) for (policy, mode), count in limited.items()],
            [(at, kind, count) for (at, kind), count in redacted.items()],
        )

    def read_gauges(self) -> Iterator[tuple[Gauge, float]]:
        """Every gauge that can be read."""
        for gauge in list(self.gauges.values()):
            try:
                value = float(gauge.read())
            except Exception:  # noqa: S112 - one owner's failure must not hide every other number
                continue
            yield gauge, value

    def add(self, tally: Tally) -> None:
        """Count what another process counted. Its gauges are left to `WorkerMeters`."""
        for policy, mode, count in tally.limited:
            self.limited[policy, mode] += count
        for at, kind, count in tally.redacted:
            self.redacted[at, kind] += count
        for values, counts in tally.slots:
            self._slot_of(Labels(*values)).add(counts)
        for which, counted, total in tally.seconds:
            _add(self._histogram(self.seconds, which, REQUEST_SECONDS), counted, total)
        for which, counted, total in tally.first_byte:
            _add(self._histogram(self.first_byte, which, FIRST_BYTE_SECONDS), counted, total)
        for (endpoint,), counted, total in tally.overhead:
            _add(self.overhead.setdefault(endpoint, Histogram(OVERHEAD_SECONDS)), counted, total)

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
        slot = self._slot_of(labels)
        if len(self._aliases) < MAX_ALIASES:
            self._aliases[key] = slot
        return slot

    def _slot_of(self, labels: Labels) -> Slot:
        """The slot of these labels, or of `other` when there are too many."""
        slot = self._slots.get(labels)
        if slot is None and len(self._slots) >= self._max_slots:
            code = OTHER if labels.code else ""
            labels = Labels(OTHER, OTHER, OTHER, OTHER, labels.status, labels.outcome, code)
            slot = self._slots.get(labels)
        return slot if slot is not None else self._new_slot(labels)

    def _histogram(
        self,
        histograms: dict[tuple[str, ...], Histogram],
        which: tuple[str, ...],
        bounds: tuple[float, ...],
    ) -> Histogram:
        if which not in histograms and len(histograms) >= self._max_slots:
            which = (OTHER,) * len(which)
        return histograms.setdefault(which, Histogram(bounds))

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


class WorkerMeters:
    """The meters of a host's workers, added up in one that is scraped.

    Counts stay when a worker ends, so none goes backwards; its gauges go with it.
    """

    def __init__(self, meter: PrometheusMeter) -> None:
        self._meter = meter
        self._last: dict[int, Tally] = {}
        self._summed: set[str] = set()

    def add(self, worker: int, tally: Tally) -> None:
        """Take in what a worker told."""
        self._meter.add(tally)
        self._last[worker] = tally
        self._sum_in_flight()
        for name, (text, _) in tally.gauges.items():
            if name not in self._summed:
                self._summed.add(name)
                self._meter.gauge(name, text, self._sum_of(name, self._meter.gauges.get(name)))

    def forget(self, worker: int) -> None:
        """A worker has ended."""
        self._last.pop(worker, None)
        self._sum_in_flight()

    def _sum_in_flight(self) -> None:
        self._meter.in_flight = sum(tally.in_flight for tally in self._last.values())

    def _sum_of(self, name: str, own: Gauge | None) -> Callable[[], float]:
        """own: this process's part of it."""

        def read() -> float:
            told = sum(tally.gauges[name][1] for tally in list(self._last.values()) if name in tally.gauges)
            return told + (own.read() if own is not None else 0.0)

        return read


@dataclass(slots=True)
class HostProcesses:
    """The processes beside this one whose resources a scrape adds to its own.

    ended_cpu_s: what those that have ended used. told_cpu_s: the highest sum that was told.
    """

    pids: tuple[int, ...] = ()
    ended_cpu_s: float = 0.0
    told_cpu_s: float = 0.0


def _taken(histograms: Iterable[tuple[tuple[str, ...], Histogram]]) -> _TakenHistograms:
    taken: _TakenHistograms = []
    for which, histogram in histograms:
        if any(histogram.counts):
            taken.append((which, histogram.counts[:], histogram.total))
            # In place: the road holds on to the list.
            histogram.counts[:] = [0] * len(histogram.counts)
            histogram.total = 0.0
    return taken


def _add(histogram: Histogram, counted: list[int], total: float) -> None:
    counts = histogram.counts
    for index, count in enumerate(counted):
        counts[index] += count
    histogram.total += total
