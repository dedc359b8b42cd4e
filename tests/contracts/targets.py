"""What every store of target states keeps to."""

from __future__ import annotations

from math import inf

from llmgw.ports.targets import TargetStates


class TargetStatesContract:
    """Give `states`: an empty store."""

    def test_a_name_has_one_state(self, states: TargetStates) -> None:
        state = states.of("|openai|gpt-4o")
        assert (state.open_until, state.closed_at, state.cooled_until) == (0.0, -inf, 0.0)

        state.open_until, state.closed_at, state.cooled_until = 1.5, 2.5, 3.5

        again = states.of("|openai|gpt-4o")
        assert (again.open_until, again.closed_at, again.cooled_until) == (1.5, 2.5, 3.5)
        assert states.of("acme|openai|gpt-4o").open_until == 0.0

    def test_names_are_told(self, states: TargetStates) -> None:
        names = {"|openai", "|openai|gpt-4o", "acme|vllm|mötley/" + "x" * 40}
        for name in names:
            states.of(name)

        assert {name for name, _ in states.all()} == names

    def test_one_probes_at_a_time(self, states: TargetStates) -> None:
        state = states.of("|openai|gpt-4o")

        assert state.claim_probe()
        assert state.probing
        assert not state.claim_probe()
        state.drop_probe()
        assert not state.probing
        assert state.claim_probe()
