"""What happens to claims while shared counters cannot be used: what each rule says for that.

`allow` lets them pass uncounted and `deny` refuses them. `local` counts them in this process
against its share of the limit, so that all processes together admit about the limit. Whatever
let a claim on a balance pass, what it spent is added to the shared balance in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from llmgw.core.claim import BALANCE, Claim, Refusal, Step, Verdict
from llmgw.ports.counters import Settlement
from llmgw.stores.counters import MemoryCounters

ASK_AGAIN_NS = 1_000_000_000
"""When a denied claim may pass: nobody knows, so soon."""


class AloneGrant(int):
    """A store's handle of a verdict in which the claims of `keys` were decided here."""

    keys: frozenset[str]

    def __new__(cls, handle: int, keys: frozenset[str]) -> AloneGrant:
        grant = super().__new__(cls, handle)
        grant.keys = keys
        return grant


class Fallback:
    """Decides and settles claims for one of `processes` processes that share their limits."""

    def __init__(self, clock: Callable[[], int], processes: int) -> None:
        self._clock = clock
        self._processes = processes
        self._local = MemoryCounters(clock)

    def acquire(self, claims: Sequence[Claim]) -> Verdict:
        """Take every claim as its rule says, or none."""
        now = self._clock()
        counted = [claim for claim in claims if claim.rule.on_store_error == "local"]
        denied = [
            # A balance may well have the amount, so a caller is not told that it is spent.
            Refusal(claim, 0, now + ASK_AGAIN_NS, held=claim.rule.algorithm == BALANCE)
            for claim in claims
            if claim.rule.on_store_error == "deny"
        ]
        enforced = tuple(refusal for refusal in denied if not _is_silent(refusal.claim))
        silent = tuple(refusal for refusal in denied if _is_silent(refusal.claim))
        shares = [self._share(claim) for claim in counted]
        local = Verdict(self._local.peek(shares), now) if enforced else self._local.acquire(shares, "")
        whole = {claim.key: claim for claim in counted}
        enforced += tuple(_of_whole(refusal, whole) for refusal in local.refusals)
        silent += tuple(_of_whole(refusal, whole) for refusal in local.shadows)
        local_steps = iter(local.steps)
        other_steps: dict[str, Step] = {"allow": ((), 0, 0), "deny": (None, 0, now + ASK_AGAIN_NS)}
        steps = [other_steps.get(claim.rule.on_store_error) or next(local_steps) for claim in claims]
        return Verdict(steps, now, enforced, silent, AloneGrant(0, frozenset(claim.key for claim in claims)))

    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> Sequence[Settlement]:
        """Settle the claims that were decided here. Returns what is left to the shared counters."""
        grant = verdict.grant
        if not isinstance(grant, AloneGrant):
            return settlements
        shared = []
        for claim, charge in settlements:
            if claim.key not in grant.keys:
                shared.append((claim, charge))
                continue
            if claim.rule.on_store_error == "local":
                self._local.settle(((self._share(claim), charge),), verdict)
            if claim.rule.algorithm == BALANCE and charge:
                shared.append((replace(claim, cost=0), charge))
        return shared

    def sweep(self) -> None:
        self._local.sweep()

    def _share(self, claim: Claim) -> Claim:
        """The claim with this process's share of the limit; 1 at least, so that not all is lost."""
        limit = claim.rule.limit
        share = max(1, limit // self._processes) if limit else 0
        return replace(claim, rule=replace(claim.rule, limit=share))


def _of_whole(refusal: Refusal, whole: dict[str, Claim]) -> Refusal:
    """The refusal with the claim that was asked for: it may be too large for the share alone."""
    claim = whole[refusal.claim.key]
    return replace(refusal, claim=claim, never=claim.cost > claim.rule.limit)


def _is_silent(claim: Claim) -> bool:
    return claim.rule.shadow or claim.rule.warn
