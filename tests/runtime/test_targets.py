"""What people are told of targets."""

from __future__ import annotations

from llmgw.runtime.targets import TargetWatch, standings
from llmgw.stores.targets import MemoryTargets


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, object]] = []

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append((level, event, fields.get("model", fields["provider"])))


def test_rows() -> None:
    states = MemoryTargets()
    states.of("|openai").cooled_until = 12.0
    states.of("acme|vllm|a|b").open_until = 20.0

    account, target = standings(states, 10.0)

    assert (account.tenant, account.provider, account.model, account.spared_for_s) == (
        None,
        "openai",
        None,
        2.0,
    )
    assert (target.tenant, target.provider, target.model, target.state) == ("acme", "vllm", "a|b", "open")


def test_each_change_is_told_once() -> None:
    states, told, now = MemoryTargets(), Told(), [10.0]
    watch = TargetWatch(states, told, lambda: now[0])
    target = states.of("|openai|gpt")
    watch.look()
    target.open_until = 15.0
    states.of("|openai").cooled_until = 40.0
    watch.look()
    now[0] = 16.0
    target.claim_probe()
    watch.look()
    target.drop_probe()
    target.open_until = 0.0
    watch.look()
    watch.look()

    assert told.events == [
        ("error", "target_failing", "gpt"),
        ("error", "credential_refused", "openai"),
        ("info", "target_recovered", "gpt"),
    ]
