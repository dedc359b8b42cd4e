"""Claims as Redis gets them, and its answers as verdicts.

Redis counts in microseconds of its own clock; the clock of the counters is in nanoseconds and
lies `utc_offset_ns` behind UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Packing

from llmgw.core.claim import SLIDING_WINDOW, TOKEN_BUCKET, Claim, Refusal, Rule, State, Step, Verdict
from llmgw.stores.redis_script import ACQUIRE, DEBTLESS, KINDS, SETTLE, SILENT, UNLEASED, digest_of

SPACE = b"llmgw:{limits}:"
"""All keys of a decision are in one slot of a cluster, apart from what is cached."""
EPOCH = SPACE + b"epoch"
NEXT = SPACE + b"next"
JOINED = SPACE + b"joined:"
OWNERS = SPACE + b"owners"
MEMBERS = SPACE + b"members"
COUNTER = SPACE + b"c:"
OWNER = SPACE + b"o:"
SHARES = SPACE + b"shares"
TOLD = SPACE + b"told:"
SHARE_OWNER = b":share"
"""Behind a host's name: what it holds of balances for a time without Redis (`stores.redis_shares`)."""
ALONE = "!"
"""Behind a request's id: it was let on from that."""

TAKEN: State = (1,)
"""Stands for the state of a counter, which stays in Redis."""
MAX_CLAIMS = 32
_US = 1_000
_HELD = 2
_CLAIM = Packing("<7d")
_SETTLEMENT = Packing("<11d")
_REPLIES = [Packing(f"<{1 + 3 * count}d") for count in range(64)]

Word = bytes | str | int
Item = tuple[Claim, int, int, str, bool]
"""A claim to settle: its charge, when it was taken, its request, whether there is a lease."""


