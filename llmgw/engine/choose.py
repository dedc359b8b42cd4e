"""Which targets to try, in which order. No I/O."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

from llmgw.core.exchange import Exchange
from llmgw.engine.plan import Lane, Plan

_EXPLORE = 0.05


def choose(plan: Plan, ex: Exchange, now: float, random: Callable[[], float]) -> Sequence[Lane]:
    """The plan's targets, the one to ask first first; those that are to be spared come last."""
    lanes = plan.lanes
    if len(lanes) == 1:
        return lanes
    if plan.sticky is not None and (value := plan.sticky(ex)) is not None:
        ordered = _by_hash(lanes, value)
    else:
        ordered = _STRATEGIES[plan.strategy](lanes, now, random)
    # Sorting is stable: the order holds within the healthy and within the spared.
    return sorted(ordered, key=lambda lane: _rank(lane, now, random))


def _rank(lane: Lane, now: float, random: Callable[[], float]) -> int:
    health = lane.health
    if health.spared_for_s(now) > 0:
        return 2
    breaker = health.breaker
    if breaker is not None and (share := breaker.share(now)) < 1.0 and random() >= share:
        return 1
    return 0


def _in_order(lanes: Sequence[Lane], now: float, random: Callable[[], float]) -> Sequence[Lane]:
    return lanes


def _weighted(lanes: Sequence[Lane], now: float, random: Callable[[], float]) -> Sequence[Lane]:
    """Drawn without replacement, each with the chance of its weight among those left; weight 0 comes last.

    Efraimidis and Spirakis: sorting by u ** (1 / w) draws so.
    """
    return sorted(
        lanes, key=lambda lane: -math.log(1.0 - random()) / lane.weight if lane.weight else math.inf
    )


def _least_inflight(lanes: Sequence[Lane], now: float, random: Callable[[], float]) -> Sequence[Lane]:
    """By its weight; weight 0 comes last."""
    return sorted(
        lanes,
        key=lambda lane: (not lane.weight, lane.health.in_flight / max(1, lane.weight), random()),
    )


def _latency(lanes: Sequence[Lane], now: float, random: Callable[[], float]) -> Sequence[Lane]:
    """The quickest first. One request in twenty goes anywhere, to learn."""
    if random() < _EXPLORE:
        return sorted(lanes, key=lambda lane: random())
    return sorted(lanes, key=lambda lane: lane.health.latency_s(now))


def _by_hash(lanes: Sequence[Lane], value: str) -> Sequence[Lane]:
    """Rendezvous hashing: a target that comes or goes moves only its own share."""

    def drawn(lane: Lane) -> float:
        mark = hashlib.blake2b(f"{value}\0{lane.key}".encode(), digest_size=8).digest()
        chance = (int.from_bytes(mark, "big") + 1) / (2**64 + 1)
        return -math.log(chance) / lane.weight if lane.weight else math.inf

    return sorted(lanes, key=drawn)


_STRATEGIES: dict[str, Callable[[Sequence[Lane], float, Callable[[], float]], Sequence[Lane]]] = {
    "priority": _in_order,
    "cost": _in_order,
    "weighted": _weighted,
    "least_inflight": _least_inflight,
    "latency": _latency,
}
"""`cost`: the plan already has the cheapest first, since prices do not change under way."""
