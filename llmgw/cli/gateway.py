"""Asking the gateway that runs on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmgw.cli.problems import CliError

if TYPE_CHECKING:
    from llmgw.config.document import Document


def ask(document: Document, command: str, **arguments: object) -> Any:  # Any: what the command gives
    """What the gateway that runs on the document's `data_dir` answers; None when none runs.

    Raises CliError.
    """
    from llmgw.server.control import ControlError
    from llmgw.server.control import ask as ask_gateway

    try:
        return ask_gateway(document.storage.data_dir, command, **arguments)
    except ControlError as error:
        raise CliError(str(error)) from error
