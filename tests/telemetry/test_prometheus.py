from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmgw.telemetry.metrics import HostProcesses, PrometheusMeter
from tests.telemetry.conftest import report


def scraped(
    meter: PrometheusMeter, host: HostProcesses | None = None
) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and sorted labels, read as Prometheus would."""
    text, content_type = meter.render(host)
    assert content_type.startswith("text/plain")
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


@pytest.fixture
def meter() -> PrometheusMeter:
    made = PrometheusMeter(version="1.2.3")
    made.name_models(["gpt-4o"])
    return made


def test_counters(meter: PrometheusMeter) -> None:
    meter.finished(report(cached_tokens=5))
    meter.finished(report(user="bob", key="other"))
    meter.finished(report(status=429, outcome="error", code="rate_limit_exceeded", input_tokens=None))

    seen = scraped(meter)
    where = {"endpoint": "/v1/chat/completions", "model": "gpt-4o", "provider": "openai", "tenant": "acme"}
    ok = tuple(sorted({**where, "status": "200", "outcome": "ok"}.items()))
    assert seen["llmgw_requests_total"][ok] == 2
    assert sum(seen["llmgw_requests_total"].values()) == 3
    tokens = {dict(labels)["class"]: value for labels, value in seen["llmgw_tokens_total"].items()}
    assert tokens == {"input": 24, "cached": 5, "output": 68}
    assert list(seen["llmgw_cost_nano_usd_total"].values()) == [740_000]
    assert seen["llmgw_errors_total"] == {(("code", "rate_limit_exceeded"),): 1}


def test_histograms(meter: PrometheusMeter) -> None:
    for total_s in (0.004, 0.2, 700):
        meter.finished(report(total_s=total_s))

    seen = scraped(meter)
    assert list(seen["llmgw_request_seconds_count"].values()) == [3]
    assert list(seen["llmgw_request_seconds_sum"].values()) == [pytest.approx(700.204)]
    buckets = {dict(labels)["le"]: value for labels, value in seen["llmgw_request_seconds_bucket"].items()}
    assert (buckets["0.005"], buckets["0.25"], buckets["600.0"], buckets["+Inf"]) == (1, 2, 2, 3)
    assert list(seen["llmgw_overhead_seconds_count"].values()) == [3]
    assert "llmgw_first_byte_seconds_count" not in seen


def test_gauges(meter: PrometheusMeter) -> None:
    """One gauge that fails hides no other number."""
    meter.started()
    meter.gauge("llmgw_journal_lag_bytes", "Journal not yet in the database.", lambda: 17)
    meter.gauge("llmgw_broken", "Fails.", lambda: 1 / 0)

    seen = scraped(meter)
    assert seen["llmgw_requests_in_flight"] == {(): 1}
    assert seen["llmgw_journal_lag_bytes"] == {(): 17}
    assert "llmgw_broken" not in seen


def test_build_and_process(meter: PrometheusMeter) -> None:
    seen = scraped(meter)

    (labels,) = seen["llmgw_build_info"]
    assert dict(labels)["version"] == "1.2.3"
    assert seen["process_resident_memory_bytes"][()] > 0


def test_resources_of_several_processes_are_added_up(meter: PrometheusMeter) -> None:
    """CPU time never goes back, also when a process ends; one that has ended is no error."""
    own = scraped(meter)
    busy = "for n in range(5_000_000): pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        host = HostProcesses((other.pid,), ended_cpu_s=100.0)
        both = scraped(meter, host)
        other.communicate(b"\n")
    after = scraped(meter, host)

    def of(seen: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str) -> float:
        return seen[f"process_{name}"][()]

    assert set(own) == set(both)
    assert of(both, "resident_memory_bytes") > of(own, "resident_memory_bytes")
    assert of(both, "max_fds") > of(own, "max_fds")
    assert of(both, "open_fds") > of(own, "open_fds")
    assert of(both, "start_time_seconds") == of(own, "start_time_seconds")
    assert of(both, "cpu_seconds_total") > 100 + of(own, "cpu_seconds_total")
    assert of(after, "cpu_seconds_total") >= of(both, "cpu_seconds_total")


def test_hostile_label_values(meter: PrometheusMeter) -> None:
    """N04: what a provider or an operator named cannot write a sample of its own."""
    meter.finished(report(tenant='a"} 1\nllmgw_evil 1', code="c\nllmgw_evil 2", status=400))

    seen = scraped(meter)
    assert "llmgw_evil" not in seen


def test_no_user_and_no_key_among_the_labels(meter: PrometheusMeter) -> None:
    meter.finished(report(user="canary-user", key="canary-key", request_id="canary-id", detail="canary"))

    assert b"canary" not in meter.render()[0]


def test_redactions_and_their_failures(meter: PrometheusMeter) -> None:
    """By where and kind, never the value; those of another process too."""
    other = PrometheusMeter()
    other.finished(report(redacted=(("response", "email", 2), ("response", "failed", 1))))
    meter.finished(report(redacted=(("request", "iban", 1), ("response", "email", 3))))
    meter.add(other.take())

    text = meter.render()[0].decode()

    assert 'llmgw_redactions_total{at="request",kind="iban"} 1.0' in text
    assert 'llmgw_redactions_total{at="response",kind="email"} 5.0' in text
    assert 'llmgw_redaction_failures_total{at="response"} 1.0' in text
    assert 'kind="failed"' not in text
