"""What is known of a target from the calls made to it; outlives reloads that do not concern it."""

from __future__ import annotations

from llmgw.engine.breaker import Breaker, BreakerRules
from llmgw.ports.targets import TargetState, TargetStates

_HALF_LIFE_S = 30.0
_WEIGHT = 0.2


class Health:
    """One target's: its breaker, how busy and how quick it is, until when it asked to be spared.

    breaker: None where it is switched off. state: the target's. credential: its account's.
    """

    __slots__ = ("_latency_s", "_measured_at", "breaker", "credential", "in_flight", "state")

    def __init__(self, rules: BreakerRules | None, state: TargetState, credential: TargetState) -> None:
        self.breaker = Breaker(rules, state) if rules is not None else None
        self.state = state
        self.credential = credential
        self.in_flight = 0
        self._latency_s = 0.0
        self._measured_at = 0.0

    def is_clear(self, now: float) -> bool:
        """Whether nothing is known against asking it."""
        breaker = self.breaker
        return (
            now >= self.state.cooled_until
            and now >= self.credential.cooled_until
            and (breaker is None or breaker.closed)
        )

    def spared_for_s(self, now: float) -> float:
        """How long it is not to be asked, 0 when it may be."""
        wait = max(self.state.cooled_until, self.credential.cooled_until) - now
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

    def __init__(self, states: TargetStates) -> None:
        self.states = states
        self._known: dict[tuple[str | None, str, str, BreakerRules | None], Health] = {}

    def of(self, owner: str | None, provider: str, model: str, rules: BreakerRules | None) -> Health:
        """owner: the tenant whose own provider it is. Models with other `rules` count calls apart."""
        key = (owner, provider, model, rules)
        health = self._known.get(key)
        if health is None:
            state = self.states.of(f"{owner or ''}|{provider}|{model}")
            health = self._known[key] = Health(rules, state, self.account(owner, provider))
        return health

    def account(self, owner: str | None, provider: str) -> TargetState:
        """What is known of a provider's credential."""
        return self.states.of(f"{owner or ''}|{provider}")

    def renewed(self, owner: str | None, provider: str) -> None:
        """It has another key or place now: what was held against it is forgotten."""
        account = f"{owner or ''}|{provider}"
        for name, state in self.states.all():
            if name == account or name.startswith(f"{account}|"):
                state.cooled_until = 0.0
                state.open_until = 0.0

    def all(self) -> list[tuple[str | None, str, str, Health]]:
        """Whose, provider, upstream model and what is known of it."""
        return [(*key[:3], health) for key, health in self._known.items()]
