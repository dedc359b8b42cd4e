"""Who proves where a request comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from llmgw.core.principal import Principal


class Authenticator(Protocol):
    def principal(self, fields: Mapping[bytes, bytes]) -> Principal | None:
        """Who sent these headers; None when they carry no credential of this kind.

        Raises InvalidCredentials when they carry one that does not hold, Unavailable when nobody
        can say at the moment.
        """
