"""What the control socket answers: the limits and quotas of the document in effect, and reloads."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from llmgw.config.document import Document
from llmgw.core.clock import Clock
from llmgw.ports.alerts import NullAlerter
from llmgw.ports.counters import CounterStore
from llmgw.ports.stores import KeyEntry
from llmgw.ports.targets import TargetStates
from llmgw.runtime.limits import Limits
from llmgw.runtime.reload import Reloader
from llmgw.runtime.targets import standings
from llmgw.server.control import Answer, ControlSocket
from llmgw.server.counting import ledger_of
from llmgw.server.inspection import Inspection
from llmgw.stores.keys import SqlKeyStore


class Commands:
    """answers: by the command's name; they change with the document."""

    def __init__(
        self,
        document: Document,
        counters: CounterStore,
        clock: Clock,
        key_store: SqlKeyStore,
        targets: TargetStates,
    ) -> None:
        self.answers: dict[str, Answer] = {}
        self._counters = counters
        self._clock = clock
        self._key_store = key_store
        self._targets = targets
        self.follow(document)

    def follow(self, document: Document) -> None:
        """Answer for `document` from now on."""
        limits = Limits(document, self._counters, self._clock, NullAlerter())
        inspection = Inspection(
            document,
            self._counters,
            self._clock,
            limits,
            ledger_of(document),
            self._issued,
            self._targets,
        )
        self.answers.update(inspection.answers())

    def socket(self, document: Document, reloader: Reloader) -> ControlSocket:
        """The door for commands, not yet open."""

        async def reload(asked: dict[str, Any]) -> object:
            """Read the file now. problems: why the old document goes on."""
            outcome = await reloader.reload(forced=True)
            return {
                "generation": outcome.generation,
                "changed": outcome.changed,
                "problems": [str(problem) for problem in outcome.problems],
            }

        async def running(asked: dict[str, Any]) -> object:
            """The document in effect, secrets masked. overridden: paths that its environment decides."""
            found = reloader.document
            return {
                "generation": found.generation,
                "document": found.model_dump(mode="json"),
                "overridden": reloader.overridden,
            }

        async def targets(asked: dict[str, Any]) -> object:
            """Every target that was called since the start."""
            return [asdict(one) for one in standings(self._targets, time.monotonic())]

        self.answers.update(reload=reload, document=running, targets=targets)
        return ControlSocket(document.storage.data_dir, self.answers)

    async def _issued(self) -> list[KeyEntry]:
        return (await self._key_store.load())[1]
