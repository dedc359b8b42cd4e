"""What a policy is, and what it may hand back."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply


class Ticket(Protocol):
    """Something taken at admission, given back on every exit."""

    def settle(self, ex: Exchange) -> None:
        """Give back what was taken, or turn it into what was used. Called exactly once."""


class Policy(Protocol):
    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[Ticket | Reply | None] | None:
        """Let the request on, answer it, or refuse it by raising a GatewayError.

        A policy that has to wait returns something to await; the others cost no coroutine.
        """
