"""What happens to claims while Redis cannot be used: what each rule says for that.

`allow` lets them pass uncounted and `deny` refuses them, but for quotas of which this host has a
standing share (`stores.redis_shares`): that is spent first. `local` counts them among the workers of
this host, against its share of the limit. In the window that Redis was lost in, that is this
host's share of what was last known to remain; every worker says what it knew, and the least holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from llmgw.core.claim import BALANCE, FIXED_WINDOW, Claim, Refusal, Rule, Step, Verdict
from llmgw.ports.counters import CounterStore, Settlement
from llmgw.stores.redis_claims import TAKEN
from llmgw.stores.redis_shares import Shares

ASK_AGAIN_NS = 1_000_000_000
"""When a denied claim may pass: nobody knows, so soon."""
_SHARES = 4_096
_NOTE = "known|"
_SHARE = "share|"


class AloneGrant(int):
    """A handle of a verdict that was decided here. local: the part that the host's counters took.

    stood: by key, what was taken there from a standing share.
    """

    request_id: str
    local: Verdict
    counted: frozenset[str]
    stood: Mapping[str, Claim]

    def __new__(
        cls, request_id: str, local: Verdict, counted: frozenset[str], stood: Mapping[str, Claim]
    ) -> AloneGrant:
        grant = super().__new__(cls, 1)
        grant.request_id = request_id
        grant.local = local
        grant.counted = counted
        grant.stood = stood
        return grant


class Alone:
    """Decides and settles for one worker. local: the host's counters. standing: its shares of quotas.

    hosts: how many share the limits. owed: what was let on here, by key; Redis is to hear of it.
    """

    def __init__(self, local: CounterStore, steady: Callable[[], int], standing: Shares) -> None:
        self.hosts = 1
        self._standing = standing
        self.owed: dict[str, tuple[Claim, int]] = {}
        self._local = local
        self._steady = steady
        self._noted: set[str] = set()
        self._shares: dict[int, tuple[Rule, Rule, Rule]] = {}

    def begin(self) -> None:
        """Redis is lost: what was known of it is to be said again."""
        self._noted.clear()

    def note(self, claims: Iterable[tuple[Claim, Step]]) -> None:
        """What was last known of counters: a claim on each, and its step."""
        for claim, step in claims:
            self._note(claim, step)

    def acquire(
        self, claims: Sequence[Claim], known: Callable[[str], tuple[Claim, Step] | None], request_id: str
    ) -> Verdict:
        """Take every claim as its rule says, or none. known: what was last known of a counter."""
        now = self._steady()
        shares: list[Claim] = []
        whole: dict[str, Claim] = {}
        stood: dict[str, Claim] = {}
        enforced: list[Refusal] = []
        silent: list[Refusal] = []
        for claim in claims:
            rule = claim.rule
            if rule.on_store_error == "local":
                if claim.key not in self._noted and (last := known(claim.key)) is not None:
                    self._note(*last)
                share = self._share(claim)
                shares.append(share)
                whole[share.key] = claim
            elif (standing := self._standing.claim(claim)) is not None:
                stood[claim.key] = standing
                shares.append(standing)
                whole[standing.key] = claim
            elif rule.on_store_error == "deny":
                (silent if rule.shadow or rule.warn else enforced).append(_denied(claim, now))
        if enforced:
            local = Verdict(self._local.peek(shares), now)
        else:
            local = self._local.acquire(shares, request_id)
            stand = [claim for claim in claims if claim.key in stood]
            if stand and not local.refusals and not self._standing.keep(request_id, stand):
                self._local.settle([(share, 0) for share in shares], local)
                enforced += [_denied(claim, now) for claim in stand]
            enforced += [_of_whole(refusal, whole) for refusal in local.refusals]
            silent += [_of_whole(refusal, whole) for refusal in local.shadows]
        steps: list[Step] = []
        counted = iter(zip(shares, local.steps, strict=True))
        for claim in claims:
            if claim.rule.on_store_error != "local" and claim.key not in stood:
                allowed = claim.rule.on_store_error == "allow"
                steps.append((TAKEN, 0, 0) if allowed else (None, 0, now + ASK_AGAIN_NS))
                continue
            _, step = next(counted)
            steps.append((TAKEN if step[0] is not None else None, step[1], step[2]))
            if not enforced and step[0] is not None and claim.rule.algorithm != BALANCE:
                self._owe(claim, claim.cost)
        grant = 0
        if not enforced:
            grant = AloneGrant(request_id, local, frozenset(share.key for share in shares), stood)
        return Verdict(steps, now, tuple(enforced), tuple(silent), grant, _degraded(claims))

    def settle(self, settlements: Sequence[Settlement], grant: AloneGrant) -> list[Settlement]:
        """Settle what was decided here. Returns what balances are to be charged once Redis is there."""
        local: list[Settlement] = []
        charged: list[Settlement] = []
        for claim, charge in settlements:
            stood = grant.stood.get(claim.key)
            if stood is not None:
                local.append((stood, self._standing.settled(grant.request_id, claim, charge)))
                continue
            share = self._share(claim)
            if share.key in grant.counted:
                local.append((share, charge))
                if claim.rule.algorithm != BALANCE:
                    self._owe(claim, charge - claim.cost)
            if claim.rule.algorithm == BALANCE and charge:
                charged.append((replace(claim, cost=0), charge))
        if local:
            self._local.settle(local, grant.local)
        return charged

    def heard(self, claims: Sequence[Claim]) -> set[str]:
        """Redis has counted these after all. Returns the keys of what was let on here."""
        kept = set()
        for claim in claims:
            if claim.rule.algorithm != BALANCE and claim.rule.on_store_error == "local":
                self._owe(claim, -claim.cost)
                kept.add(claim.key)
        return kept

    def take_owed(self) -> list[Settlement]:
        """What Redis has not heard of, as claims that cost nothing and were charged."""
        owed, self.owed = self.owed, {}
        return [(replace(claim, cost=0), amount) for claim, amount in owed.values() if amount > 0]

    def _owe(self, claim: Claim, amount: int) -> None:
        before = self.owed.get(claim.key)
        self.owed[claim.key] = (claim, amount + (before[1] if before else 0))

    def _note(self, claim: Claim, step: Step) -> None:
        """Spend of this host's share what it does not have of the current window."""
        self._noted.add(claim.key)
        rule = claim.rule
        now = self._steady()
        if rule.on_store_error != "local" or not rule.limit or step[2] <= now:
            return
        share = replace(self._share(claim), cost=0)
        limit = share.rule.limit
        note = Claim(self._rules(rule)[2], _NOTE + claim.key, 0)
        (_, left, _), (_, unsaid, _) = self._local.peek((share, note))
        said = note.rule.limit - unsaid
        extra = min(limit - max(0, step[1]) // self.hosts - said, left)
        if extra > 0:
            self._local.acquire((replace(share, cost=extra), replace(note, cost=min(extra, unsaid))), "")

    def _share(self, claim: Claim) -> Claim:
        """The claim with this host's share of the limit; 1 at least, so that not all is lost."""
        return Claim(self._rules(claim.rule)[1], _SHARE + claim.key, claim.cost, claim.until)

    def _rules(self, rule: Rule) -> tuple[Rule, Rule, Rule]:
        """The rule, its share here, and the one that counts what was said of it."""
        known = self._shares.get(id(rule))
        share = max(1, rule.limit // self.hosts) if rule.limit else 0
        if known is None or known[1].limit != share:
            if len(self._shares) >= _SHARES:
                self._shares.clear()
            noted = replace(
                rule, algorithm=FIXED_WINDOW, limit=share, window_ns=rule.window_ns or 1 << 60, shadow=False
            )
            known = self._shares[id(rule)] = (rule, replace(rule, limit=share), noted)
        return known


def _denied(claim: Claim, now: int) -> Refusal:
    """A balance may well have the amount, so a caller is not told that it is spent."""
    return Refusal(claim, 0, now + ASK_AGAIN_NS, held=claim.rule.algorithm == BALANCE)


def _of_whole(refusal: Refusal, whole: dict[str, Claim]) -> Refusal:
    """The refusal with the claim that was asked for: it may be too large for the share alone."""
    claim = whole[refusal.claim.key]
    return replace(refusal, claim=claim, never=claim.cost > claim.rule.limit)


def _degraded(claims: Sequence[Claim]) -> bytes:
    kinds = {claim.rule.algorithm == BALANCE for claim in claims}
    return b", ".join(
        name for is_quota, name in ((False, b"ratelimit"), (True, b"quota")) if is_quota in kinds
    )
