"""Who a request was proved to come from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """allow_models: patterns the credential is held to, None for all that the tenant may use.

    labels: of the API key.
    claims: of the token, by name: those that routes ask for.
    """

    tenant: str
    user: str | None = None
    key_id: str | None = None
    allow_models: tuple[str, ...] | None = None
    labels: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    claims: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), compare=False)
