"""What the control socket answers about workers: who they are, and having them replaced."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from llmgw.server.control import Answer
from llmgw.server.supervise import NotReplaced, Supervisor

ALONE = (
    "this gateway serves in one process, which nothing could take the place of; "
    "set server.workers to 2 or more and restart it"
)


def team_answers(supervisor: Supervisor) -> dict[str, Answer]:
    """For a gateway with workers."""

    async def workers(asked: dict[str, Any]) -> object:
        """Every worker, and how far a replacing of them is. refused: why none can be begun."""
        now = asyncio.get_running_loop().time()
        await supervisor.refresh()
        rolling = supervisor.rolling
        return {
            "workers": [
                {
                    "index": worker.index,
                    "pid": worker.pid,
                    "state": worker.state,
                    "age_s": round(now - worker.started),
                    "in_flight": worker.under_way,
                    "generation": worker.generation,
                }
                for worker in supervisor.workers
            ],
            "restarts": supervisor.restarts,
            "rolling": None
            if rolling is None
            else {
                "workers": rolling.workers,
                "replaced": rolling.replaced,
                "done": rolling.done,
                "failure": rolling.failure,
            },
        }

    async def restart(asked: dict[str, Any]) -> object:
        """Begin to replace every worker. Answers at once."""
        try:
            return {"workers": supervisor.replace().workers}
        except NotReplaced as error:
            raise ValueError(str(error)) from error

    return {"workers": workers, "restart_workers": restart}


def alone_answers(
    started: float, in_flight: Callable[[], int], draining: Callable[[], bool], generation: Callable[[], str]
) -> dict[str, Answer]:
    """For a gateway that serves in its own process. started: on the loop's clock."""

    async def workers(asked: dict[str, Any]) -> object:
        """The process itself."""
        row = {
            "index": 0,
            "pid": os.getpid(),
            "state": "leaving" if draining() else "serving",
            "age_s": round(asyncio.get_running_loop().time() - started),
            "in_flight": in_flight(),
            "generation": generation(),
        }
        return {"workers": [row], "restarts": 0, "rolling": None}

    async def restart(asked: dict[str, Any]) -> object:
        """Refused."""
        raise ValueError(ALONE)

    return {"workers": workers, "restart_workers": restart}
