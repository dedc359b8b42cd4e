from __future__ import annotations

import msgspec

from llmgw.telemetry.metrics import (
    MAX_ALIASES,
    MAX_CODES,
    NullMeter,
    PrometheusMeter,
    Tally,
    WorkerMeters,
)
from tests.telemetry.conftest import report

COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano_usd", "unpriced")


def meter(*models: str, max_slots: int = 100) -> PrometheusMeter:
    made = PrometheusMeter(max_slots=max_slots)
    made.name_models(models)
    return made


def models(meter: PrometheusMeter) -> set[str]:
    return {slot.labels.model for slot in meter.slots()}


def test_in_flight() -> None:
    counted = meter("gpt-4o")

    counted.started()
    counted.started()
    counted.finished(report())

    assert counted.in_flight == 1


def test_one_slot_for_equal_labels() -> None:
    counted = meter("gpt-4o")

    counted.finished(report())
    counted.finished(report(input_tokens=3, output_tokens=4, cached_tokens=2, cost_nano_usd=5))

    (slot,) = counted.slots()
    assert (slot.requests, slot.input_tokens, slot.output_tokens, slot.cached_tokens) == (2, 15, 38, 2)
    assert slot.cost_nano_usd == 370_005
    assert slot.unpriced == 0


def test_unknown_cost_is_not_free() -> None:
    counted = meter("gpt-4o")

    counted.finished(report(cost_nano_usd=None))
    counted.finished(report(cost_nano_usd=0))

    (slot,) = counted.slots()
    assert slot.unpriced == 1


def test_request_without_usage_is_not_unpriced() -> None:
    counted = meter("gpt-4o")

    counted.finished(report(status=401, input_tokens=None, output_tokens=None, cost_nano_usd=None))

    (slot,) = counted.slots()
    assert slot.unpriced == 0


def test_first_byte_is_of_streams() -> None:
    """The first byte of an answer that is not streamed is its whole answer."""
    counted = meter("gpt-4o")

    counted.finished(report(streamed=False, first_byte_s=0.1))
    counted.finished(report(streamed=True, first_byte_s=0.3))
    counted.finished(report(streamed=True, first_byte_s=None))

    (histogram,) = counted.first_byte.values()
    assert sum(histogram.counts) == 1
    assert histogram.total == 0.3


def test_b13_model_of_the_callers_making_is_no_label() -> None:
    """B13: 10,000 invented models are one label set."""
    counted = meter("gpt-4o")

    for number in range(10_000):
        counted.finished(report(tenant=None, model=f"invented-{number}", provider=None, status=404))

    assert models(counted) == {"other"}
    assert len(counted.slots()) == 1
    assert len(counted._aliases) <= MAX_ALIASES


def test_without_configured_models_an_answered_name_is_a_label() -> None:
    counted = PrometheusMeter()
    counted.name_models(None)

    counted.finished(report(model="real"))
    counted.finished(report(model="wrong", status=404))
    counted.finished(report(model="unrouted", provider=None))

    assert models(counted) == {"real", "other"}


def test_b13_label_sets_are_bounded() -> None:
    """B13: what exceeds the bound is counted, under other labels."""
    counted = PrometheusMeter(max_slots=10)
    counted.name_models(None)

    for number in range(1000):
        counted.finished(report(model=f"model-{number}"))

    assert len(counted.slots()) == 11
    assert sum(slot.requests for slot in counted.slots()) == 1000
    assert "other" in models(counted)


def test_codes_are_bounded() -> None:
    """An upstream writes its own error codes."""
    counted = meter("gpt-4o", max_slots=10_000)

    for number in range(MAX_CODES * 2):
        counted.finished(report(status=400, code=f"code-{number}"))

    assert len({slot.labels.code for slot in counted.slots()}) == MAX_CODES + 1


