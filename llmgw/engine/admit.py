"""Asks policies, in order, whether a request may go on."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator

from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.ports.policy import Policy, Ticket


def admit(
    policies: Iterator[Policy], ex: Exchange, tickets: list[Ticket]
) -> Reply | Awaitable[Reply | None] | None:
    """The reply of the first policy that answers, or None when every one lets it on.

    What a policy takes is in `tickets` before the next one is asked, so that it is settled
    however the request ends. Raises what a policy refuses with. Returns something to await
    from the first policy on that has to wait.
    """
    for policy in policies:
        given = policy.admit(ex)
        if given is None:
            continue
        if isinstance(given, Reply):
            return given
        if isinstance(given, Awaitable):
            return _admit_later(given, policies, ex, tickets)
        tickets.append(given)
    return None


async def _admit_later(
    waiting: Awaitable[Ticket | Reply | None], policies: Iterator[Policy], ex: Exchange, tickets: list[Ticket]
) -> Reply | None:
    given = await waiting
    if isinstance(given, Reply):
        return given
    if given is not None:
        tickets.append(given)
    rest = admit(policies, ex, tickets)
    return await rest if isinstance(rest, Awaitable) else rest
