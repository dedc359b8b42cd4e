"""Asks policies, in order, whether a request may go on."""

from __future__ import annotations

from collections.abc import Iterable

from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.ports.policy import Policy, Ticket


async def admit(policies: Iterable[Policy], ex: Exchange, tickets: list[Ticket]) -> Reply | None:
    """The reply of the first policy that answers, or None when every one lets it on.

    What a policy takes is in `tickets` before the next one is asked, so that it is settled
    however the request ends. Raises what a policy refuses with.
    """
    for policy in policies:
        given = await policy.admit(ex)
        if given is None:
            continue
        if isinstance(given, Reply):
            return given
        tickets.append(given)
    return None
