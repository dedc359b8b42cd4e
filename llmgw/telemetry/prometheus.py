"""The text that Prometheus scrapes, made of a meter's slots.

A custom collector, so that nothing of `prometheus_client` runs on the road. Names say unit and
kind. Counters of tokens are inclusive, as `core/usage.py` has them: `cached` is a part of
`input`.

Runs on a thread of its own beside the event loop: it reads integers that may move meanwhile,
so two families of one scrape may differ by the requests in between.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from llmgw.telemetry.histogram import Histogram

if TYPE_CHECKING:
    from llmgw.telemetry.metrics import HostProcesses, PrometheusMeter, Slot

_BY_MODEL = ("endpoint", "provider", "model")
_BY_TENANT = ("tenant", "provider", "model")

_FAILED = "failed"
_LEVELS = ("per-key", "per-user", "per-model", "per-route", "per-tenant", "per-ip", "global", "quota")


def render_meter(meter: PrometheusMeter, host: HostProcesses | None = None) -> tuple[bytes, str]:
    """A scrape of `meter` and of this process, or all of the host's, with its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MeterCollector(meter))
    if host is None:
        ProcessCollector(registry=registry)
    else:
        registry.register(HostCollector(host))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class HostCollector(Collector):
    """`process_*` of this process and others, added up. The start is this one's."""

    def __init__(self, host: HostProcesses) -> None:
        self._host = host

    def collect(self) -> Iterable[Metric]:
        """The families that `ProcessCollector` gives for one process."""
        host = self._host
        ended_cpu_s = host.ended_cpu_s
        sums: dict[str, float] = defaultdict(float)
        for pid in host.pids:
            for family in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                sums[family.name] += family.samples[0].value
        for family in ProcessCollector(registry=None).collect():
            value = family.samples[0].value
            if family.name == "process_cpu_seconds":
                # A process that ends while we read may be in neither part of the sum.
                host.told_cpu_s = max(host.told_cpu_s, value + sums[family.name] + ended_cpu_s)
                yield CounterMetricFamily(family.name, family.documentation, value=host.told_cpu_s)
            elif family.name == "process_start_time_seconds":
                yield family
            else:
                yield GaugeMetricFamily(family.name, family.documentation, value=value + sums[family.name])


class MeterCollector(Collector):
    """Metric families of one meter, as it stands."""

    def __init__(self, meter: PrometheusMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterable[Metric]:
        """Every family, those without a sample included, so that a dashboard finds them."""
        meter = self._meter
        slots = meter.slots()
        info = InfoMetricFamily("llmgw_build", "Version of the gateway.")
        info.add_metric([], {"version": meter.version, "python": platform.python_version()})
        yield info
        yield GaugeMetricFamily(
            "llmgw_requests_in_flight", "Requests that entered and have not left.", value=meter.in_flight
        )
        yield _requests(slots)
        yield _tokens(slots)
        yield _summed(
            "llmgw_cost_nano_usd",
            "Cost of answered requests, in billionths of a US dollar.",
            slots,
            lambda slot: slot.cost_nano_usd,
        )
        yield _summed(
            "llmgw_unpriced_requests",
            "Requests with usage whose price is not known.",
            slots,
            lambda slot: slot.unpriced,
        )
        yield _errors(slots)
        yield _counter(
            "llmgw_limit_refusals",
            "Requests that a limit or quota refused, or in shadow and warning mode would have.",
            ("level", "policy", "mode"),
            {(_level(policy), policy, mode): count for (policy, mode), count in dict(meter.limited).items()},
        )
        redacted = dict(meter.redacted)
        yield _counter(
            "llmgw_redactions",
            "Values that placeholders stand for now, in requests and in responses.",
            ("at", "kind"),
            {which: count for which, count in redacted.items() if which[1] != _FAILED},
        )
        yield _counter(
            "llmgw_redaction_failures",
            "Requests and responses that could not be redacted.",
            ("at",),
            {(at,): count for (at, kind), count in redacted.items() if kind == _FAILED},
        )
        yield _histogram(
            "llmgw_request_seconds",
            "Time from the request's arrival to the end of its answer.",
            _BY_MODEL,
            dict(meter.seconds),
        )
        yield _histogram(
            "llmgw_first_byte_seconds",
            "Time from a streamed request's arrival to the first byte of its answer.",
            _BY_MODEL,
            dict(meter.first_byte),
        )
        yield _histogram(
            "llmgw_overhead_seconds",
            "The gateway's own share: from the request's last byte to its dispatch.",
            ("endpoint",),
            {(endpoint,): histogram for endpoint, histogram in dict(meter.overhead).items()},
        )
        for gauge, value in meter.read_gauges():
            yield GaugeMetricFamily(gauge.name, gauge.help, value=value)
        for labelled in list(meter.labelled.values()):
            family = GaugeMetricFamily(labelled.name, labelled.help, labels=labelled.labels)
            for values, number in labelled.read():
                family.add_metric(values, number)
            yield family


def _requests(slots: list[Slot]) -> Metric:
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for slot in slots:
        of = slot.labels
        sums[(of.tenant, of.endpoint, of.provider, of.model, str(of.status), of.outcome)] += slot.requests
    labels = ("tenant", "endpoint", "provider", "model", "status", "outcome")
    return _counter("llmgw_requests", "Requests that left, however they ended.", labels, sums)


def _tokens(slots: list[Slot]) -> Metric:
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for slot in slots:
        of = slot.labels
        for name, count in (
            ("input", slot.input_tokens),
            ("cached", slot.cached_tokens),
            ("output", slot.output_tokens),
        ):
            if count:
                sums[(name, of.tenant, of.provider, of.model)] += count
    labels = ("class", *_BY_TENANT)
    return _counter("llmgw_tokens", "Tokens, inclusive: cached is a part of input.", labels, sums)


def _summed(name: str, text: str, slots: list[Slot], read: Callable[[Slot], int]) -> Metric:
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for slot in slots:
        if count := read(slot):
            sums[(slot.labels.tenant, slot.labels.provider, slot.labels.model)] += count
    return _counter(name, text, _BY_TENANT, sums)


def _errors(slots: list[Slot]) -> Metric:
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for slot in slots:
        if slot.labels.code:
            sums[(slot.labels.code,)] += slot.requests
    return _counter("llmgw_errors", "Requests that ended in an error, by its code.", ("code",), sums)


def _level(policy: str) -> str:
    """`per-user-tokens` is of the level `per-user`, every quota of the level `quota`."""
    return next((level for level in _LEVELS if policy.startswith(level)), policy)


def _counter(
    name: str, text: str, labels: tuple[str, ...], sums: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sums.items():
        family.add_metric(values, count)
    return family


def _histogram(
    name: str, text: str, labels: tuple[str, ...], histograms: Mapping[tuple[str, ...], Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in histograms.items():
        if any(histogram.counts):
            family.add_metric(values, histogram.cumulative(), histogram.total)
    return family
