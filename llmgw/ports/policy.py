"""What a policy is, and what it may hand back."""

from __future__ import annotations

from typing import Protocol

from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply


class Ticket(Protocol):
    """Something taken at admission, given back on every exit."""

    def settle(self, ex: Exchange) -> None:
        """Give back what was taken, or turn it into what was used. Called exactly once."""


class Policy(Protocol):
    async def admit(self, ex: Exchange) -> Ticket | Reply | None:
        """Let the request on, answer it, or refuse it by raising a GatewayError."""
