"""The counters behind limits and quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from llmgw.core.claim import Claim, Step, Verdict

Settlement = tuple[Claim, int]
"""A claim that was taken, and what was used of it in the end."""


class Settles(Protocol):
    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        """Turn what was taken under `verdict` into what was used. Once for each claim.

        Claims that are not named keep what they took.
        """


class CounterStore(Settles, Protocol):
    """Takes all the claims of a request in one operation, or none.

    What requests under way occupy (places of a concurrency limit, holds of a balance) is leased:
    it ends with the process that took it.
    """

    def acquire(self, claims: Sequence[Claim], request_id: str) -> Verdict:
        """Take every claim, or none. A refusal is a value, and moves no counter.

        claims: at most 16, each with another key.
        request_id: 48 characters at most; what a dead process's leases are settled by.
        """

    def peek(self, claims: Sequence[Claim]) -> list[Step]:
        """What each claim alone would do, taking nothing. A cost of 0 shows how a counter stands."""

    def restore(self, balances: Mapping[str, tuple[int, int]]) -> None:
        """Set balances to what the ledger says: spent, and the end of the period by key.

        Before the first claim is admitted. Balances that are not named are as new.
        """

    def seed(self, balances: Mapping[str, tuple[int, int]]) -> None:
        """Make balances at least what the ledger says, while requests are admitted.

        For quotas that a reload adds. The ledger is late, never early, so no more is ever right.
        """

    def balance(self, key: str) -> tuple[int, int]:
        """Spent and held of one balance; (0, 0) when nothing was."""

    def balances(self) -> Iterable[tuple[str, int, int]]:
        """Key, spent and held of every balance."""

    def counted(self) -> int:
        """How many counters there are."""

    def sweep(self) -> None:
        """Forget counters that say no more than new ones would. Called each second."""


class Waiting(Protocol):
    """A request whose verdict is on its way."""

    def forgo(self) -> None:
        """The request ended before it: what it takes is given back."""


class SharedCounters(Protocol):
    """Counters of all hosts, elsewhere. Places of a concurrency limit are the host's own."""

    def acquire(
        self,
        claims: Sequence[Claim],
        request_id: str,
        decided: Callable[[Verdict], None],
        place: Verdict | None = None,
    ) -> Verdict | Waiting:
        """As `CounterStore.acquire`. The verdict, or what tells `decided` of it within milliseconds.

        place: of the host's counters, when the place among the claims was taken before.
        """

    def settle(
        self, settlements: Sequence[Settlement], verdict: Verdict, settled: Callable[[], None] | None = None
    ) -> None:
        """As `CounterStore.settle`, some time later. settled: called when it is done."""

    def balance(self, key: str) -> tuple[int, int]:
        """What was last known here to be spent of a balance, and 0."""
