"""`llmgw route explain`."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.fakes.process import GatewayProcess, rows
from tests.fakes.raw_client import chat

TEXT = """\
version: 1
server: {workers: WORKERS, lame_duck: 100ms}
providers:
  demo: {kind: echo}
  gone: {kind: openai_compatible, base_url: "http://127.0.0.1:9/v1", allow_private: true}
models:
  pair:
    targets: [{provider: gone, model: x}, {provider: demo, model: echo}]
    fallbacks: [{model: echo, on: [context_length]}]
    breaker: {min_calls: 2, open_for: 5m}
  echo: {targets: [{provider: demo, model: echo}]}
routes:
  - {name: research, match: {tenant: acme, headers: {x-team: research}}, model: pair}
  - {name: fast, match: {path: /fast/**}, strip_prefix: /fast, model: echo}
quotas: [{per: tenant, requests: 100, window: day}, {per: user, cost: 5 USD, window: day, mode: shadow}]
prices: {overrides: {demo/echo: {input: 1 USD/M, output: 2 USD/M}}}
tenants:
  acme: {keys: [{id: ci, user: bot, hash: "HASH", allow_models: [pair, echo]}]}
  rival: {}
""".replace("HASH", f"sha256:{sha256(b'sk-ci').hexdigest()}")
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def config(tmp_path: Path) -> Path:
    file = tmp_path / "llmgw.yaml"
    file.write_text(TEXT.replace("WORKERS", "1"))
    return file


def test_it_reads_as_an_explanation(llmgw: Run) -> None:
    outcome = llmgw(
        "route",
        "explain",
        "--model",
        "echo",
        "--tenant",
        "acme",
        "--user",
        "bot",
        "--header",
        "X-Team: research",
    )

    assert (outcome.code, outcome.err) == (0, "")
    for said in (
        "From llmgw.yaml alone, since no gateway runs; generation ",
        "Takes route research; model pair, asked for as echo.",
        "Of its targets, in the order of the file; at most 3 calls.",
        "only a running gateway knows",
        "Waits at most: connect 5 s, first byte 60 s, idle 60 s, total 600 s.",
        "Price of 1,000 tokens in and 1,000 out: unknown.",
        "Targets, in order",
        "Fallbacks, when the targets have failed",
        "per-tenant",
        "$5",
    ):
        assert said in outcome.out
    assert "remaining" not in outcome.out


def test_routes_that_were_not_taken_say_why(llmgw: Run) -> None:
    out = llmgw("route", "explain", "--path", "/fast/v1/messages", "--model", "m", "--key", "ci").out

    assert "it takes no /fast off the path" in out
    assert "Takes route fast; model echo, asked for as m." in out
    assert "Price of 1,000 tokens in and 1,000 out: $0.003." in out


def test_a_refusal_is_the_answer_not_a_failure(llmgw: Run) -> None:
    outcome = llmgw("route", "explain", "--model", "nope", "--tenant", "rival")

    assert outcome.code == 0
    assert outcome.out.endswith("Refused: 404 model_not_found: no model named 'nope'\n")


def test_json_has_it_all(llmgw: Run) -> None:
    told = json.loads(llmgw("route", "explain", "--model", "pair", "--key", "ci", "--format", "json").out)

    assert set(told) >= {"generation", "live", "routes", "route", "model", "refused", "targets", "fallbacks"}
    assert set(told) >= {"timeouts", "limits", "quotas", "estimate", "in_the_way"}
    assert told["live"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "echo"), "whose request? Name a tenant with --tenant (acme, rival)"),
        (("--tenant", "acme"), "which model? Name one with --model"),
        (("--tenant", "x", "--model", "echo"), "there is no tenant 'x'"),
        (("--key", "x", "--model", "echo"), "no key has the id 'x'"),
        (("--header", "x-team", "--model", "echo"), "--header takes NAME:VALUE"),
    ],
)
def test_a_question_that_cannot_be_understood(llmgw: Run, arguments: tuple[str, ...], said: str) -> None:
    outcome = llmgw("route", "explain", *arguments)

    assert (outcome.code, outcome.out) == (1, "")
    assert said in outcome.err


def test_a_gateway_that_runs_another_configuration_is_noted(
    llmgw: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(llmgw("route", "explain", "--model", "pair", "--key", "ci", "--format", "json").out)
    told |= {"generation": "another", "live": True}
    monkeypatch.setattr("llmgw.cli.route.ask", lambda *_, **__: told)
    outcome = llmgw("route", "explain", "--model", "pair", "--key", "ci")

    assert outcome.code == 0
    assert "From the running gateway; generation another." in outcome.out
    assert "note: the gateway runs another, and llmgw.yaml is another configuration" in outcome.err


def test_an_unknown_format_is_misuse(llmgw: Run) -> None:
    assert llmgw("route", "explain", "--model", "echo", "--format", "csv").code == 2


def test_unreachable_routes_are_a_warning_of_config_check(llmgw: Run, config: Path) -> None:
    late = "  - {name: late, match: {tenant: acme, headers: {x-team: research}, model: echo}}\nquotas:"
    config.write_text(config.read_text().replace("quotas:", late, 1))
    outcome = llmgw("config", "check")

    assert outcome.code == 0
    assert 'llmgw.yaml:15 routes[2]: no request gets here: "research" at ' in outcome.err
    assert outcome.err.startswith("warning: ")


def ask(gateway: GatewayProcess, model: str, key: str) -> int:
    fields = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = json.dumps(chat(model=model)).encode()
    with urlopen(Request(f"{gateway.url}/chat/completions", body, fields), timeout=10) as answer:
        return int(answer.status)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_running_gateway_tells_how_things_stand(config: Path, tmp_path: Path, workers: int) -> None:
    """Breakers and balances as they are on the host, in whichever worker; issued keys too."""
    config.write_text(TEXT.replace("WORKERS", str(workers)))
    issued = rows("keys", "create", "--tenant", "rival", "--user", "eve", cwd=tmp_path)
    with GatewayProcess(tmp_path) as gateway:
        assert [ask(gateway, "pair", "sk-ci") for _ in range(4)] == [200] * 4
        told = rows("route", "explain", "--model", "pair", "--key", "ci", cwd=tmp_path)
        eve = rows("route", "explain", "--model", "echo", "--key", issued["id"], cwd=tmp_path)

    assert told["live"] is True
    assert [one["provider"] for one in told["targets"]] == ["demo", "gone"]
    assert [one["breaker"] for one in told["targets"]] == ["closed", "open"]
    assert told["targets"][1]["skipped"].startswith("its breaker is open: for ")
    assert {row["policy"]: row["used"] for row in told["limits"]}["per-tenant"] == 4
    assert {row["unit"]: row["used"] for row in told["quotas"]}["requests"] == 4
    assert (eve["tenant"], eve["user"], eve["route"]) == ("rival", "eve", None)


def test_claims_are_asked_of_by_name(llmgw: Run, config: Path) -> None:
    claims = "  - {name: staff, match: {claim: {realm.groups: staff}}, model: pair}\n"
    config.write_text(config.read_text().replace("routes:\n", f"routes:\n{claims}"))
    ask = ("route", "explain", "--model", "echo", "--tenant", "acme", "--format", "json")

    staff = llmgw(*ask, "--claim", "realm.groups=users", "--claim", "realm.groups=staff")
    nobody = llmgw(*ask, "--claim", "realm.groups=users")
    wrong = llmgw(*ask, "--claim", "staff")

    assert json.loads(staff.out)["route"] == "staff"
    assert json.loads(nobody.out)["routes"][0]["why_not"] == "not so: claim realm.groups equals staff"
    assert wrong.code != 0
    assert "--claim takes NAME=VALUE, as in groups=staff, not 'staff'" in wrong.err