def test_new_generation_renames() -> None:
    """What was counted stays; what comes is labelled as the new configuration says."""
    counted = meter("gpt-4o")
    counted.finished(report())

    counted.name_models(["another"])
    counted.finished(report())

    assert {slot.labels.model: slot.requests for slot in counted.slots()} == {"gpt-4o": 1, "other": 1}


def test_silent_twin() -> None:
    silent = NullMeter()

    silent.started()
    silent.finished(report())


def test_what_is_taken_is_counted_elsewhere_and_forgotten() -> None:
    """A worker's counts go to the supervisor's meter as they came, over the wire and in parts."""
    worker, host, alone = meter("gpt-4o"), PrometheusMeter(), meter("gpt-4o")
    reports = [
        report(total_s=0.004, cached_tokens=5),
        report(total_s=700, streamed=True, first_byte_s=0.3),
        report(status=429, outcome="error", code="rate_limit_exceeded", input_tokens=None),
        report(tenant="rival", cost_nano_usd=None),
    ]

    for each in reports:
        for counting in (worker, alone):
            counting.started()
            counting.finished(each)
        host.add(msgspec.msgpack.decode(msgspec.msgpack.encode(worker.take()), type=Tally))

    assert counts(host) == counts(alone)
    assert {slot.requests for slot in worker.slots()} == {0}
    empty = worker.take()
    assert (empty.slots, empty.seconds, empty.first_byte, empty.overhead) == ([], [], [], [])


def test_a_taken_meter_counts_on_where_the_road_holds_it() -> None:
    """Slots and buckets are the same objects before and after."""
    counted = meter("gpt-4o")
    counted.finished(report(total_s=0.004))
    (slot,) = counted.slots()
    counted.take()

    counted.finished(report(total_s=0.004))

    assert counted.slots() == [slot]
    assert slot.requests == 1
    assert (slot.seconds.counts[0], slot.seconds.total) == (1, 0.004)


def test_the_sum_of_many_workers_is_bounded() -> None:
    """Workers may disagree on what is `other`; their sum keeps to the same number of label sets."""
    host = PrometheusMeter(max_slots=10)
    for number in range(50):
        worker = meter(f"model-{number}")
        worker.finished(report(model=f"model-{number}", streamed=True, first_byte_s=0.1))
        host.add(worker.take())

    assert len(host.slots()) == 11
    assert len(host.seconds) <= 11
    assert len(host.first_byte) <= 11
    assert sum(slot.requests for slot in host.slots()) == 50
    assert sum(sum(histogram.counts) for histogram in host.seconds.values()) == 50


def test_a_worker_that_ends_leaves_its_counts_and_takes_its_gauges() -> None:
    host = PrometheusMeter()
    host.gauge("llmgw_lines_dropped", "Of this process.", lambda: 1)
    meters = WorkerMeters(host)
    for index in (0, 1):
        worker = meter("gpt-4o")
        worker.gauge("llmgw_lines_dropped", "Of a worker.", lambda index=index: 10 * (index + 1))
        worker.gauge("llmgw_broken", "Fails.", lambda: 1 / 0)
        worker.started()
        worker.started()
        worker.finished(report())
        meters.add(index, worker.take())
    seen = {gauge.name: value for gauge, value in host.read_gauges()}
    assert seen == {"llmgw_lines_dropped": 31}
    assert host.in_flight == 2

    meters.forget(0)
    meters.forget(0)

    assert {gauge.name: value for gauge, value in host.read_gauges()} == {"llmgw_lines_dropped": 21}
    assert host.in_flight == 1
    assert sum(slot.requests for slot in host.slots()) == 2


def counts(meter: PrometheusMeter) -> object:
    """Everything countable."""
    histograms = (meter.seconds, meter.first_byte, meter.overhead)
    return (
        {slot.labels: {name: getattr(slot, name) for name in COUNTS} for slot in meter.slots()},
        [
            {which: (each.counts, each.total) for which, each in found.items() if any(each.counts)}
            for found in histograms
        ],
    )
