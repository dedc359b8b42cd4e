"""What can be told from other text by its form."""

from __future__ import annotations

KINDS = ("email", "phone", "credit_card", "iban", "ip", "secrets")
"""As the configuration calls them. Of two matches that begin together, the kind that stands later counts."""
