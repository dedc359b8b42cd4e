"""What a request asks of the counters, and what they answer.

A `Rule` says how much may be used of something; a `Claim` is one request's part of it. All the
claims of a request are taken together or not at all, and settled together at its end.

Instants are nanoseconds of the counters' own clock, which nobody can set (`core.clock`); costs
are requests, tokens, nano-USD or places, as the rule's unit says.
"""

from __future__ import annotations

from msgspec import Struct

FIXED_WINDOW = "fixed_window"
SLIDING_WINDOW = "sliding_window"
TOKEN_BUCKET = "token_bucket"  # noqa: S105  an algorithm
CONCURRENCY = "concurrency"
BALANCE = "balance"

MAX_SEGMENTS = 12
"""Segments of a sliding window at most: a counter has a fixed size in shared memory."""

State = tuple[int, ...]
"""What a counter remembers between two steps. () is a counter that nothing was taken from."""


class Rule(Struct, frozen=True, kw_only=True, gc=False):
    """How much may be used of one thing.

    name: as in `X-RateLimit-Policy`: `per-user`, `global`, ...
    counts: what is counted, without how much of it is allowed: a changed limit goes on with the
        same counters. Unique among rules that must not share counters.
    algorithm: one of the words above.
    unit: `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost` (nano-USD) or `in_flight`.
    limit: 0 blocks everything.
    window_ns: length of the window; 0 where the algorithm has none.
    shadow: refuses nobody. A rate limit takes nothing where it would refuse; a balance takes on.
    warn: of a balance: takes even beyond the limit, and refuses nobody.
    on_store_error: `allow`, `deny` or `local`.
    """

    name: str
    counts: str
    algorithm: str
    unit: str
    limit: int
    window_ns: int = 0
    segments: int = 0
    shadow: bool = False
    warn: bool = False
    on_store_error: str = "local"


class Claim(Struct, frozen=True, gc=False):
    """One request's part of a rule.

    key: names the counter: the rule's `counts` and whose it is.
    cost: what is taken; for a balance, what is held.
    until: the end of a balance's period on the counters' clock; 0 where a rule has no calendar.
    """

    rule: Rule
    key: str
    cost: int
    until: int = 0


Step = tuple[State | None, int, int]
"""What a claim does to a counter: the state after it, what remains, and an instant.

The state is None when the claim does not pass, and what remains is then what there was. The
instant is the first at which the same claim would pass if nobody else took anything; for a claim
that passes, the one at which all is given back. 0 where there is none. What remains is below 0
only where a balance that refuses nobody took beyond its limit.
"""


class Refusal(Struct, frozen=True, gc=False):
    """A claim that did not pass.

    at: as in `Step`.
    held: the balance has the amount, and holds it for requests under way.
    never: no waiting helps, because the claim is larger than the limit.
    """

    claim: Claim
    remaining: int
    at: int
    held: bool = False
    never: bool = False


class Verdict(Struct, frozen=True):
    """The answer to all claims of a request.

    steps: one for each claim, in their order.
    refusals: enforced claims that did not pass. Empty: everything was taken.
    shadows: what a rule in shadow or warning mode would have refused.
    now: when, on the counters' clock.
    grant: the store's own handle of what was taken, to be given back when it is settled.
    degraded: what was decided without the store that all hosts share, as `x-llmgw-degraded` says it.
    """

    steps: list[Step]
    now: int
    refusals: tuple[Refusal, ...] = ()
    shadows: tuple[Refusal, ...] = ()
    grant: int = 0
    degraded: bytes = b""