def command(*words: Word) -> bytes:
    """A command on the wire."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


_ACQUIRE_SHA = _bulk(digest_of(ACQUIRE))
_SETTLE_SHA = _bulk(digest_of(SETTLE))
_EVALSHA = _bulk(b"EVALSHA")
_KNOWN_KEYS = 65_536
_KNOWN_RULES = 4_096


def counter_key(key: str) -> bytes:
    """Where a counter is."""
    return COUNTER + key.encode("utf-8", "surrogatepass")


class Codec:
    """Writes one process's commands and reads the answers.

    owner: names what its requests hold. given: instants for Redis to go by, in place of its own;
    for tests.
    """

    def __init__(self, owner: bytes, utc_offset_ns: int, given: bytes = b"") -> None:
        self.owner = owner
        self.epoch = b""
        self.utc_offset_ns = utc_offset_ns
        self.given = given
        self._keys: dict[str, bytes] = {}
        self._rules: dict[int, tuple[Rule, tuple[int, int, int, int, int]]] = {}

    def acquire(self, claims: Sequence[Claim], request_id: str, *, dry: bool = False) -> bytes:
        """Take the claims, or with `dry` see what they would do."""
        keys = self._keys
        count = len(claims)
        parts = [
            b"*%d\r\n" % (10 + count),
            _EVALSHA,
            _ACQUIRE_SHA,
            b"$%d\r\n%d\r\n" % (1 if count < 8 else 2, 2 + count),
            _bulk(EPOCH),
            _bulk(self.owner),
        ]
        blob = []
        for claim in claims:
            parts.append(keys.get(claim.key) or self._key(claim.key))
            blob.append(self._claim(claim))
        parts.append(
            b"$%d\r\n%b\r\n%b%b%b$%d\r\n%b\r\n"
            % (
                len(self.epoch),
                self.epoch,
                b"$1\r\n1\r\n" if dry else b"$0\r\n\r\n",
                _bulk(request_id.encode()),
                _bulk(self.given),
                len(blob) * _CLAIM.size,
                b"".join(blob),
            )
        )
        return b"".join(parts)

    def settle(self, items: Sequence[Item]) -> bytes:
        """Settle claims."""
        keys, arguments = self.settle_words(items)
        return b"".join(
            [
                b"*%d\r\n" % (3 + len(keys) + len(arguments)),
                _EVALSHA,
                _SETTLE_SHA,
                _bulk(b"%d" % len(keys)),
                *map(_bulk, keys),
                *map(_bulk, arguments),
            ]
        )

    def settle_words(self, items: Sequence[Item]) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments of `settle`."""
        places: dict[str, int] = {}
        requests: dict[str, int] = {}
        blob = []
        for claim, charge, taken_at, request_id, leased in items:
            index = places.setdefault(claim.key, len(places) + 1)
            request = requests.setdefault(request_id, len(requests) + 1)
            kind, flags, limit, window, segments = self._rule(claim.rule)
            blob.append(
                _SETTLEMENT.pack(
                    kind,
                    flags if leased else flags | UNLEASED,
                    limit,
                    claim.cost,
                    window,
                    segments,
                    self.utc_us(claim.until) if claim.until else 0,
                    charge,
                    self.utc_us(taken_at),
                    index,
                    request,
                )
            )
        return (
            [EPOCH, self.owner, *map(counter_key, places)],
            [self.epoch, self.given, b"".join(blob), *(request.encode() for request in requests)],
        )

    def words(
        self, claims: Sequence[Claim], request_id: str, *, dry: bool
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments of `acquire`."""
        return (
            [EPOCH, self.owner, *(counter_key(claim.key) for claim in claims)],
            [
                self.epoch,
                b"1" if dry else b"",
                request_id.encode(),
                self.given,
                b"".join(map(self._claim, claims)),
            ],
        )

    def verdict(self, claims: Sequence[Claim], reply: bytes) -> Verdict:
        """The answer to `acquire`."""
        now_us, *values = _REPLIES[len(claims)].unpack(reply)
        now = self.steady_ns(now_us)
        steps: list[Step] = []
        enforced: list[Refusal] = []
        silent: list[Refusal] = []
        index = 0
        for claim in claims:
            passed, remaining, at = values[index : index + 3]
            index += 3
            left = int(remaining)
            rule = claim.rule
            instant = claim.until or self.steady_ns(at)
            if passed == 1:
                steps.append((TAKEN, left, instant))
                if left >= 0:
                    continue
            else:
                steps.append((None, left, instant))
            refusal = Refusal(claim, max(0, left), instant, passed == _HELD, claim.cost > rule.limit)
            (silent if rule.shadow or rule.warn else enforced).append(refusal)
        return Verdict(steps, now, tuple(enforced), tuple(silent))

    def utc_us(self, steady_ns: int) -> int:
        """Redis's time of an instant on the counters' clock."""
        return (steady_ns + self.utc_offset_ns) // _US

    def steady_ns(self, utc_us: float) -> int:
        """The counters' time of an instant in Redis."""
        return int(utc_us) * _US - self.utc_offset_ns

    def terms(self, rule: Rule) -> tuple[int, int, int, int, int]:
        """Kind, flags, limit, window in microseconds and segments of a rule."""
        return self._rule(rule)

    def _claim(self, claim: Claim) -> bytes:
        kind, flags, limit, window, segments = self._rule(claim.rule)
        until = self.utc_us(claim.until) if claim.until else 0
        return _CLAIM.pack(kind, flags, limit, claim.cost, window, segments, until)

    def _rule(self, rule: Rule) -> tuple[int, int, int, int, int]:
        known = self._rules.get(id(rule))
        if known is not None:
            return known[1]
        if len(self._rules) >= _KNOWN_RULES:
            self._rules.clear()
        window = rule.window_ns // _US
        if rule.algorithm == SLIDING_WINDOW:
            window -= window % rule.segments
        flags = SILENT if rule.shadow or rule.warn else 0
        if rule.algorithm == TOKEN_BUCKET and rule.unit == "requests":
            flags |= DEBTLESS
        found = (KINDS[rule.algorithm], flags, rule.limit, window, rule.segments)
        # The rule is kept, so that its id names no other meanwhile.
        self._rules[id(rule)] = (rule, found)
        return found

    def _key(self, key: str) -> bytes:
        if len(self._keys) >= _KNOWN_KEYS:
            self._keys.clear()
        made = self._keys[key] = _bulk(counter_key(key))
        return made


def spents(count: int, reply: bytes) -> list[int]:
    """The answer to `settle`: what is spent of each balance now, -1 for anything else."""
    return [int(spent) for spent in Packing(f"<{count}d").unpack(reply)]
