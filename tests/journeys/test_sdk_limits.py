"""What the official OpenAI SDK makes of our refusals."""

from __future__ import annotations

import time
from pathlib import Path

import openai
import pytest

from tests.fakes.process import GatewayProcess, rows

CONFIG = """
version: 1
providers: {{demo: {{kind: echo}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
prices: {{overrides: {{demo/echo: {{input: 1 USD/M, output: 1 USD/M}}}}}}
{rest}
"""


def ask(client: openai.OpenAI) -> str:
    made = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hi"}])
    return made.choices[0].message.content or ""


def serve(place: Path, rest: str) -> tuple[GatewayProcess, str]:
    (place / "llmgw.yaml").write_text(CONFIG.format(rest=rest))
    return GatewayProcess(place), str(rows("keys", "create", "--user", "alice", cwd=place)["key"])


def test_a_rate_limit_is_a_rate_limit_error(tmp_path: Path) -> None:
    """With the wait where the SDK looks for it, and what stands beside the error at hand."""
    gateway, key = serve(tmp_path, "limits: {per_user: {requests: 1, window: 1m}}")
    with gateway, openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=0) as client:
        assert ask(client)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)

    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert caught.value.response.json()["retryAfterSeconds"] == int(
        caught.value.response.headers["retry-after"]
    )


def test_the_sdks_own_retry_sleeps_as_told_and_succeeds(tmp_path: Path) -> None:
    """It reads `Retry-After`, waits for it, and is admitted the first time it tries again."""
    gateway, key = serve(tmp_path, "limits: {per_user: {requests: 1, window: 2s, algorithm: fixed_window}}")
    with gateway, openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=1) as client:
        assert ask(client)
        began = time.monotonic()
        assert ask(client)

    assert time.monotonic() - began > 0.9


def test_an_exhausted_quota_is_not_tried_again(tmp_path: Path) -> None:
    """The SDK obeys `x-should-retry: false` at once, and shows what is exhausted."""
    gateway, key = serve(tmp_path, "quotas: [{per: user, requests: 1, window: month}]")
    with gateway, openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=5) as client:
        assert ask(client)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
    requests = [line for line in gateway.out.read_text().splitlines() if '"event":"request"' in line]

    assert caught.value.code == "insufficient_quota"
    assert len(requests) == 2


def test_a_budget_is_told_with_every_answer(tmp_path: Path) -> None:
    """`x-llmgw-budget-remaining` in USD."""
    gateway, key = serve(tmp_path, "quotas: [{per: user, cost: 1 USD, window: month}]")
    with gateway, openai.OpenAI(base_url=gateway.url, api_key=key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="echo", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        )

    assert raw.headers["x-llmgw-budget-remaining"].startswith("0.999")
