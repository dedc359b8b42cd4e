"""A service that is asked as soon as a gateway starts, before a test can say what it answers."""

from __future__ import annotations

import asyncio
from typing import Self

from tests.fakes.upstream import ScriptedUpstream, UpstreamConnection, _Script


class PatientUpstream(ScriptedUpstream):
    """Holds requests that it has no script for until there is one, or a default."""

    async def __aenter__(self) -> Self:
        self._patience = self._default = _Script([self._wait])
        return await super().__aenter__()

    async def _wait(self, connection: UpstreamConnection) -> None:
        while not self._scripts and self._default is self._patience:
            if connection.closed.is_set():
                return
            await asyncio.sleep(0.005)
        script = self._scripts.popleft() if self._scripts else self._default
        assert script is not None
        for step in script.steps:
            await step(connection)
