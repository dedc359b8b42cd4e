"""How limits stand, in the header fields that clients read.

- `X-RateLimit-Policy`: the names of the policies that applied.
- `RateLimit-Policy` and `RateLimit`: draft-ietf-httpapi-ratelimit-headers-10.
- `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: as OpenAI writes them; a reset is a
  duration such as `6m0s`. (OpenAI: rate limits, headers)
- `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`: as Anthropic writes them; a
  reset is an RFC 3339 moment. (Anthropic: API, rate limits)

Each unit tells of the policy with the least left. On a refusal every field points at the
instant that `Retry-After` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from llmgw.core.claim import CONCURRENCY, Rule, Step
from llmgw.dialects.endpoints import ANTHROPIC

_NS = 1_000_000_000
_UNITS = {"tokens": b';qu="tokens"', "in_flight": b';qu="concurrent-requests"'}


class LimitHead:
    """The header lines for requests that the same rules apply to.

    rules: in the order of the steps that `render` is given; of these units at least.
    dialect: of the path; decides which vendor's fields are written.
    """

    def __init__(self, rules: Sequence[Rule], dialect: str | None) -> None:
        names = ",".join(dict.fromkeys(rule.name for rule in rules if rule.algorithm != CONCURRENCY))
        self._fixed = b"x-ratelimit-policy: %b\r\nratelimit-policy: %b\r\n" % (
            names.encode(),
            b", ".join(_policy(rule) for rule in rules if rule.algorithm != CONCURRENCY),
        )
        self._concurrent = b"x-ratelimit-policy: %b\r\nratelimit-policy: %b\r\n" % (
            ",".join(dict.fromkeys(rule.name for rule in rules)).encode(),
            b", ".join(_policy(rule) for rule in rules),
        )
        self._requests = tuple(index for index, rule in enumerate(rules) if rule.unit == "requests")
        self._tokens = tuple(index for index, rule in enumerate(rules) if rule.unit == "tokens")
        self._names = tuple(rule.name.encode() for rule in rules)
        self._limits = tuple(rule.limit for rule in rules)
        self._anthropic = dialect == ANTHROPIC
        self._places = next(
            (index for index, rule in enumerate(rules) if rule.algorithm == CONCURRENCY), None
        )

    def render(self, steps: Sequence[Step], now: int, utc_offset_ns: int) -> bytes:
        """The lines of an answer to a request that was let on. Each ends with CRLF."""
        least = None
        for index in self._requests:
            step = steps[index]
            if least is None or step[1] < least[1]:
                least, which = step, index
        if least is None or self._tokens or self._anthropic:
            return self._rendered(steps, now, utc_offset_ns, None, 0, ())
        wait = -((now - least[2]) // _NS)
        remaining = least[1]
        return (
            b'%bratelimit: "%b";r=%d;t=%d\r\nx-ratelimit-limit-requests: %d\r\n'
            b"x-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
            % (self._fixed, self._names[which], remaining, wait, self._limits[which], remaining, _go(wait))
        )

    def refused(
        self, steps: Sequence[Step], refused: Sequence[int], wait_s: int, now: int, utc_offset_ns: int
    ) -> bytes:
        """The lines of a refusal. refused: indices of the steps that did not pass."""
        return self._rendered(steps, now, utc_offset_ns, wait_s, refused[0], refused)

    def _rendered(
        self,
        steps: Sequence[Step],
        now: int,
        utc_offset_ns: int,
        wait_s: int | None,
        binding: int,
        refused: Sequence[int],
    ) -> bytes:
        lines = [self._concurrent if wait_s is not None and self._places in refused else self._fixed]
        items = []
        if wait_s is not None:
            items.append(b'"%b";r=%d;t=%d' % (self._names[binding], max(0, steps[binding][1]), wait_s))
        for unit, indices in ((b"requests", self._requests), (b"tokens", self._tokens)):
            if not indices:
                continue
            which = min(indices, key=lambda index: (index not in refused, steps[index][1]))
            remaining = max(0, steps[which][1])
            wait = -((now - steps[which][2]) // _NS) if wait_s is None else wait_s
            if wait_s is None:
                items.append(b'"%b";r=%d;t=%d' % (self._names[which], remaining, wait))
            limit = self._limits[which]
            if self._anthropic:
                at = datetime.fromtimestamp((now + utc_offset_ns) // _NS + wait, UTC)
                reset = at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
                lines.append(
                    b"anthropic-ratelimit-%b-limit: %d\r\nanthropic-ratelimit-%b-remaining: %d\r\n"
                    b"anthropic-ratelimit-%b-reset: %b\r\n" % (unit, limit, unit, remaining, unit, reset)
                )
            else:
                lines.append(
                    b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\n"
                    b"x-ratelimit-reset-%b: %b\r\n" % (unit, limit, unit, remaining, unit, _go(wait))
                )
        if items:
            lines.insert(1, b"ratelimit: %b\r\n" % b", ".join(items))
        return b"".join(lines)


def _policy(rule: Rule) -> bytes:
    window = b";w=%d" % (rule.window_ns // _NS) if rule.window_ns else b""
    return b'"%b";q=%d%b%b' % (rule.name.encode(), rule.limit, window, _UNITS.get(rule.unit, b""))


@lru_cache(4096)
def _go(seconds: int) -> bytes:
    """`360` as `6m0s`."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
