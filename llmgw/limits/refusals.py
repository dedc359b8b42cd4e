"""Which claims did not pass, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmgw.core.claim import BALANCE, Claim, Refusal, State, Step
from llmgw.limits import balance


def refusals(
    claims: Sequence[Claim], steps: Sequence[Step], state_of: Callable[[str], State]
) -> tuple[tuple[Refusal, ...], tuple[Refusal, ...]]:
    """What refuses the request, and what would have if its rule were enforced."""
    enforced: list[Refusal] = []
    silent: list[Refusal] = []
    for claim, (after, remaining, at) in zip(claims, steps, strict=True):
        if after is not None and remaining >= 0:
            continue
        rule = claim.rule
        refusal = Refusal(
            claim,
            max(0, remaining),
            at,
            rule.algorithm == BALANCE and balance.is_held(state_of(claim.key), claim),
            claim.cost > rule.limit,
        )
        (silent if rule.shadow or rule.warn else enforced).append(refusal)
    return tuple(enforced), tuple(silent)
