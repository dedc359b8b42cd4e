"""What is known of a target from the calls made to it; outlives reloads that do not concern it."""

from __future__ import annotations

from llmgw.engine.breaker import Breaker, BreakerRules

_HALF_LIFE_S = 30.0
_WEIGHT = 0.2


class Credential:
    """One provider account. cooled_until: when it may be used again, after it was refused."""

    __slots__ = ("cooled_until",)

    def __init__(self) -> None:
        self.cooled_until = 0.0


class Health:
    """One target's: its breaker, how busy and how quick it is, until when it asked to be spared.

    breaker: None where it is switched off.
    """

    __slots__ = ("_latency_s", "_measured_at", "breaker", "cooled_until", "credential", "in_flight")

    def __init__(self, rules: BreakerRules | None, credential: Credential) -> None:
        self.breaker = Breaker(rules) if rules is not None else None
        self.credential = credential
        self.cooled_until = 0.0
        self.in_flight = 0
        self._latency_s = 0.0
        self._measured_at = 0.0

    def is_clear(self, now: float) -> bool:
        """Whether nothing is known against asking it."""
        breaker = self.breaker
        return (
            now >= self.cooled_until
            and now >= self.credential.cooled_until
            and (breaker is None or breaker.closed)
        )

    def spared_for_s(self, now: float) -> float:
        """How long it is not to be asked, 0 when it may be."""
        wait = max(self.cooled_until, self.credential.cooled_until) - now
        breaker = self.breaker
        if breaker is not None:
            wait = max(wait, breaker.retry_in_s(now))
        return max(0.0, wait)

    def latency_s(self, now: float) -> float:
        """The decaying average of the time to its answers; falls while it is not asked."""
        if not self._latency_s:
            return 0.0
        return float(self._latency_s * 0.5 ** ((now - self._measured_at) / _HALF_LIFE_S))

    def measured(self, seconds: float, now: float) -> None:
        """An answer began after `seconds`."""
        known = self._latency_s
        self._latency_s = seconds if not known else known + _WEIGHT * (seconds - known)
        self._measured_at = now


class Healths:
    """Every target's, by whose it is, provider and upstream model."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str, str], tuple[BreakerRules | None, Health]] = {}
        self._credentials: dict[tuple[str | None, str], Credential] = {}

    def of(self, owner: str | None, provider: str, model: str, rules: BreakerRules | None) -> Health:
        """owner: the tenant whose own provider it is. Made anew only where `rules` have changed."""
        key = (owner, provider, model)
        known = self._known.get(key)
        if known is not None and known[0] == rules:
            return known[1]
        credential = self._credentials.setdefault((owner, provider), Credential())
        health = Health(rules, credential)
        self._known[key] = (rules, health)
        return health

    def all(self) -> list[tuple[str | None, str, str, Health]]:
        """Whose, provider, upstream model and what is known of it."""
        return [(*key, health) for key, (_, health) in self._known.items()]
