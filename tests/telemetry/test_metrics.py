from __future__ import annotations

from llmgw.telemetry.metrics import MAX_ALIASES, MAX_CODES, NullMeter, PrometheusMeter
from tests.telemetry.conftest import report


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


def test_model_of_the_callers_making_is_no_label() -> None:
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


def test_label_sets_are_bounded() -> None:
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
